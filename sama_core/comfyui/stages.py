"""Lines of text in the node that is running, whoever's node it is: an artist does not read the console.

How far core is with copying weights into a model, told block by block.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from torch import Tensor, nn

log = logging.getLogger(__name__)


_NOTHING = " "
"""What takes words away: ComfyUI's frontend passes over an empty text, and the old one would stay."""


_told: set[str] = set()
"""Nodes that still show what `tell` put there."""


def show(text: str, node_id: str | None = None) -> bool:
    """Show `text` in a node, the running one unless named; False where there is none, or no server (tests, scripts)."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    node_id = node_id or _running_node()
    if node_id is None or not hasattr(server, "send_progress_text"):
        return False
    server.send_progress_text(text, node_id)
    return True


def tell(lines: Iterable[str], node_id: str | None = None) -> None:
    """Show what does not go together in a run; where all is well, take an earlier run's words away.

    In the running node unless one is named.
    """
    node_id, text = node_id or _running_node(), "\n".join(line for line in lines if line)
    if node_id is None:
        return
    if text and show(text, node_id):
        _told.add(node_id)
    elif not text and node_id in _told:
        show(_NOTHING, node_id)
        _told.discard(node_id)


def _running_node() -> str | None:
    """The id of the node that the executor is running in this thread."""
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:
        return None
    context = get_executing_context()
    return None if context is None else str(context.node_id)


Tell = Callable[[int, int], None]
"""`tell(blocks copied, blocks in all)`; what it raises ends the loading."""


_listener: ContextVar[Tell | None] = ContextVar("sama_loading_progress", default=None)


@contextmanager
def telling(tell: Tell | None) -> Iterator[None]:
    """While entered, `tell` hears of every block that a model made inside takes."""
    token = _listener.set(tell)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def told(blocks: nn.ModuleList) -> Iterator[None]:
    """Around `load_state_dict` of a model with these blocks."""
    tell, total = _listener.get(), len(blocks)
    if tell is None:
        yield
        return
    hooks = [
        block.register_load_state_dict_pre_hook(lambda *_, done=index: tell(done, total))
        for index, block in enumerate(blocks)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    tell(total, total)


class Stages:
    """Progress over all stages of an edit: one bar and one line of text for the node, log lines with times.

    The bar counts sampling steps, plus two units each for encoding and decoding.
    """

    _AROUND = {"reading the instruction": 1, "encoding the source": 2, "decoding": 2}

    def __init__(
        self,
        steps: int,
        runs: int = 1,
        say: Callable[[str], None] | None = None,
        advice: str = "",
        decodings: int | None = None,
    ):
        """`runs` edits of `steps` steps, each decoded unless `decodings` says how many are.

        `say(text)` shows a line in the node, `advice` before each of them.
        """
        around, decodings = self._AROUND, runs if decodings is None else decodings
        self.bar = comfy.utils.ProgressBar(
            around["reading the instruction"]
            + decodings * around["decoding"]
            + runs * (steps + around["encoding the source"])
        )
        self.steps, self.done = steps, 0
        self.show, self.advice, self.note = say or (lambda text: None), advice, ""

    def say(self, text: str) -> None:
        """Show a line in the node, after what does not go together and where a long edit is."""
        self.show("SAMA: " + ", ".join(part for part in (self.advice, self.note, text) if part))

    def skip(self) -> None:
        """Advance by a whole run that need not be sampled; its decoding comes with the others'."""
        self.done += self.steps + self._AROUND["encoding the source"]
        self.bar.update_absolute(self.done)

    @contextmanager
    def stage(self, name: str) -> Iterable[None]:
        """Show `name`, and advance by its share when it ends."""
        self.say(name)
        started = time.perf_counter()
        yield
        log.info("SAMA: %s took %.1f s", name, time.perf_counter() - started)
        self.done += self._AROUND.get(name, 0)
        self.bar.update_absolute(self.done)

    def on_step(self, model) -> Callable:
        """A sampler callback: moves the bar, shows the step and ComfyUI's own live preview."""
        previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        start = self.done

        def callback(step: int, x0: Tensor, _x: Tensor, total: int) -> None:
            self.say(f"sampling, step {step + 1} of {total}")
            self.done = start + min(step + 1, self.steps)
            picture = previewer.decode_latent_to_preview_image("JPEG", x0) if previewer else None
            self.bar.update_absolute(self.done, preview=picture)

        return callback
