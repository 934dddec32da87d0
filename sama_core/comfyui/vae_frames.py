"""How many frames of a clip ComfyUI's VAE has encoded or decoded so far.

Wan's encoder and decoder take one frame of their input, then two at a time. ComfyUI tells nobody of
these steps; they are counted as the network is called.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Report = Callable[[int | None, int], None]
"""`report(done, total)`, told of frames as they are done; `done` is None where they are no longer
counted. It may raise, as for an interruption.
"""


def ignore_frames(done: int | None, total: int) -> None:
    """A `Report` that shows nothing."""


@contextmanager
def count_frames(
    network: nn.Module, count: int, sizes: Collection[tuple[int, int]], report: Report
) -> Iterator[None]:
    """Reports how many of a clip's `count` frames are done by `network`, the encoder or the decoder
    of ComfyUI's `WanVAE`, while the context is entered.

    It goes over all frames once for each of `sizes`, the (height, width) of what it is given. Where
    it is given others, ComfyUI has gone over to tiles of its own, whose number is not known, and
    frames are no longer counted.
    """
    taken, known = 0, True

    def count_more(_network: nn.Module, given: tuple, out: list[Tensor] | Tensor | None) -> None:
        nonlocal taken, known
        parts = out if isinstance(out, list) else given[:1]  # the decoder's; the encoder's
        taken += sum(part.shape[2] for part in parts)
        size = (given[0].shape[3], given[0].shape[4])
        known = known and size in sizes and taken <= count * len(sizes)
        report(taken // len(sizes) if known else None, count)

    hook = network.register_forward_hook(count_more)
    try:
        yield
    finally:
        hook.remove()
