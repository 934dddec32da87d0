"""Starts a ComfyUI server with this pack, waits until it answers, and always stops it again."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from ...errors import needed
from ...version import KEPT_ID
from ...weights.write import whole_file
from ..places import PACK_NAME, Places, clean_env
from ..progress import LaunchError, with_log
from ..setup.comfyui_source import ComfyUI
from ..setup.processes import stop
from .client import Client
from .comfy_main import PARENT_PIPE
from .ports import LOCAL, free_port
from .unfinished import keep_results

FOLDERS = ("custom_nodes", "models", "input", "output", "temp", "user")
MODEL_FOLDERS = ("diffusion_models", "text_encoders", "vae", "loras")
START_SECONDS = 300
STOP_SECONDS = 10
ASK_SECONDS, ANSWER_SECONDS = 0.05, 5.0
"""Between two questions whether a server that starts answers, and for each of them."""
OLD_JOB_SECONDS = 2 * 24 * 3600
"""Folders of jobs that nobody has touched for so long were left by killed commands and are deleted.
"""
TOUCH_SECONDS = 3600
"""Time from one touch of the folder of a running job to the next: an edit may take days."""


class Server:
    """One ComfyUI process, as a context manager: leaving it always stops the process."""

    def __init__(
        self,
        python: Path,
        comfyui: ComfyUI,
        options: list[str],
        log: Path,
        host: str = LOCAL,
        port: int | None = None,
        kept_id: str | None = None,
        variables: Mapping[str, str] | None = None,
    ):
        """`options` are ComfyUI's own; `log` gets its output; without `port` a free one is used.

        `host` may be several addresses with commas; this machine's own has to be one of them. With
        `kept_id`, which it tells by the pack's route, it may outlive this process: `let_go`.
        `variables` are added to its environment.
        """
        self.kept_id, self.variables = kept_id, dict(variables or {})
        self.python, self.comfyui, self.options, self.log = python, comfyui, options, log
        self.host = host
        self.port = port or free_port()
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        """Address of the server on this machine."""
        return f"http://{LOCAL}:{self.port}"

    def __enter__(self) -> Self:
        command = [
            self.python,
            Path(__file__).with_name("comfy_main.py"),
            self.comfyui.folder,
            "--listen",
            self.host,
            "--port",
            self.port,
            "--disable-api-nodes",
            *self.options,
        ]
        life = {KEPT_ID: self.kept_id} if self.kept_id else {PARENT_PIPE: "1"}
        extra = {**life, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", **self.variables}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL if self.kept_id else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.comfyui.folder,
                env=clean_env(**extra),
                **start_apart(bool(self.kept_id)),
            )
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the process: asks it to end, and kills it after ten seconds."""
        process, self.process = self.process, None
        if process is None:
            return
        try:
            stop(process, STOP_SECONDS)
        finally:
            if process.stdin:
                process.stdin.close()

    def let_go(self) -> int:
        """Leaves the process running, whatever comes; returns its number."""
        process, self.process = self.process, None
        return process.pid if process else 0

    def wait(self) -> None:
        """Waits until the process ends by itself."""
        if self.process is not None:
            self.process.wait()

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def wait_ready(
        self, tick: Callable[[float], None] = lambda seconds: None, limit: float = START_SECONDS
    ) -> None:
        """Waits until the server answers; calls `tick` with the seconds meanwhile.

        Raises LaunchError if it ends, does not answer within `limit` seconds or cannot load the
        pack.
        """
        began = time.monotonic()
        client = Client(self.url)
        while not self._is_at(client):
            waited = time.monotonic() - began
            if not self.alive():
                raise LaunchError(self._why_ended("while starting"))
            if waited > limit:
                raise LaunchError(
                    with_log(
                        f"ComfyUI: did not answer within {limit:.0f} s. Close other programs "
                        "and run the same command again.",
                        self.log,
                    )
                )
            tick(waited)
            time.sleep(ASK_SECONDS)
        self._check_pack_loaded()

    def _is_at(self, client: Client) -> bool:
        """Whether this server answers there, and not another program that had the port before: a
        ComfyUI tells its arguments.
        """
        try:
            system = client.stats(ANSWER_SECONDS)["system"]
            told = system.get("argv", self.options)
            return {str(option) for option in self.options} <= set(map(str, told))
        except (LaunchError, LookupError, AttributeError, TypeError):
            return False

    def connection_error(self) -> LaunchError:
        """The error for a broken connection: whether the server ended, and the end of its log."""
        if self.alive():
            return LaunchError(
                with_log(
                    "ComfyUI: is running but does not answer any more. Run the same command again.",
                    self.log,
                )
            )
        return LaunchError(self._why_ended("in the middle of the work"))

    def _why_ended(self, when: str) -> str:
        code = self.process.poll() if self.process else None
        text = self._log_text()
        if "address already in use" in text or "Errno 98" in text or "10048" in text:
            return needed(
                f"port {self.port}",
                "in use by another program",
                "a free port",
                "Run the same command again; to `serve` you may give another one with --port.",
            )
        killed = code in (-9, 137)
        advice = (
            "It was ended by the system, most often because memory ran out: close other programs, "
            "or use fewer frames or a smaller --area."
            if killed
            else "The lines below say why; run the same command again when that is solved."
        )
        return with_log(f"ComfyUI: ended {when} (exit code {code}). {advice}", self.log)

    def _check_pack_loaded(self) -> None:
        for line in self._log_text().splitlines():
            if "IMPORT FAILED" in line and PACK_NAME in line:
                raise LaunchError(
                    with_log(
                        "The SAMA pack: ComfyUI could not import it (IMPORT FAILED), needs all of "
                        "its files and requirements. Update the pack, delete .venv and run the "
                        "same command again.",
                        self.log,
                    )
                )

    def _log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""


