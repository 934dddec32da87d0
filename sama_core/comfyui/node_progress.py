"""What a node shows while it works, because an artist does not read the console.

show, show_remarks, keep_remark
                       text in the running node, whichever pack it comes from
show_during            text that leaves the node when the work ends
report_blocks_to       how many blocks of a model are loaded
Stages                 the stages of an edit: one bar, one line of text, log lines with times
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import comfy.model_management
import comfy.utils
import latent_preview
from torch import Tensor, nn

from ..plan.time_left import StepClock
from .vae_frames import Report

log = logging.getLogger(__name__)

_BLANK = " "
"""What removes a text: ComfyUI's frontend ignores an empty one, and the old text would stay."""
_EVENT = "sama.remarks"
"""What tells `web/nodes/remarks.js` of remarks: newer frontends take texts out when a run ends."""
COUNTED_EVERY = 2.0
"""Seconds after which a count of frames is shown again."""
_now = time.perf_counter
_with_remarks: dict[str, str] = {}
"""What `show_remarks` put into nodes that still show it, by their ids."""
_kept: dict[str, list[str]] = {}
"""The remarks of `keep_remark` on the runs that are under way, by nodes' ids."""


def find_server():
    """ComfyUI's server, or None where there is none (tests, scripts)."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


# --- text ----------------------------------------------------------------------------------------
def show(text: str, node_id: str | None = None) -> bool:
    """Show `text` in a node; by default in the running one.

    Only the browser that queued the run gets it: in others, nodes have the same ids. Returns False
    where there is no node, or no server (tests, scripts).
    """
    server = find_server()
    node_id = node_id or _running_node()
    if node_id is None or not hasattr(server, "send_progress_text"):
        return False
    server.send_progress_text(text, node_id, sid=_client_of(server))
    return True


def show_remarks(remarks: Iterable[str | None], node_id: str | None = None) -> None:
    """Show what is wrong or noteworthy in a run, one remark per line; empty ones are left out.

    Without any remark, those of an earlier run are removed. By default in the running node.
    """
    node_id = node_id or _running_node()
    if node_id is None:
        return
    text = "\n".join(filter(None, [*_kept.get(node_id, ()), *remarks]))
    if text and show(text, node_id):
        _remember(node_id, text)
    elif not text and _forget(node_id):
        show(_BLANK, node_id)


def keep_remark(remark: str) -> None:
    """Show a remark on the whole run in the running node, beside those on each of its samplings.

    For nodes that use `show_during`, which forgets it.
    """
    node_id = _running_node()
    if node_id is not None and remark:
        _kept.setdefault(node_id, []).append(remark)
        show_remarks([])


@contextmanager
def show_during(node_id: str) -> Iterator[Callable[[str], bool]]:
    """A function that shows one line of text in the node while the context is entered.

    The line leaves the node when the work ends, is interrupted or fails. The remarks of the run
    (`show_remarks`) then stand there alone.
    """
    shown = _forget(node_id)  # those of an earlier run

    def say(text: str) -> bool:
        nonlocal shown
        shown = show(text, node_id) or shown
        return shown

    try:
        yield say
    finally:
        _kept.pop(node_id, None)
        if shown:
            show(_with_remarks.get(node_id, _BLANK), node_id)


def _remember(node_id: str, text: str) -> None:
    """Let a remark stay in the node that shows it."""
    _with_remarks[node_id] = text
    _tell(node_id, text)


def _forget(node_id: str) -> bool:
    """Let the node's remark go; whether it had one."""
    had = _with_remarks.pop(node_id, None) is not None
    if had:
        _tell(node_id, "")
    return had


def _tell(node_id: str, remark: str) -> None:
    server = find_server()
    if server is not None:
        server.send_sync(_EVENT, {"node": node_id, "text": remark}, _client_of(server))


def _client_of(server) -> str | None:
    """Whose run this is; None for a program that gave no name, and then all browsers are told."""
    return getattr(server, "client_id", None)


def _running_node() -> str | None:
    """The id of the node that the executor is running in this thread."""
    context = _context()
    return None if context is None else str(context.node_id)


def running_place() -> dict[str, str] | None:
    """Where the running node is: `node`, `display_node` (as the canvas has it) and `prompt_id`."""
    context = _context()
    if context is None:
        return None
    try:
        from comfy_execution.progress import get_progress_state

        shown = get_progress_state().dynprompt.get_display_node_id(context.node_id)
    except (ImportError, AttributeError, KeyError):
        shown = context.node_id
    return {
        "node": str(context.node_id),
        "display_node": str(shown),
        "prompt_id": str(context.prompt_id),
    }


def _context():
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:
        return None
    return get_executing_context()


# --- blocks of a model ---------------------------------------------------------------------------
BlockReport = Callable[[int, int], None]
"""`report(blocks loaded, blocks in all)`; an exception from it ends the loading."""

