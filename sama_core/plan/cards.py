"""The cards that plans know by name: the speed and the memory that makers publish for them."""

import re
from typing import NamedTuple

from ..errors import InputError, needed
from .machine import GIB, NVIDIA, Machine, usual_reserve


class Peak(NamedTuple):
    """Operations per second of dense matrix products."""

    bf16: float
    """With bfloat16 factors and float32 sums."""
    fp8: float | None
    """With fp8 factors; None for cards without fp8."""


EFFICIENCY = (0.35, 0.60)
"""Lowest and highest fraction of the peak that attention and large matrix products of a video model
reach. Assumed, not measured."""
TRANSFER = (6e9, 40e9)
"""Bytes per second from RAM to the card: PCIe 3.0 x16 with pageable memory, and PCIe 5.0 x16.
Assumed, not measured."""

# Peaks as published, in TFLOPS, without sparsity, and the sizes of memory that are sold, in GB.
# GeForce cards: float32, from the appendices of NVIDIA's Ampere GA102, Ada and Blackwell
# whitepapers. There bfloat16 is twice the float32 figure (71.2 and 35.6 for the RTX 3090, 165.2 and
# 82.6 for the RTX 4090) and fp8 twice bfloat16.
_GEFORCE: dict[str, tuple[float, tuple[int, ...]]] = {
    "RTX 3050": (9.1, (8,)),
    "RTX 3060": (12.7, (12,)),
    "RTX 3060 Ti": (16.2, (8,)),
    "RTX 3070": (20.3, (8,)),
    "RTX 3070 Ti": (21.7, (8,)),
    "RTX 3080": (29.8, (10,)),
    "RTX 3080 Ti": (34.1, (12,)),
    "RTX 3090": (35.6, (24,)),
    "RTX 3090 Ti": (40.0, (24,)),
    "RTX 4060": (15.1, (8,)),
    "RTX 4060 Ti": (22.1, (8, 16)),
    "RTX 4070": (29.1, (12,)),
    "RTX 4070 SUPER": (35.5, (12,)),
    "RTX 4070 Ti": (40.1, (12,)),
    "RTX 4070 Ti SUPER": (44.1, (16,)),
    "RTX 4080": (48.7, (16,)),
    "RTX 4080 SUPER": (52.2, (16,)),
    "RTX 4090": (82.6, (24,)),
    "RTX 5060": (19.2, (8,)),
    "RTX 5060 Ti": (23.7, (8, 16)),
    "RTX 5070": (30.9, (12,)),
    "RTX 5070 Ti": (43.9, (16,)),
    "RTX 5080": (56.3, (16,)),
    "RTX 5090": (104.8, (32,)),
}
# Other cards: bfloat16 and fp8, from their data sheets.
_OTHERS: dict[str, tuple[float, float | None, tuple[int, ...]]] = {
    "A10": (125, None, (24,)),
    "A40": (149.7, None, (48,)),
    "A100": (312, None, (40, 80)),
    "A100 PCIe": (312, None, (40, 80)),
    "RTX A6000": (154.8, None, (48,)),
    "L4": (121, 242, (24,)),
    "L40": (181, 362, (48,)),
    "L40S": (362, 733, (48,)),
    "RTX 6000 Ada Generation": (364.2, 728.5, (48,)),
    "H100 PCIe": (756, 1513, (80,)),
    "H100 NVL": (835, 1671, (94,)),
    "H100": (989, 1979, (80,)),
    "H200": (989, 1979, (141,)),
}
_CHECKED = ("A10", "A40", "L4", "L40", "L40S")
"""Cards that keep a part of their GDDR6 for error correction (ECC), which is on from the start."""
LEFT_BY_CHECKS = 15 / 16
"""Of their memory: drivers report 22.5 of 24 GB."""
_SIZE = re.compile(r"\b(\d+) ?gb\b")
# Maker, series, memory and socket, which torch adds to a card's name: "NVIDIA A100-SXM4-80GB".
_BESIDE_THE_NAME = re.compile(r"nvidia|geforce|tesla|\b\d+ ?gb\b|\bhbm\de?\b|\bsxm\d?\b")
_UNKNOWN = re.compile(r"laptop|max-q|mobile")
"""Laptop cards share names with desktop cards and are slower."""


def _short(name: str) -> str:
    return re.sub("[^a-z0-9]", "", _BESIDE_THE_NAME.sub("", name.lower())).removeprefix("rtx")


_CARDS: dict[str, tuple[Peak, tuple[int, ...]]] = {
    **{
        _short(name): (
            Peak(2e12 * float32, None if name.startswith("RTX 30") else 4e12 * float32),
            sizes,
        )
        for name, (float32, sizes) in _GEFORCE.items()
    },
    **{
        _short(name): (Peak(bf16 * 1e12, fp8 and fp8 * 1e12), sizes)
        for name, (bf16, fp8, sizes) in _OTHERS.items()
    },
}
"""By names without their maker, series and blanks."""


def peak(card: str | None) -> Peak | None:
    """The published peak of a card, by the name torch gives it; None for cards not in the tables.

    Laptop cards are left out.
    """
    found = _find(card)
    return found[0] if found else None


def _find(card: str | None) -> tuple[Peak, tuple[int, ...]] | None:
    if not card or _UNKNOWN.search(card.lower()):
        return None
    return _CARDS.get(_short(card))


def list_cards() -> list[str]:
    """The known cards with their memory, such as "RTX 4060 Ti 16 GB"."""
    sizes = {name: sizes for name, (_, sizes) in _GEFORCE.items()}
    sizes |= {name: sizes for name, (_, _, sizes) in _OTHERS.items()}
    return [f"{name} {size} GB" for name, sold in sizes.items() for size in sold]


def name_machine(card: str) -> Machine:
    """A known card with all of its memory free, by a name such as "RTX 4060 Ti 16 GB".

    Nothing is said of RAM. Raises InputError for an unknown card, and for one that is sold with
    several sizes of memory where the name has none.
    """
    found = _find(card)
    if found is None:
        raise InputError(
            needed(
                "card",
                card,
                f"one of {', '.join(list_cards())}",
                "Name one of these, or give a card's memory with --vram; its speed is then not "
                "known.",
            )
        )
    named = _SIZE.search(card.lower())
    sizes = (int(named[1]),) if named else found[1]
    if len(sizes) > 1:
        choices = " or ".join(f"{card} {size} GB" for size in sizes)
        raise InputError(needed("card", f"{card} without its memory", choices, "Name one of them."))
    given = sizes[0] * GIB
    if _short(card) in map(_short, _CHECKED):
        given = int(given * LEFT_BY_CHECKS)
    return Machine(NVIDIA, card, given, given, assumed_vram=True, reserved=usual_reserve(given))


def is_same_card(one: str | None, other: str | None) -> bool:
    """Whether two names are of the same known card."""
    found = _find(one)
    return found is not None and found is _find(other)
