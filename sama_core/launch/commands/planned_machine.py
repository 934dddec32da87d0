"""The machine that `run.py plan` plans for: the one here, or a named one."""

import platform
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from typing import Any

from ...errors import InputError, needed
from ...plan.cards import is_same_card, name_machine, peak
from ...plan.machine import CPU, GIB, MIB, MPS, NVIDIA, Machine, memory, processor, usual_reserve
from ..progress import LaunchError


def this_machine(options: Namespace) -> Machine:
    """The machine here, or the one that `--vram`, `--card` and `--ram` describe."""
    return replace(_card(options), **_ram(options))


def _card(options: Namespace) -> Machine:
    """The card, without the computer's memory."""
    if options.vram is not None:
        given = _bytes("--vram", options.vram)
        return Machine(
            NVIDIA, options.card, given, given, assumed_vram=True, reserved=usual_reserve(given)
        )
    here = nvidia_card()
    if options.card and (here is None or _is_another(options.card, here[0])):
        return _find_named(options.card)
    if here is not None:
        name, free, total = here
        return Machine(NVIDIA, options.card or name, free, total, reserved=usual_reserve(total))
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return Machine(MPS) if apple else Machine(CPU, processor())


def _is_another(card: str, here: str) -> bool:
    """Whether a known card was named, and another one is here."""
    return peak(card) is not None and not is_same_card(card, here)


def _find_named(card: str) -> Machine:
    """A card with the memory that it is sold with. Raises LaunchError where that is not known."""
    if peak(card) is None:
        raise LaunchError(
            needed(
                "--card",
                "no memory size with it",
                "--vram beside it",
                "For example --card 'RTX 4090' --vram 24.",
            )
        )
    try:
        return name_machine(card)
    except InputError as refused:
        raise LaunchError(f"--{refused}") from refused


def _ram(options: Namespace) -> dict[str, Any]:
    """The fields of `Machine` about the computer's memory."""
    if options.ram is not None:
        given = _bytes("--ram", options.ram)
        return {"free_ram": given, "total_ram": given, "assumed_ram": True}
    free, total = memory()
    return {"free_ram": free, "total_ram": total}


def nvidia_card() -> tuple[str, int, int] | None:
    """Name, free and total bytes of the first NVIDIA card; None without card or driver."""
    query = [
        "nvidia-smi",
        "--query-gpu=name,memory.free,memory.total",
        "--format=csv,noheader,nounits",
    ]
    try:
        listed = subprocess.run(
            query, check=True, capture_output=True, timeout=30, encoding="utf-8"
        )
        name, free, total = listed.stdout.splitlines()[0].rsplit(",", 2)
        return name.strip(), int(free) * MIB, int(total) * MIB
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _bytes(option: str, gib: float) -> int:
    if not 0 <= gib < 1e6:
        raise LaunchError(needed(option, gib, "a size in GB", f"For example {option} 12."))
    return int(gib * GIB)
