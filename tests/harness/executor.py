"""Runs API-format graphs with ComfyUI's real validation and executor, and keeps what happened."""

import asyncio
import copy
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from .registry import Pack

CLIENT_ID = "harness"
SINK = "HarnessSink"


class Progress(NamedTuple):
    """One call of the progress hook, as a sampler makes it after a step."""

    value: int
    """Steps done."""
    total: int
    """Of all steps."""
    has_preview: bool
    """Whether a preview came with it."""


@dataclass
class RunResult:
    """What one run did."""

    ok: bool = False
    """Valid, finished, no error."""
    interrupted: bool = False
    """Whether it was stopped."""
    outputs: dict[str, dict] = field(default_factory=dict)
    """Node id → ui output, e.g. {"9": {"images": [...]}}."""
    values: dict[str, tuple] = field(default_factory=dict)
    """Node id → tuple of its output values, for the ids named in `keep`."""
    errors: list[str] = field(default_factory=list)
    """One readable line per validation or execution error."""
    node_errors: dict[str, dict] = field(default_factory=dict)
    """ComfyUI's validation errors, as a client gets them in a 400 reply."""
    traceback: str = ""
    """Of the last execution error."""
    messages: list[tuple[str, Any]] = field(default_factory=list)
    """(event, data) in the order the server would have sent them."""
    progress: list[Progress] = field(default_factory=list)
    """Calls of the progress hook; one per sampling step while previews are on."""
    previews: list[Any] = field(default_factory=list)
    """The preview images (PIL) that came with them."""

    def check(self) -> "RunResult":
        """This result; raises AssertionError with errors and traceback when the run was not ok."""
        assert self.ok, "\n".join([*self.errors, self.traceback]) or "interrupted"
        return self


