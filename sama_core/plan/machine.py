"""The card and the computer that a plan is made for.

`Machine` holds the facts; `processor` and `memory` read those of the computer from the system
without any library.
"""

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

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
    """Card memory that ComfyUI leaves to other programs (`--reserve-vram`): `usual_reserve`."""
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


def usual_reserve(total_vram: int) -> int:
    """Bytes that ComfyUI leaves free where nothing else is set: 400 MiB, and on Windows 600 MiB, or
    700 MiB on cards of more than 15 GiB.
    """
    if sys.platform != "win32":
        return Machine.reserved
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