_block_report: ContextVar[BlockReport | None] = ContextVar("sama_block_report", default=None)


@contextmanager
def report_blocks_to(report: BlockReport | None) -> Iterator[None]:
    """Report each block that models built in this context load; None reports nothing."""
    token = _block_report.set(report)
    try:
        yield
    finally:
        _block_report.reset(token)


@contextmanager
def report_blocks(blocks: nn.ModuleList) -> Iterator[None]:
    """Surround the `load_state_dict` of a model with these blocks, see `report_blocks_to`."""
    report, total = _block_report.get(), len(blocks)
    if report is None:
        yield
        return
    hooks = [
        block.register_load_state_dict_pre_hook(lambda *_, done=index: report(done, total))
        for index, block in enumerate(blocks)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    report(total, total)


# --- stages of an edit ---------------------------------------------------------------------------
def count_of(frame: int, total: int) -> str:
    """How far a stage is, as nodes show it."""
    return f"frame {frame} of {total}"


class Stages:
    """Progress over all stages of an edit: one bar and one line of text, and log lines with times.

    The bar counts sampling steps; the other stages count as `_UNITS` says.
    """

    _UNITS = {"reading the instruction": 1, "encoding the source": 2, "decoding": 2}

    def __init__(
        self,
        steps: int,
        runs: int = 1,
        say: Callable[[str], object] | None = None,
        advice: str = "",
        decodings: int | None = None,
    ):
        """`runs` edits of `steps` steps; `decodings` of them are decoded, by default all.

        `say(text)` shows a line in the node; each has the `advice`. A node shows two lines of text
        before one has to scroll, so the steps come first and the advice follows.
        """
        decodings = runs if decodings is None else decodings
        self.bar = comfy.utils.ProgressBar(
            self._UNITS["reading the instruction"]
            + decodings * self._UNITS["decoding"]
            + runs * (steps + self._UNITS["encoding the source"])
        )
        self.steps, self.done = steps, 0
        self.times = StepClock(_now, steps, runs)
        self.show, self.advice, self.note = say or (lambda text: None), advice, ""

    def say(self, text: str) -> None:
        """Show a line in the node, behind the advice and the note, such as "segment 2 of 5"."""
        self.show("SAMA: " + ", ".join(filter(None, (self.advice, self.note, text))))

    def skip(self) -> None:
        """Advance by a run that need not be sampled; decoding is counted separately."""
        self.done += self.steps + self._UNITS["encoding the source"]
        self.times.skip()
        self.bar.update_absolute(self.done)

    def skip_decoding(self, count: int) -> None:
        """Advance by `count` decodings that need not be done."""
        self.done += count * self._UNITS["decoding"]
        self.bar.update_absolute(self.done)

    @contextmanager
    def stage(self, name: str, begun: str = "") -> Iterator[None]:
        """Show `name` and what of it is done at first, and advance by its units when it ends."""
        self.say(", ".join(filter(None, (name, begun))))
        started = _now()
        yield
        took = _now() - started
        log.info("SAMA: %s took %.1f s", name, took)
        if name == "encoding the source":
            self.times.between = took
        self.done += self._UNITS.get(name, 0)
        self.bar.update_absolute(self.done)

    def count_frames(self, name: str) -> Report:
        """For a stage whose frames are counted: shows them now and then, and the name alone once
        they no longer are. Raises when the user interrupts.
        """
        shown, counted = time.monotonic(), False

        def report(done: int | None, total: int) -> None:
            nonlocal shown, counted
            comfy.model_management.throw_exception_if_processing_interrupted()
            if done is None and counted:
                self.say(name)
                counted = False
            elif done is not None and time.monotonic() - shown >= COUNTED_EVERY:
                shown, counted = time.monotonic(), True
                self.say(f"{name}, {count_of(done, total)}")

        return report

    def on_step(self, model, advise: Callable[[float, float], str] | None = None) -> Callable:
        """A sampler callback: moves the bar, shows the step, its seconds, the time that is left,
        what would be sooner, and ComfyUI's own live preview. Ask for it when the sampling begins.

        `advise(seconds of a step, seconds left)` says what would be sooner.
        """
        previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        start = self.done
        self.times.begin()

        def callback(step: int, x0: Tensor, _x: Tensor, total: int) -> None:
            text = f"sampling, step {step + 1} of {total}, {self.times.step(step + 1, total)}"
            line = "SAMA: " + ", ".join(filter(None, (text, self.note, self.advice)))
            sooner = advise(self.times.a_step, self.times.left) if advise else ""
            self.show(f"{line}. {sooner}" if sooner else line)
            self.done = start + min(step + 1, self.steps)
            picture = previewer.decode_latent_to_preview_image("JPEG", x0) if previewer else None
            self.bar.update_absolute(self.done, preview=picture)

        return callback
