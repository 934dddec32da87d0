"""Takes hostile clips through the whole path in a process of its own: `python -m tests.harness.hostile_worker FOLDER`.

Reads each file as SAMA Source Video does, restores and saves as SAMA Finish Video and Save Video do, and reads the
result back. One JSON line per file: what came of it, then one that says what was touched. A file that kills the
process has no line.
"""

import contextlib
import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import torch

from . import imports

imports.install()

from sama_core.clip import ClipRange, FileSource, Fit, fit_clip, save_restored  # noqa: E402
from sama_core.errors import SamaError  # noqa: E402

from .hostile_clips import Hostile, hostile_clips  # noqa: E402

AREA, FRAMES, NOBODY = 32 * 32, 5, 65534
FITS = tuple(Fit)


def taken_through(case: Hostile, result: Path, fit: Fit) -> str:
    """Read, fit, restore, save, read back. Returns what is wrong with the result, empty if nothing is."""
    source = FileSource(str(case.path))
    with _as_nobody() if case.as_nobody else contextlib.nullcontext():
        facts = source.facts()
    if case.size and (facts.width, facts.height) != case.size:
        return f"size {facts.width}x{facts.height} instead of {case.size}"
    frames, info = fit_clip(source, ClipRange(0, FRAMES), AREA, fit=fit)
    info = replace(info, audio=source.audio(info.start_seconds, info.duration_seconds))
    with _room_for(case.disk):
        save_restored(result, frames, info, info.audio)
    return _difference(result, info)


def _difference(result: Path, info) -> str:
    back = FileSource(str(result))
    facts, count = back.facts(), sum(1 for _ in back.frames(ClipRange()))
    got, wanted = (facts.width, facts.height, count), (info.width, info.height, info.frame_count)
    return "" if got == wanted else f"{got} instead of {wanted}"


def outcome(case: Hostile, result: Path, fit: Fit) -> dict:
    """`right`, `error` with its text, or `failure` with what is wrong."""
    try:
        wrong = taken_through(case, result, fit)
    except SamaError as error:
        return {"outcome": "error", "text": str(error)}
    except Exception as error:
        return {"outcome": "failure", "text": f"{type(error).__name__}: {error}"}
    return {"outcome": "failure", "text": wrong} if wrong else {"outcome": "right", "text": ""}


@contextmanager
def _room_for(size: int | None) -> Iterator[None]:
    """A limit on file sizes fails in the same calls as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def _all_under(folder: Path) -> dict[str, tuple]:
    """What would change if somebody wrote there, read none of it."""
    found = {}
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            status = os.lstat(path)
            found[os.path.relpath(path, folder)] = (status.st_size, status.st_mtime_ns, status.st_mode)
    return found


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    av.logging.set_level(av.logging.PANIC)
    (folder / "results").mkdir()
    cases = list(hostile_clips(folder / "clips"))
    before = _all_under(folder / "clips")
    for number, case in enumerate(cases):
        result = folder / "results" / f"{number}.mp4"
        said = outcome(case, result, FITS[number % len(FITS)])
        line = {"kind": case.kind, "name": case.path.name, "expected": case.expected, "words": case.words,
                "saved": result.exists(), **said}
        print(json.dumps(line), flush=True)
    after = _all_under(folder / "clips")
    touched = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    print(json.dumps({"end": True, "touched": touched, "results": sorted(os.listdir(folder / "results"))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
