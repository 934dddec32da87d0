"""Follows one queued edit to its end: its stage, its progress, and why it failed."""

import json
import re
import struct
import time
from pathlib import PurePosixPath

from ..progress import LaunchError, Stages
from .client import Client, Lost, Output, Refused, Unreachable
from .process import Server
from .websocket import TEXT, Message, WebSocket
from .workflow import EDITOR, node_name

LOAD, ENCODE, SAMPLING, DECODE, SAVE = "load", "encode", "sampling", "decode", "save"

NODE_STAGES = {
    "LoadVideo": LOAD,
    "LoadImageMask": LOAD,
    "SAMARegionMask": LOAD,
    "SAMALoadModel": LOAD,
    "SAMALoadTextEncoder": LOAD,
    "SAMALoadVAE": LOAD,
    "SAMASourceVideo": LOAD,
    EDITOR: ENCODE,
    "SAMALongEdit": ENCODE,
    "SAMAFinishVideo": SAVE,
    "GetVideoComponents": SAVE,
    "SaveImageAdvanced": SAVE,
    "SaveVideo": SAVE,
}
"""The stage of each node class of the workflow, and of those that give frames in its place."""
TEXT_STAGES = (
    (r"reading the |encoding the | of disk", ENCODE),
    ("sampling", SAMPLING),
    ("decoding", DECODE),
    ("joining", SAVE),
)
"""What stands in the text that an editing node shows under itself while it works, and its stage."""
WORKING = "SAMA: "
"""Beginning of such a text."""

UNKNOWN_WORDS = "does not know: "
"""In a remark that repeats words of the instruction."""
REMARKING = ("SAMASourceVideo", EDITOR, "SAMALongEdit")
"""Node classes whose other texts are remarks on the clip and the instruction."""

TEXT_EVENT = 3
"""ComfyUI's number for a message with such a text."""
QUIET_SECONDS = 5.0
"""After this time without a message the history is asked."""
TRIES_WITHOUT_ANSWER = 3
"""How often a server that this command did not start may fail to answer."""


class Follower:
    """Listens to the server for one graph and shows its progress."""

    def __init__(
        self,
        client: Client,
        socket: WebSocket,
        graph: dict,
        stages: Stages,
        server: Server | None = None,
    ):
        """`socket` is where messages come; `server` is the process if this command started it."""
        self.client, self.socket, self.graph = client, socket, graph
        self.stages, self.server = stages, server
        self.node: str | None = None
        self.cut_off = False
        self.has_text = False
        self.failures = 0
        self.said: set[str] = set()

    def wait(self, prompt_id: str) -> dict:
        """Shows progress until the graph has ended and returns its history entry.

        Raises LaunchError if a node failed, the work was stopped, or the server has ended.
        """
        while True:
            try:
                message = self.socket.receive(QUIET_SECONDS)
            except OSError:
                # Without this connection the history can still be asked.
                message, self.cut_off = None, True
                time.sleep(1)
            if message is not None and not self._handle(message, prompt_id):
                continue
            entry = self._entry(prompt_id)
            if entry is not None:
                self._raise_if_failed(entry)
                return entry
            # A silent connection may be one whose other end is gone, behind a router or a tunnel.
            if self.cut_off or (message is None and self.server is None):
                self._raise_if_forgotten(prompt_id)

    def _entry(self, prompt_id: str) -> dict | None:
        try:
            entry = self.client.history(prompt_id)
        except (Unreachable, Refused) as error:
            if self.server is not None and self.server.alive():
                # It runs and is busy: a long step on the CPU can keep it from answering.
                return None
            self.failures += 1
            if self.server is not None:
                raise Lost(str(self.server.connection_error())) from error
            if self.failures >= TRIES_WITHOUT_ANSWER:
                raise Lost(
                    f"server at {self.client.url}: the connection was lost in the middle of the "
                    f"edit ({error}). Look at that ComfyUI's own window, and run the command again "
                    "when it is back."
                ) from error
            return None
        self.failures = 0
        return entry

    def _raise_if_forgotten(self, prompt_id: str) -> None:
        """A server that was started again answers, but knows nothing of what it had to do."""
        try:
            known = self.client.is_queued(prompt_id) or self.client.history(prompt_id) is not None
        except (Unreachable, Refused):
            return
        if not known:
            raise Lost(
                f"server at {self.client.url}: it was started again in the middle of the edit. "
                "Run the command again."
            )

    def _handle(self, message: Message, prompt_id: str) -> bool:
        """Shows what one message says; True if it says that the graph has ended."""
        if message.kind != TEXT:
            self._show_text(message.data)
            return False
        kind, data = _read(message.data)
        if data is None:
            return False  # another pack's message
        if kind == "status" and self.node is None:
            waiting = data.get("status", {}).get("exec_info", {}).get("queue_remaining", 0)
            if waiting > 1:
                self.stages.update(f"waiting, {waiting - 1} before this one in the queue")
        if data.get("prompt_id") != prompt_id:
            return False
        if kind == "executing" and data.get("node") is not None:
            self._begin(data["node"])
        elif kind == "progress" and not self.has_text:
            self.stages.update(f"{data['value']:.0f}/{data['max']:.0f}", transient=True)
        return kind in ("execution_error", "execution_interrupted", "execution_success") or (
            kind == "executing" and data.get("node") is None
        )

    def _begin(self, node_id: str) -> None:
        self.node, self.has_text = node_id, False
        node = self.graph.get(node_id, {})
        stage = NODE_STAGES.get(node.get("class_type"), self.stages.name or LOAD)
        self.stages.start(stage, node.get("_meta", {}).get("title") or node.get("class_type", ""))

    def _show_text(self, data: bytes) -> None:
        """Shows a text from a node. `data`: event, length of the node's id, the id, the text."""
        if len(data) < 8 or struct.unpack_from(">I", data)[0] != TEXT_EVENT:
            return
        length = struct.unpack_from(">I", data, 4)[0]
        node, text = (
            data[8 : 8 + length].decode("utf-8", "replace"),
            data[8 + length :].decode("utf-8", "replace"),
        )
        if node != self.node:
            return
        if self.graph.get(node, {}).get("class_type") not in REMARKING:
            return
        for line in text.splitlines():
            stage = _stage_of(line)
            if stage is None:
                self._say_once(line.strip())
            else:
                self._show_stage(stage, line)

    def _say_once(self, text: str) -> None:
        """Prints a remark, which a node may show several times."""
        if text and text not in self.said:
            self.said.add(text)
            self.stages.say(text)

    def _show_stage(self, stage: str, text: str) -> None:
        self.has_text = True
        self.stages.start(stage)
        count = re.search(r"(?:step|frame) (\d+) of (\d+)", text)
        if count:
            self.stages.step(int(count[1]), int(count[2]), _whole_of(text))
        elif " " in (doing := text.removeprefix(WORKING)):
            self.stages.update(doing)

    def _raise_if_failed(self, entry: dict) -> None:
        status = entry.get("status") or {}
        if status.get("status_str") != "error":
            return
        messages = dict(status.get("messages", []))
        if "execution_interrupted" in messages:
            raise LaunchError(
                f"server at {self.client.url}: the edit was stopped there. Run the command again."
            )
        raise LaunchError(node_failure(self.graph, messages.get("execution_error", {})))


