"""The computer's processor and memory, asked of the system without any library."""

import ctypes
import os
import platform
import sys
from pathlib import Path

_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")


def processor() -> str:
    """The CPU's name as the system gives it."""
    name = next(iter(_values(_CPUINFO, "model name")), "")
    return name or platform.processor() or platform.machine()


def memory() -> tuple[int | None, int | None]:
    """Bytes of RAM that programs can still have, and of all RAM; None where the system does not say."""
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
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key]


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _windows_memory() -> tuple[int | None, int | None]:
    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong) for name in ("total", "free", "total_page", "free_page", "total_virtual",
                                                    "free_virtual", "free_extended")]
    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status.free, status.total
