"""Clients of a server that edits: one that queues ahead, many at once, and one that breaks off."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.soak.cases import CASES, Case, compare, copy_clip, edit_graph
from benchmarks.soak.watch import Place
from sama_core.errors import RuntimeSetupError
from sama_core.launch.server.client import QUEUE_PATH, Client, Output
from sama_core.launch.server.websocket import TEXT

PREFIX = "soak"
POLL, LIMIT = 0.05, 600.0
"""Seconds between two looks at the history, and until an edit counts as lost."""
_JSON = {"Content-Type": "application/json"}


class Editor:
    """One client: it uploads a copy of a clip, queues the edit, checks the result, tidies up."""

    def __init__(self, place: Place, work: Path, listens: bool = False):
        """`work` has the clips and the right results; one that listens reads what it is told."""
        self.place, self.work, self.client = place, work, Client(place.url)
        self.socket = self.client.listen() if listens else None

    def start(self, case: Case, name: str) -> tuple[Case, str, str]:
        """Upload and queue; `name` is not used again. Returns what `finish` takes."""
        copy = copy_clip(case, self.work, f"{name}.mp4")
        file = self.client.upload(copy)
        copy.unlink()
        return case, file, self.client.queue(edit_graph(case, file, f"{PREFIX}/{name}"))

    def finish(self, started: tuple[Case, str, str]) -> dict:
        """Wait for the edit, compare its file, remove both and the entry in the history."""
        case, file, prompt_id = started
        entry = self.wait(prompt_id)
        told = entry["status"]["status_str"]
        saved = [item for node in entry["outputs"].values() for item in node.get("images", ())]
        if told != "success" or len(saved) != 1:
            found = {"case": case.name, "right": False, "said": f"{told}, {len(saved)} files"}
        else:
            kept = ("filename", "subfolder", "type")
            found = self._check(case, Output(**{key: saved[0][key] for key in kept}), prompt_id)
            (self.place.base / "output" / saved[0]["subfolder"] / saved[0]["filename"]).unlink()
        (self.place.base / "input" / file).unlink()
        self.client._request("/history", json.dumps({"delete": [prompt_id]}).encode(), _JSON)
        return found

    def edit(self, case: Case, name: str) -> dict:
        """Both, one after the other."""
        return self.finish(self.start(case, name))

    def waiting(self) -> int:
        """Edits that wait or run on the server."""
        return self.client._json(QUEUE_PATH)["exec_info"]["queue_remaining"]

    def _check(self, case: Case, output: Output, prompt_id: str) -> dict:
        fetched = self.work / f"{prompt_id}.mp4"
        try:
            fetched.write_bytes(b"".join(self.client.fetch(output)))
            return compare(case, fetched, case.result(self.work))
        finally:
            fetched.unlink(missing_ok=True)

    def wait(self, prompt_id: str, limit: float = LIMIT) -> dict:
        """The history entry of a queued graph. Raises RuntimeSetupError where none comes within
        `limit` seconds.
        """
        until = time.monotonic() + limit
        while time.monotonic() < until:
            entry = self.client.history(prompt_id)
            if entry is not None:
                return entry
            if self.socket is None or self.socket.receive(POLL) is None:
                time.sleep(POLL)
        raise RuntimeSetupError(f"edit {prompt_id}: no result after {limit:.0f} s. See the log.")


def edit_in_turn(place: Place, work: Path, numbers: range) -> Iterator[dict]:
    """Edits of these numbers, a round of all cases queued at once; a row for each in order.

    Behind the last one of a round the server is `quiet`: what it holds then is what it keeps.
    """
    editor, begun = Editor(place, work), time.perf_counter()
    for queued in _rounds(numbers):
        started = [
            editor.start(CASES[number % len(CASES)], f"{PREFIX}_{number}") for number in queued
        ]
        for number, one in zip(queued, started, strict=True):
            found = editor.finish(one)
            seconds, begun = time.perf_counter() - begun, time.perf_counter()
            row = {"number": number, "quiet": number == queued[-1], "seconds": seconds}
            yield {**row, **found, **place.look()}


def _rounds(numbers: range) -> Iterator[range]:
    """The numbers in rounds that end with the last case."""
    while numbers:
        behind = numbers.start - numbers.start % len(CASES) + len(CASES)
        yield numbers[: behind - numbers.start]
        numbers = numbers[behind - numbers.start :]


def edit_at_once(place: Place, work: Path, clients: int, each: int) -> list[dict]:
    """`clients` clients that listen, all at once, with `each` edits; what came of all of them."""
    begin = threading.Barrier(clients)

    def work_through(number: int) -> list[dict]:
        editor = Editor(place, work, listens=True)
        try:
            begin.wait()
            names = [f"{PREFIX}_client{number}_{turn}" for turn in range(each)]
            cases = [CASES[(number + turn) % len(CASES)] for turn in range(each)]
            started = [editor.start(*both) for both in zip(cases, names, strict=True)]
            return [editor.finish(one) for one in started]
        finally:
            editor.socket.close()

    with ThreadPoolExecutor(clients) as pool:
        return [found for each in pool.map(work_through, range(clients)) for found in each]


def break_off(place: Place, work: Path) -> dict:
    """A client that leaves in the middle of its edit; another takes what came of it.

    And one that leaves in the middle of an upload: of that nothing may stay.
    """
    leaving, other = Editor(place, work, listens=True), Editor(place, work)
    started = leaving.start(CASES[1], f"{PREFIX}_left")
    seen = _until(leaving.socket.receive, lambda told: _runs(told, started[2]))
    leaving.socket._socket.close()  # without a word, as where a cable is pulled
    _leave_upload(place)
    found = other.finish(started)
    partial = [path.name for path in (place.base / "input").iterdir() if "half" in path.name]
    return {**found, "left_in_the_middle": seen, "of_a_half_upload": partial}


def _runs(message: dict, prompt_id: str) -> bool:
    """Whether a message says that a node of this graph has begun."""
    data = message.get("data", {})
    return message.get("type") == "executing" and data.get("prompt_id") == prompt_id


def _until(receive: Callable, wanted: Callable[[dict], bool]) -> bool:
    """Take messages until a wanted one comes; False where none does within LIMIT seconds."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        message = receive(5.0)
        if message is not None and message.kind == TEXT and wanted(json.loads(message.data)):
            return True
    return False


def _leave_upload(place: Place) -> None:
    """Send half of an upload and close the connection."""
    parts = urlsplit(place.url)
    head = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="half.mp4"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    request = (
        f"POST /upload/image HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    ).encode()
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(request + head + b"\0" * 100_000)
