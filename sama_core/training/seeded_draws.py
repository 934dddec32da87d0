"""First weights that a seed draws, where a module draws them from torch's own generator."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def draw_from(seed: int) -> Iterator[None]:
    """A context in which torch's generator on the CPU begins with `seed`; afterwards it is what it
    was.

    Cards are left alone: to keep their generators too, torch would start every card that it finds,
    in each of several processes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
