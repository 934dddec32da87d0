"""A stand-in for a ComfyUI with the pack: it "edits" a clip by writing down what was asked for.

It can be killed in the middle of an edit, and started again at the same address.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import struct
import threading
import uuid
from urllib.parse import parse_qs, urlsplit

from sama_core.launch.server.websocket import ACCEPT_KEY
from sama_core.launch.server.workflow import EDITOR
from sama_core.version import VERSION

MODELS = {
    "SAMALoadModel": ("model_name", "sama_shapes.safetensors"),
    "SAMALoadTextEncoder": ("text_encoder_name", "sama_shapes_umt5.safetensors"),
    "SAMALoadVAE": ("vae_name", "sama_shapes_vae.safetensors"),
}


def edit_of(clip: bytes, instruction: str, seed: int) -> bytes:
    """What the stand-in gives back for a clip."""
    return b"edited " + clip + f" as {instruction!r}, seed {seed}".encode()


class StandIn:
    """One server; `edits` are the instructions it has taken, in order."""

    def __init__(self, pack: dict | None = None):
        """`pack` is what the pack's route tells, {} for none."""
        self.pack = {"version": VERSION, "id": None} if pack is None else pack
        self.edits: list[str] = []
        self.hang_after: int | None = None
        self.hung = threading.Event()
        self.refuse: set[bytes] = set()
        self.cancelled: list[str] = []
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """At the same address as before; what it knew is forgotten."""
        self.files: dict[str, bytes] = {}
        self.results: dict[str, bytes] = {}
        self.history: dict[str, dict] = {}
        self.queued: set[str] = set()
        self.connections: list = []
        self.listeners: dict[str, object] = {}
        handler = type("Handler", (_Handler,), {"comfy": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def kill(self) -> None:
        """Ends every connection; nothing answers any more. May be called again."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(2)
            connection.close()

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *failure: object) -> None:
        self.kill()

    def work(self, prompt_id: str, graph: dict, client_id: str) -> None:
        """Makes one edit in a thread of its own."""
        inputs = {node["class_type"]: (key, node["inputs"]) for key, node in graph.items()}
        clip = self.files[inputs["LoadVideo"][1]["file"]]
        edit = inputs[EDITOR][1]
        self.edits.append(edit["instruction"])
        if self.hang_after is not None and len(self.edits) > self.hang_after:
            self.hung.set()
            return
        status = {"status_str": "success", "messages": []}
        outputs = {}
        if any(mark in clip for mark in self.refuse):
            error = {"node_id": inputs[EDITOR][0], "exception_message": "it cannot be edited"}
            status = {"status_str": "error", "messages": [["execution_error", error]]}
        else:
            key, saver = inputs["SaveVideo"]
            name = f"{uuid.uuid4().hex}.mp4"
            folder, _, stem = saver["filename_prefix"].rpartition("/")
            name = f"{stem}_{name}"
            self.results[name] = edit_of(clip, edit["instruction"], edit["seed"])
            outputs = {key: {"images": [{"filename": name, "subfolder": folder}]}}
        self.history[prompt_id] = {"status": status, "outputs": outputs}
        self.queued.discard(prompt_id)
        listener = self.listeners.get(client_id)
        if listener:
            told = {"type": "execution_success", "data": {"prompt_id": prompt_id}}
            data = json.dumps(told).encode()
            with contextlib.suppress(OSError):
                listener.sendall(bytes([0x81, 126]) + struct.pack(">H", len(data)) + data)


class _Handler(http.server.BaseHTTPRequestHandler):
    comfy: StandIn
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.comfy.connections.append(self.connection)

    def do_GET(self):
        comfy, parts = self.comfy, urlsplit(self.path)
        kind, _, rest = parts.path[1:].partition("/")
        if kind == "ws":
            return self._listen(parse_qs(parts.query)["clientId"][0])
        if kind == "view":
            return self._send(comfy.results[parse_qs(parts.query)["filename"][0]])
        answers = {
            "system_stats": lambda: {"system": {}, "devices": []},
            "sama": lambda: comfy.pack or None,
            "queue": lambda: {"queue_running": [[0, one] for one in comfy.queued]},
            "history": lambda: {key: comfy.history[key] for key in (rest,) if key in comfy.history},
            "object_info": lambda: self._node(rest),
        }
        answer = answers[kind]()
        return self._send(json.dumps(answer).encode(), 404 if answer is None else 200)

    def do_POST(self):
        comfy, body = self.comfy, self.rfile.read(int(self.headers["Content-Length"]))
        answer: dict = {}
        if self.path == "/upload/image":
            _head, _, rest = body.partition(b"\r\n\r\n")
            name = f"{uuid.uuid4().hex[:8]}.mp4"
            comfy.files[name] = rest.rpartition(b"\r\n--")[0]
            answer = {"name": name}
        elif self.path == "/prompt":
            asked, prompt_id = json.loads(body), uuid.uuid4().hex
            comfy.queued.add(prompt_id)
            threading.Thread(
                target=comfy.work,
                args=(prompt_id, asked["prompt"], asked["client_id"]),
                daemon=True,
            ).start()
            answer = {"prompt_id": prompt_id}
        elif self.path == "/queue":
            comfy.cancelled += json.loads(body)["delete"]
        self._send(json.dumps(answer).encode())

    def _node(self, name: str) -> dict | None:
        if name.startswith("SAMA") and not self.comfy.pack:
            return None
        inputs = {}
        if name in MODELS:
            key, file = MODELS[name]
            inputs = {"required": {key: [[file]]}}
        return {name: {"input": inputs}}

    def _send(self, data: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _listen(self, client_id: str) -> None:
        key = self.headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_KEY).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.wfile.flush()
        self.comfy.listeners[client_id] = self.connection
        try:
            while self.connection.recv(1024):
                pass
        except OSError:
            pass
        self.close_connection = True

    def log_message(self, *arguments):
        pass
