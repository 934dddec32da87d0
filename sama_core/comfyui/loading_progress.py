"""How far core is with copying weights into a model, told block by block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

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
    hooks = [block.register_load_state_dict_pre_hook(lambda *_, done=index: tell(done, total))
             for index, block in enumerate(blocks)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    tell(total, total)