def _read(text: bytes) -> tuple[str | None, dict | None]:
    """Kind and content of a message; None for what ComfyUI itself does not send."""
    try:
        content = json.loads(text)
    except ValueError:
        return None, None
    data = content.get("data") if isinstance(content, dict) else None
    return (content.get("type"), data) if isinstance(data, dict) else (None, None)


def _stage_of(text: str) -> str | None:
    """The stage that a text of an editing node tells; None for a remark."""
    if not text.startswith(WORKING) or UNKNOWN_WORDS in text:
        return None
    return next((stage for words, stage in TEXT_STAGES if re.search(words, text)), None)


def _whole_of(text: str) -> str:
    """What a step's text says of an edit in several segments; empty for one."""
    segment = re.search(r"segment \d+ of (?!1\b)\d+", text)
    left = re.search(r"(?:about|at most) [^,]* left", text)
    return ", ".join(part[0] for part in (segment, left) if part) if segment else ""


def node_failure(graph: dict, error: dict) -> str:
    """A node's exception in words for the user, with the node's name."""
    name = node_name(graph, error.get("node_id", "?"))
    kind = error.get("exception_type", "")
    message = (error.get("exception_message") or kind).strip()
    if "Errno 28" in message or "No space left" in message:
        return (
            f"{name}: the disk that ComfyUI writes to is full. "
            "Free some room there and run the command again."
        )
    if "OutOfMemory" in kind or "out of memory" in message.lower() or kind == "MemoryError":
        return (
            f"{name}: memory ran out. "
            "Use fewer --frames or a smaller --area, or close other programs."
        )
    return f"{name}: {message}"


def saved_file(entry: dict, graph: dict) -> Output:
    """The clip that the workflow's SaveVideo node saved under the name that the workflow asks for.

    Raises LaunchError if there is none.
    """
    return saved_files(entry, graph, "SaveVideo")[0]


def saved_files(entry: dict, graph: dict, class_type: str) -> list[Output]:
    """All files that nodes of a class saved under the name that the workflow asks for, in order.

    Raises LaunchError if there is none.
    """
    saved = [
        Output(item["filename"], item.get("subfolder", ""), item.get("type", "output"))
        for node_id, output in entry.get("outputs", {}).items()
        if (node := graph.get(node_id, {})).get("class_type") == class_type
        for item in (item for items in output.values() for item in items)
        if isinstance(item, dict) and "filename" in item and _has_prefix(item, node["inputs"])
    ]
    if not saved:
        raise LaunchError(
            f"ComfyUI: ended the edit without saving a clip, needs a {class_type} node that runs. "
            "Look at ComfyUI's log; update or reinstall the pack if the workflow was changed."
        )
    return saved


def _has_prefix(item: dict, inputs: dict) -> bool:
    path = PurePosixPath(item.get("subfolder", "").replace("\\", "/"), item["filename"])
    return str(path).startswith(inputs.get("filename_prefix", ""))
