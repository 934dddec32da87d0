"""The card and the computer that a plan is made for.

`Machine` holds the facts, `processor` and `memory` read those of the computer from the system
without any library, and `peak` gives the speed that makers publish for their cards.
"""

import ctypes
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

GIB, MIB = 1 << 30, 1 << 20
NVIDIA, OTHER_GPU, MPS, CPU = "nvidia", "other GPU", "MPS", "CPU"
"""Kinds of devices."""


@dataclass(frozen=True)
class Machine:
    """One card in one computer, at one moment. Memory is in bytes."""

    kind: str = NVIDIA
    """NVIDIA, OTHER_GPU, MPS or CPU."""
    card: str | None = None
    """The device's name as torch gives it."""
    free_vram: int = 0
    """Card memory that ComfyUI can use: free for the driver, held by torch without use, or taken by
    weights that ComfyUI would remove."""
    total_vram: int = 0
    """All memory of the card."""
    free_ram: int | None = None
    """RAM that programs can still have; None where it is unknown."""
    total_ram: int | None = None
    """All RAM; None where it is unknown."""
    reserved: int = 400 * MIB
    """Card memory that ComfyUI leaves to other programs (`--reserve-vram`): `windows_reserve`."""
    vram_mode: str = "normal"
    """normal, low, no or high, as ComfyUI's command line sets it."""
    dynamic: bool = True
    """ComfyUI's dynamic VRAM: weights move while the model runs."""
    streams: int = 2
    """Layers that are copied to the card at the same time (`--async-offload`)."""
    program: int = 2 * GIB
    """RAM that ComfyUI takes for itself; 0 where it already runs. Unverified: 1 to 2 GiB were
    measured on a machine without a card."""
    assumed_vram: bool = False
    """Whether the user gave the card's memory, instead of it being read."""
    assumed_ram: bool = False
    """Whether the user gave the computer's memory, instead of it being read."""

    @property
    def has_card(self) -> bool:
        """Whether the device has memory of its own, apart from the computer's."""
        return self.kind in (NVIDIA, OTHER_GPU)

    @property
    def compute_size(self) -> int:
        """Bytes of one number in the dtype that ComfyUI computes in: bfloat16, float32 on a CPU."""
        return 4 if self.kind == CPU else 2


def windows_reserve(total_vram: int) -> int:
    """Bytes that ComfyUI leaves free on Windows: 600 MiB, 700 MiB on cards of more than 15 GiB."""
    return (700 if total_vram > 15 * GIB else 600) * MIB


_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")


def processor() -> str:
    """The CPU's name as the system gives it."""
    name = next(iter(_values(_CPUINFO, "model name")), "")
    return name or platform.processor() or platform.machine()


def memory() -> tuple[int | None, int | None]:
    """Free and total RAM in bytes; None where the system does not say."""
    if sys.platform == "win32":
        return _windows_memory()
    total = _pages("SC_PHYS_PAGES")
    available = next(iter(_values(_MEMINFO, "MemAvailable")), "")
    return (int(available.split()[0]) * 1024 if available else _pages("SC_AVPHYS_PAGES")), total


def _values(path: Path, key: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [
        line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key
    ]


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _windows_memory() -> tuple[int | None, int | None]:
    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in (
                "total",
                "free",
                "total_page",
                "free_page",
                "total_virtual",
                "free_virtual",
                "free_extended",
            )
        ]

    status = Status(length=ctypes.sizeof(Status))
    if sys.platform != "win32" or not ctypes.windll.kernel32.GlobalMemoryStatusEx(
        ctypes.byref(status)
    ):
        return None, None
    return status.free, status.total


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

# Peaks as published, in TFLOPS, without sparsity. GeForce cards: float32, from the appendices of
# NVIDIA's Ampere GA102, Ada and Blackwell whitepapers. There bfloat16 is twice the float32 figure
# (71.2 and 35.6 for the RTX 3090, 165.2 and 82.6 for the RTX 4090) and fp8 twice bfloat16.
_GEFORCE_FLOAT32 = {
    "3050": 9.1,
    "3060": 12.7,
    "3060ti": 16.2,
    "3070": 20.3,
    "3070ti": 21.7,
    "3080": 29.8,
    "3080ti": 34.1,
    "3090": 35.6,
    "3090ti": 40.0,
    "4060": 15.1,
    "4060ti": 22.1,
    "4070": 29.1,
    "4070super": 35.5,
    "4070ti": 40.1,
    "4070tisuper": 44.1,
    "4080": 48.7,
    "4080super": 52.2,
    "4090": 82.6,
    "5060": 19.2,
    "5060ti": 23.7,
    "5070": 30.9,
    "5070ti": 43.9,
    "5080": 56.3,
    "5090": 104.8,
}
# Other cards: bfloat16 and fp8, from their data sheets.
_OTHERS = {
    "a100": (312, None),
    "a100pcie": (312, None),
    "a40": (149.7, None),
    "a10": (125, None),
    "rtxa6000": (154.8, None),
    "l4": (121, 242),
    "l40": (181, 362),
    "l40s": (362, 733),
    "rtx6000adageneration": (364.2, 728.5),
    "h100pcie": (756, 1513),
    "h100nvl": (835, 1671),
    "h100": (989, 1979),
    "h200": (989, 1979),
}
# Maker, series, memory and socket, which torch adds to a card's name: "NVIDIA A100-SXM4-80GB".
_BESIDE_THE_NAME = re.compile(r"nvidia|geforce|tesla|\b\d+ ?gb\b|\bhbm\de?\b|\bsxm\d?\b")


def peak(card: str | None) -> Peak | None:
    """The published peak of a card, by the name torch gives it; None for cards not in the tables.

    Laptop cards are left out: they share names with desktop cards and are slower.
    """
    if not card or re.search(r"laptop|max-q|mobile", card.lower()):
        return None
    name = re.sub("[^a-z0-9]", "", _BESIDE_THE_NAME.sub("", card.lower()))
    number = name.removeprefix("rtx")
    if number in _GEFORCE_FLOAT32:
        float32 = _GEFORCE_FLOAT32[number]
        return Peak(2e12 * float32, None if number.startswith("30") else 4e12 * float32)
    bf16, fp8 = _OTHERS.get(name, (None, None))
    return Peak(bf16 * 1e12, fp8 and fp8 * 1e12) if bf16 else None
