"""Random streams by name: what is drawn depends on seed, step and sample, never on the process that draws it."""

import hashlib

import torch


def stream(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by a hash of `key`, e.g. (seed, "noise", step, sample).

    The CPU generator keeps only the low 32 bits of a seed, so 32 are made.
    """
    digest = hashlib.blake2s(":".join(map(str, key)).encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def chance(share: float, *key: int | str) -> bool:
    """True in about `share` of all keys."""
    return torch.rand(1, generator=stream(*key), dtype=torch.float64).item() < share