def start_apart(outlives: bool) -> dict[str, Any]:
    """Arguments of Popen for a server that the terminal's Ctrl-C does not reach: this process stops
    it. On Windows that is so for one that `outlives` it: without a console of this one it does not
    end with the window either.
    """
    if os.name != "nt":
        return {"start_new_session": True}
    # The names are there on Windows alone.
    new_group, no_window = 0x00000200, 0x08000000
    return {"creationflags": new_group | no_window} if outlives else {}


def prepare_base(places: Places) -> None:
    """Makes ComfyUI's base directory with a link to the pack in its custom_nodes folder, and the
    user folder of ComfyUIs that edit.
    """
    places.edits.mkdir(parents=True, exist_ok=True)
    for name in FOLDERS:
        (places.base / name).mkdir(parents=True, exist_ok=True)
    for name in MODEL_FOLDERS:
        (places.models / name).mkdir(exist_ok=True)
    link = places.base / "custom_nodes" / PACK_NAME
    if link.exists() and link.resolve() == places.root.resolve():
        return
    if link.is_symlink():
        link.unlink()
    try:
        link.symlink_to(places.root, target_is_directory=True)
    except FileExistsError:
        # Another command has just made it.
        return
    except OSError:
        if os.name != "nt":
            raise
        # On Windows few users may make links, but all may make junctions.
        import _winapi

        _winapi.CreateJunction(str(places.root), str(link))  # type: ignore[attr-defined] # Windows


def server_options(places: Places, comfyui: ComfyUI) -> list[str]:
    """Options that every server gets; with the user's own ComfyUI they add its models."""
    options = ["--base-directory", str(places.base)]
    if comfyui.fetched:
        return options
    folders = {name: f"models/{name}" for name in MODEL_FOLDERS}
    folders["diffusion_models"] += "\nmodels/unet"
    folders["text_encoders"] += "\nmodels/clip"
    # One for each ComfyUI: a server of another one may be reading its own now.
    config = places.base / f"extra_model_paths-{comfyui.name()}.yaml"
    with whole_file(config) as part:
        # JSON is YAML.
        part.write_text(
            json.dumps({"comfyui": {"base_path": str(comfyui.folder), **folders}}),
            encoding="utf-8",
        )
    return [*options, "--extra-model-paths-config", str(config)]


@contextmanager
def job_folder(places: Places, say: Callable[[str], None] = print) -> Iterator[Path]:
    """A folder with input, output and temp for one edit; it is always deleted afterwards.

    So edits at the same time do not share files, and a failed one leaves no incomplete file.
    `say` tells where finished edits of killed commands are.
    """
    places.jobs.mkdir(parents=True, exist_ok=True)
    _remove_old(places, say)
    folder = Path(tempfile.mkdtemp(prefix="edit-", dir=places.jobs))
    try:
        make_folders(folder)
        with _keep_touched(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_old(places: Places, say: Callable[[str], None]) -> None:
    """Removes folders of jobs that were left by killed commands, and logs of jobs that failed. What
    was finished there and not fetched is kept, and told.
    """

    def is_old(path: Path) -> bool:
        return time.time() - path.stat().st_mtime > OLD_JOB_SECONDS

    for old in places.jobs.iterdir():
        with suppress(FileNotFoundError):  # another command has just ended
            if is_old(old):
                for kept in keep_results(old / "output", places.edits):
                    say(kept)
                shutil.rmtree(old, ignore_errors=True)
    for log in places.log("comfyui").parent.glob("comfyui-edit-*.log"):
        with suppress(FileNotFoundError):
            runs = (places.jobs / log.stem.removeprefix("comfyui-")).exists()
            if is_old(log) and not runs:
                log.unlink()


@contextmanager
def _keep_touched(folder: Path) -> Iterator[None]:
    """Shows other commands, now and then, that the folder of a job is in use."""
    over = threading.Event()

    def touch() -> None:
        while not over.wait(TOUCH_SECONDS):
            with suppress(OSError):
                os.utime(folder)

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def make_folders(folder: Path) -> None:
    """Makes the folders inside `folder` that `job_options` names."""
    for name in ("input", "output", "temp"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def job_options(folder: Path, user: Path) -> list[str]:
    """Options for one edit: its files go into `folder`, what it has finished while it runs into
    `user`, and clips of any size may be uploaded.
    """
    return [
        "--input-directory",
        str(folder / "input"),
        "--output-directory",
        str(folder / "output"),
        "--temp-directory",
        str(folder / "temp"),
        "--user-directory",
        str(user),
        "--database-url",
        "sqlite:///:memory:",
        "--max-upload-size",
        "1000000",
        "--disable-auto-launch",
    ]
