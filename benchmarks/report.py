"""How every benchmark ends: what ran, the numbers on the screen, the file."""

import argparse
import io
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from sama_core.errors import RuntimeSetupError, SamaError, needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def describe_run(*packages: str, **more: object) -> dict:
    """What ran and on what: `more` (seeds, sizes, repeats), date, versions, machine, cores,
    threads.

    Versions are Python's, torch's and those of the other `packages`, null where one is missing.
    Torch is not imported: without it in this process, its threads are what OMP_NUM_THREADS says.
    """
    torch = sys.modules.get("torch")
    return {
        **more,
        "date": date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("torch", *packages)},
        },
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads() if torch else os.environ.get("OMP_NUM_THREADS"),
    }


def finish(report: dict, path: Path | None) -> None:
    """Print the report as JSON, and write it to `path` if one is given."""
    print(json.dumps(report, indent=1))
    if path:
        write_json(path, report)


def finish_measuring(measure: Callable[[], dict], path: Path | None) -> int:
    """`finish` with what `measure` returns → 0; where it raises SamaError, its sentence → 1."""
    try:
        report = measure()
    except SamaError as error:
        print(error, file=sys.stderr)
        return 1
    finish(report, path)
    return 0


def write_json(path: Path, report: dict) -> None:
    """Write `report` under a temporary name and rename it, so that `path` is whole or not there.

    Raises RuntimeSetupError naming the path where that fails.
    """
    text = json.dumps(report, indent=1, allow_nan=False)
    _write_whole(path, (join_numbers(text) + "\n").encode("utf-8"))


_NUMBERS = re.compile(r"\[\n\s*((?:[-+.\deE]+|null)(?:,\n\s*(?:[-+.\deE]+|null))*)\n\s*\]")


def join_numbers(text: str) -> str:
    """Indented JSON with each list of numbers on a line of its own; a string is never touched."""
    return _NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text)


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


PLOT_COLOURS = 64
"""Of a plot's picture: lines and dots stay as they are, at a third of the bytes."""


def save_plot(figure: "Figure", path: Path) -> None:
    """Write a matplotlib figure as a small PNG, whole or not at all.

    Raises RuntimeSetupError naming the path where that fails.
    """
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    picture = Image.open(drawn).convert("RGB").quantize(PLOT_COLOURS, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    picture.save(packed, "PNG", optimize=True)
    _write_whole(path, packed.getvalue())


def cannot_write(path: Path, error: OSError) -> RuntimeSetupError:
    """The error for a result that cannot be stored."""
    why = error.strerror or str(error)
    return RuntimeSetupError(
        needed(str(path), why, "a file that can be written", "Give another path.")
    )


def check_folder(option: str, path: Path | None) -> None:
    """Raises RuntimeSetupError if the option's file would lie in a folder that is not there."""
    if path and not path.absolute().parent.is_dir():
        got = f"{path}, in a folder that is not there"
        raise RuntimeSetupError(
            needed(option, got, "a folder that exists", "Make the folder first.")
        )


def check_least(options: argparse.Namespace, **least: int) -> None:
    """Raises SamaError for an option, by its name, that is below the least it may be."""
    for name, bound in least.items():
        value = getattr(options, name)
        if value < bound:
            option = f"--{name}"
            raise SamaError(needed(option, value, f"{bound} or more", f"Give another {option}."))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
