"""Talks to a running ComfyUI: its nodes, upload, queue, messages, history, result."""

import http.client
import json
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from ...errors import needed
from ...version import PACK_ROUTE
from ..changed_file import State, require_unchanged, state_of
from ..progress import LaunchError
from .websocket import WebSocket

CHUNK = 1 << 20
TIMEOUT = 60.0
LOOK_SECONDS = 30.0
"""For the question whether a ComfyUI is there: one that loads a model may be late."""
STATS_PATH, QUEUE_PATH = "/system_stats", "/prompt"

# A proxy that is set for the internet is not used: the server is most often on this network.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Unreachable(LaunchError):
    """No ComfyUI answered."""


class Silent(Unreachable):
    """Something takes connections at the address, but did not answer in time."""


class Lost(Unreachable):
    """A server ended, or forgot the work that it had."""


class Refused(LaunchError):
    """ComfyUI answered a request with an error status."""

    def __init__(self, url: str, path: str, status: int, body: bytes):
        """`url` of the server, `path` of the request, `status` and `body` of the answer."""
        self.path, self.status, self.body = path, status, body
        reason = body[:200].decode("utf-8", "replace").strip().partition("\n")[0]
        super().__init__(
            f"server at {url}: refused {path} with status {status} ({reason}), needs a ComfyUI "
            "there. Check the address given with --server, and look at that ComfyUI's own window."
        )


@dataclass(frozen=True)
class Output:
    """One file that a node saved on the server."""

    filename: str
    """Its name."""
    subfolder: str
    """Its folder inside the folder of its type; empty if it is in that folder itself."""
    type: str
    """Which of ComfyUI's folders it is in: output or temp."""