class ComfyHarness:
    """A ComfyUI in this process: registry, executor, and a prompt server that records instead of
    sending.

    base  its base directory, with models/*, input, output, temp, user
    pack  our pack as ComfyUI loaded it, None while it has no __init__.py
    """

    def __init__(self, base: Path, pack: Pack | None):
        import nodes
        from execution import CacheType, PromptExecutor

        self.base = base
        self.pack = pack
        self._result = RunResult()
        self._interrupt_after = None
        self._server = _recording_server(self)
        self._executor = PromptExecutor(
            self._server,
            cache_type=CacheType.CLASSIC,
            cache_args={"lru": 0, "ram": 0.0, "ram_inactive": 0.0},
        )
        nodes.NODE_CLASS_MAPPINGS.setdefault(SINK, _Sink)
        self._install_progress_hook()

    def run(
        self,
        prompt: dict,
        keep: list[str] | tuple[str, ...] = (),
        preview: str = "latent2rgb",
        warm: bool = False,
    ) -> RunResult:
        """Validate and execute an API-format graph.

        keep:    ids of nodes whose output values are wanted in `RunResult.values`; they run even if
                 no output node needs them.
        preview: ComfyUI's preview method ("none", "auto", "latent2rgb", "taesd"). With "none" it
                 throttles progress calls.
        warm:    keep the node cache of the run before, as a user's second queueing has it.
        """
        self._result = result = RunResult()
        prompt_id = str(uuid.uuid4())
        prompt = {**copy.deepcopy(prompt), **_sinks(prompt, keep)}
        if not warm:
            self._executor.reset()
        try:
            targets = self._validate(prompt_id, prompt)
            if targets:
                extra = {"client_id": CLIENT_ID, "preview_method": preview}
                self._executor.execute(prompt, prompt_id, extra, targets)
                self._collect(prompt, keep)
        finally:
            self._interrupt_after = None
        finished = any(event == "execution_success" for event, _ in result.messages)
        result.ok = finished and not result.errors
        return result

    def interrupt_after(self, progress_calls: int) -> None:
        """Make the next `run` end as if the user interrupted it after that many progress calls."""
        self._interrupt_after = progress_calls

    def node_class(self, node_id: str) -> type:
        """The registered class of a node id; KeyError when there is none."""
        import nodes

        return nodes.NODE_CLASS_MAPPINGS[node_id]

    def object_info(self, node_id: str) -> dict:
        """What `GET /object_info/<node_id>` answers for this node, after its trip through JSON."""
        route = next(
            r for r in self._server.routes if getattr(r, "path", "") == "/object_info/{node_class}"
        )
        reply = asyncio.run(route.handler(SimpleNamespace(match_info={"node_class": node_id})))
        return json.loads(reply.text)[node_id]

    def models(self, kind: str) -> Path:
        """The folder where models of this kind belong, e.g. `models("diffusion_models")`."""
        folder = self.base / "models" / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _validate(self, prompt_id: str, prompt: dict) -> list[str]:
        """Output nodes that may run; fills the result's errors."""
        import execution

        valid, error, targets, node_errors = asyncio.run(
            execution.validate_prompt(prompt_id, prompt, None)
        )
        self._result.node_errors = node_errors
        for node_id, found in node_errors.items():
            for item in found["errors"]:
                what = f"{item['type']}: {item['message']}: {item['details']}"
                line = f"{node_id} {found['class_type']}: {what}"
                self._result.errors.append(line)
        if not valid and not self._result.errors:
            self._result.errors.append(f"{error['type']}: {error['message']} {error['details']}")
        return targets if valid else []

    def _collect(self, prompt: dict, keep) -> None:
        result = self._result
        for event, data in result.messages:
            if event == "execution_error":
                kind = f"{data['node_id']} {data['node_type']}: {data['exception_type']}"
                result.errors.append(f"{kind}: {data['exception_message'].strip()}")
                result.traceback = "".join(data["traceback"])
            elif event == "execution_interrupted":
                result.interrupted = True
        ui = self._executor.history_result["outputs"]
        result.outputs = {node_id: output for node_id, output in ui.items() if node_id in prompt}
        for node_id in keep:
            entry = asyncio.run(self._executor.caches.outputs.get(node_id))
            if entry is not None:
                result.values[node_id] = _unwrap(
                    entry.outputs, self.node_class(prompt[node_id]["class_type"])
                )

    def _install_progress_hook(self) -> None:
        """As ComfyUI's main.hijack_progress (main.py cannot be imported), with our record."""
        import comfy.model_management
        import comfy.utils
        import nodes
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context

        def hook(value, total, preview, prompt_id=None, node_id=None):
            context = get_executing_context()
            if context is not None:
                prompt_id, node_id = prompt_id or context.prompt_id, node_id or context.node_id
            comfy.model_management.throw_exception_if_processing_interrupted()
            result = self._result
            result.progress.append(Progress(value, total, preview is not None))
            if preview is not None:
                result.previews.append(preview[1])
            if node_id is not None:
                get_progress_state().update_progress(node_id, value, total, preview)
            data = {"value": value, "max": total, "prompt_id": prompt_id, "node": node_id}
            self._server.send_sync("progress", data, CLIENT_ID)
            if self._interrupt_after is not None and len(result.progress) >= self._interrupt_after:
                nodes.interrupt_processing(True)

        comfy.utils.set_progress_bar_global_hook(hook)


class _Sink:
    """Output node that asks for one value, so that the node in front of it runs."""

    RETURN_TYPES = ()
    FUNCTION = "swallow"
    OUTPUT_NODE = True
    CATEGORY = "harness"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*", {})}}

    def swallow(self, value):
        return {}


def _sinks(prompt: dict, keep) -> dict:
    import nodes

    sinks = {}
    for node_id in keep:
        node_class = nodes.NODE_CLASS_MAPPINGS.get(prompt[node_id]["class_type"])
        if node_class is not None and node_class.RETURN_TYPES:
            sinks[f"sink-{node_id}"] = {"class_type": SINK, "inputs": {"value": [node_id, 0]}}
    return sinks


def _unwrap(outputs: list[list], node_class: type) -> tuple:
    """ComfyUI keeps a list per output; give the single value of those that are no lists."""
    lists = getattr(node_class, "OUTPUT_IS_LIST", None) or [False] * len(outputs)
    return tuple(
        values if is_list or len(values) != 1 else values[0]
        for values, is_list in zip(outputs, lists, strict=True)
    )


def _recording_server(harness: ComfyHarness):
    """A real PromptServer that is never started and records what it would send."""
    import server

    class RecordingServer(server.PromptServer):
        def send_sync(self, event, data, sid=None):
            harness._result.messages.append((event, data))

    return RecordingServer(asyncio.new_event_loop())
