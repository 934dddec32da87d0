"""Stand-ins for a ComfyUI that answers, for a server that does not, and for the commands of
set-up."""

import http.server
import io
import threading
from contextlib import contextmanager

from sama_core.launch.places import Places
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.setup.environment import Environment

ANSWERING = """
import http.server, sys
print({line!r}, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{{"system": {{}}}}')
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@contextmanager
def answering(*answers: tuple[int, dict, bytes]):
    """A server that gives one odd answer to everything; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answers[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


REQUIREMENTS = """comfyui-frontend-package==1.0
comfyui-workflow-templates==1.0
comfyui-embedded-docs==1.0
torch
torchsde
torchvision
torchaudio>=2
numpy>=1.25
"""
WHOLE_SET_UP = [
    "making .venv",
    "installing torch (the largest part)",
    "installing torchvision",
    "installing torchaudio",
    "installing ComfyUI's requirements",
    "installing the pack's requirements",
]


class Notes:
    """Stands in for Commands: notes every command; `fail` is the one that does not succeed."""

    def __init__(self, places: Places):
        self.places = places
        self.did: list[str] = []
        self.commands: dict[str, list[str]] = {}
        self.fail: str | None = None

    def run(self, argv, what, cwd=None):
        if what == self.fail:
            raise LaunchError(f"{what}: failed")
        self.did.append(what)
        self.commands[what] = [str(part) for part in argv]
        if what == "making .venv":
            self.places.python.parent.mkdir(parents=True, exist_ok=True)
            self.places.python.touch()


def make_comfyui(folder) -> None:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text('__version__ = "0.30.0"')
    (folder / "requirements.txt").write_text(REQUIREMENTS)


def get_ready(places: Places, notes: Notes, **options) -> None:
    Environment(places, Stages(io.StringIO()), notes).ready(**options)