class Client:
    """The connection to one ComfyUI, with an id of its own there."""

    def __init__(self, url: str, uploads: str = ""):
        """`url` is the server's address, `uploads` a folder for clips in its input folder. Raises
        LaunchError if it is no address.
        """
        self.url, self.uploads = normal_url(url), uploads
        self.id = uuid.uuid4().hex

    def is_reached(self) -> bool:
        """Whether a ComfyUI answers at the address."""
        try:
            return "system" in self._json(STATS_PATH, timeout=LOOK_SECONDS)
        except LaunchError:
            return False

    def check(self, timeout: float = TIMEOUT) -> None:
        """Raises LaunchError unless a ComfyUI answers at the address within `timeout` seconds."""
        if "system" not in self._json(STATS_PATH, timeout):
            raise self._no_comfyui()

    def stats(self, timeout: float = TIMEOUT) -> dict:
        """What ComfyUI says of its machine: `system`, and a list `devices`."""
        return self._json(STATS_PATH, timeout)

    def pack(self) -> dict | None:
        """`version` of the pack there, and `id` if `run.py` left that server running.

        None without the pack, or with one of before 0.2.0.
        """
        try:
            return self._json(PACK_ROUTE)
        except Refused:
            return None

    def node(self, class_type: str) -> dict | None:
        """The server's description of a node class; None if it has no such class."""
        try:
            return self._json(f"/object_info/{quote(class_type)}").get(class_type)
        except Refused:
            return None

    def choices(self, class_type: str, name: str) -> list[str]:
        """The values of a node's list input on the server; empty if there is no such input."""
        inputs = (self.node(class_type) or {}).get("input", {})
        for group in ("required", "optional"):
            kind, *options = inputs.get(group, {}).get(name, [None])
            if isinstance(kind, list):
                return kind
            if kind == "COMBO" and options:
                return options[0].get("options", [])
        return []

    def upload(self, clip: Path) -> str:
        """Sends a clip into the server's input folder and returns its name there.

        Raises LaunchError if the server does not take it, or if it changes meanwhile.
        """
        before = state_of(clip)
        boundary = uuid.uuid4().hex
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", clip.name).lstrip(".") or "clip"
        part = f"--{boundary}\r\nContent-Disposition: form-data; name="
        folder = f'{part}"subfolder"\r\n\r\n{self.uploads}\r\n' if self.uploads else ""
        head = (
            f'{folder}{part}"image"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        size = len(head) + before[0] + len(tail)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(size),
        }
        try:
            answer = self._object(
                self._request("/upload/image", _parts(head, clip, before, tail), headers), "name"
            )
            require_unchanged(clip, before)
        except (Refused, Unreachable) as error:
            if not self.is_reached():
                raise
            whole, broken = f"{before[0] / 1e6:.3g} MB", getattr(error, "status", 0) >= 500
            raise LaunchError(
                f"{clip.name}: the server at {self.url} failed to write its {whole}, needs room in "
                "its input folder. Free some disk space there, or look at that ComfyUI's log."
                if broken
                else f"{clip.name}: the server at {self.url} did not take its {whole}, needs a "
                "ComfyUI that accepts uploads of that size. Start it with a larger "
                "--max-upload-size (in MB), or give a shorter clip."
            ) from error
        return "/".join(part for part in (answer.get("subfolder"), answer["name"]) if part)

    def queue(self, graph: dict) -> str:
        """Queues a graph in API format and returns its id.

        Raises Refused with the server's node errors.
        """
        body = json.dumps({"prompt": graph, "client_id": self.id}).encode()
        answer = self._request(QUEUE_PATH, body, {"Content-Type": "application/json"})
        return self._object(answer, "prompt_id")["prompt_id"]

    def listen(self) -> WebSocket:
        """Opens the connection on which the server reports the progress of this client's work."""
        parts = urlsplit(self.url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        try:
            return WebSocket(
                f"{scheme}://{parts.netloc}{parts.path}/ws?clientId={self.id}", TIMEOUT
            )
        except OSError as error:
            raise self._unreachable(error) from error

    def history(self, prompt_id: str) -> dict | None:
        """The history entry of a queued graph; None while it waits or runs."""
        return self._json(f"/history/{prompt_id}").get(prompt_id)

    def histories(self) -> dict[str, dict]:
        """The history entries of all graphs that the server remembers, by their ids."""
        return self._json("/history")

    def is_queued(self, prompt_id: str) -> bool:
        """Whether a graph waits or runs."""
        lists = self._json("/queue").values()
        return any(prompt_id in item for items in lists for item in items)

    def cancel(self, prompt_id: str) -> None:
        """Removes a graph from the queue, or stops it if it runs; other graphs are not touched."""
        headers = {"Content-Type": "application/json"}
        try:
            self._request("/queue", json.dumps({"delete": [prompt_id]}).encode(), headers)
            self._request("/interrupt", json.dumps({"prompt_id": prompt_id}).encode(), headers)
        except LaunchError:
            # The server cannot be reached, so there is nothing to cancel.
            pass

    def fetch(self, output: Output) -> Iterator[bytes]:
        """The bytes of a saved file.

        Raises LaunchError if it is absent or the connection breaks.
        """
        target = f"/view?{urlencode(vars(output))}"
        try:
            with _open(self.url + target, timeout=TIMEOUT) as reply:
                left = int(reply.headers.get("Content-Length") or -1)
                while chunk := reply.read(CHUNK):
                    left -= len(chunk)
                    yield chunk
        except (OSError, http.client.HTTPException) as error:
            where = (
                "It is no longer in that ComfyUI's output folder: run the command again."
                if getattr(error, "code", None) == HTTPStatus.NOT_FOUND
                else "It is in that ComfyUI's output folder."
            )
            raise LaunchError(
                f"{output.filename}: could not be fetched from {self.url} ({_reason(error)}). "
                f"{where}"
            ) from error
        if left > 0:
            raise LaunchError(
                f"{output.filename}: the connection to {self.url} ended before the whole file had "
                "arrived. It is in that ComfyUI's output folder."
            )

    def _json(self, path: str, timeout: float = TIMEOUT) -> dict:
        return self._object(self._request(path, timeout=timeout))

    def _object(self, body: bytes, *keys: str) -> dict:
        """The JSON object in an answer.

        Raises LaunchError for anything else, or if a key is missing.
        """
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise self._no_comfyui() from error
        if not isinstance(answer, dict) or not all(key in answer for key in keys):
            raise self._no_comfyui()
        return answer

    def _request(
        self,
        path: str,
        data: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> bytes:
        request = urllib.request.Request(self.url + path, data=data, headers=headers or {})
        try:
            with _open(request, timeout=timeout) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            raise Refused(self.url, path, error.code, _read_refusal(error)) from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            # UnicodeError: no host has a name that cannot be encoded.
            raise self._unreachable(error) from error

    def _no_comfyui(self) -> LaunchError:
        return LaunchError(
            needed(
                f"server at {self.url}",
                "an answer that is not ComfyUI's",
                "a ComfyUI",
                "Check the address given with --server.",
            )
        )

    def _unreachable(self, error: Exception) -> Unreachable:
        is_late = isinstance(getattr(error, "reason", error), TimeoutError)
        return (Silent if is_late else Unreachable)(
            needed(
                f"server at {self.url}",
                f"no answer ({_reason(error)})",
                "a running ComfyUI",
                "Start it or check the address; without --server, one is started for you.",
            )
        )


def normal_url(url: str) -> str:
    """`url` with a scheme and without a slash at its end.

    Raises LaunchError without a host, and for one with a password, which is not repeated.
    """
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        is_secret = parts.username is not None
    except ValueError:
        usable = is_secret = False
    if is_secret:
        raise LaunchError(
            needed(
                "--server",
                "an address with a user's name or password",
                "one without, which messages and reports may show",
                "Reach that ComfyUI another way: ssh -L 8188:127.0.0.1:8188 HOST, then "
                "--server http://127.0.0.1:8188.",
            )
        )
    if not usable:
        raise LaunchError(
            needed("--server", url, "an address such as http://127.0.0.1:8188", "Give that.")
        )
    return whole.rstrip("/")


def _read_refusal(error: urllib.error.HTTPError) -> bytes:
    """What stands in an answer with an error status; nothing if the connection ends in it."""
    try:
        return error.read()
    except (OSError, http.client.HTTPException):
        return b""


def _parts(head: bytes, clip: Path, before: State, tail: bytes) -> Iterator[bytes]:
    """A clip's bytes between two others. Raises LaunchError if it has fewer than `before`; what is
    added to it is left out.
    """
    yield head
    left = before[0]
    with clip.open("rb") as file:
        while chunk := file.read(min(CHUNK, left)):
            yield chunk
            left -= len(chunk)
    if left:
        require_unchanged(clip, before)
    yield tail


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
