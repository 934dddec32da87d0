"""Takes hostile clips through the whole path: `python -m tests.harness.hostile.worker FOLDER`.

Reads each file as SAMA Source Video does, restores and saves as SAMA Finish Video and Save Video
do, and reads the result back. This process has imported what that needs and forks a child for every
file, so that one which kills its child is known by name. One JSON line per file: what came of it,
then one that says what was touched.
"""

import contextlib
import json
import logging
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch

from .. import imports

imports.install()

from sama_core.clip import (  # noqa: E402
    ClipInfo,
    ClipRange,
    FileSource,
    Fit,
    FrameWalk,
    OwnSound,
    fit_clip,
    join_pieces,
    measure_clip,
    prepare_pictures,
    save_restored,
    write_piece,
)
from sama_core.clip.save import Encoding  # noqa: E402
from sama_core.errors import SamaError  # noqa: E402

from .children import all_under, in_child  # noqa: E402
from .clips import Hostile, hostile_clips  # noqa: E402
from .sounds import hostile_sounds  # noqa: E402
from .stamps import hostile_stamps  # noqa: E402
from .strange_clips import hostile_strange_clips  # noqa: E402

AREA, FRAMES, NOBODY = 32 * 32, 5, 65534
FITS = tuple(Fit)
LOSS = 8
"""Mean difference in grey levels that an encoder may make; another orientation makes over 20."""
NEAR = 0.03
"""Seconds that a click may lie from its place: encoders smear it."""


def taken_through(case: Hostile, result: Path, fit: Fit) -> str:
    """Read, fit, restore, save, read back.

    Returns what is wrong with the result, empty if nothing is.
    """
    source = FileSource(str(case.path))
    with _as_nobody() if case.as_nobody else contextlib.nullcontext():
        facts = source.facts()
    if case.size and (facts.width, facts.height) != case.size:
        return f"size {facts.width}x{facts.height} instead of {case.size}"
    if case.first is not None and _far_from(case.first, next(source.frames(ClipRange(0, 1)))):
        return "the first picture does not lie as it must"
    wanted = ClipRange(0, FRAMES if case.click is None and case.frames is None else 0)
    frames, info = fit_clip(source, wanted, AREA, fit=fit)
    info = replace(info, audio=source.audio(info.start_seconds, info.duration_seconds))
    if case.frames and info.frame_count != case.frames:
        return f"{info.frame_count} frames instead of {case.frames}"
    with _room_for(case.disk):
        save_restored(result, frames, info, info.audio)
    return (
        _difference(result, info)
        or _wrong_sound(case, result, info)
        or _wrong_in_pieces(case, result, frames, info, wanted)
    )


def _wrong_in_pieces(
    case: Hostile, result: Path, frames: torch.Tensor, info: ClipInfo, wanted: ClipRange
) -> str:
    """What is wrong with the same clip as SAMA Edit Whole Video takes it: measured, walked through,
    written in two pieces, joined.
    """
    own = measure_clip(info.source, wanted, AREA, fit=info.placement.fit)
    if own != info:
        return "measured otherwise than read"
    half, walk = -(-info.frame_count // 2), FrameWalk(own)
    walked = [walk.take(slice(at, at + 1))[0] for at in range(info.frame_count)]
    walk.close()
    if not torch.equal(torch.stack(walked), frames[: info.frame_count]):
        return "other frames on the way through"
    sound = OwnSound.of(own, lambda: None)
    restored, pieces = prepare_pictures(walked, own, Encoding()), []
    with _room_for(case.disk):
        for part in (range(half), range(half, info.frame_count)):
            if part:
                piece = result.with_name(f"{result.stem}_{part.start}.mp4")
                write_piece(piece, restored, own, part, Encoding())
                pieces.append((piece, part.start))
        joined = result.with_name(f"{result.stem}_joined.mp4")
        join_pieces(joined, pieces, own, sound, Encoding())
    heard = sound.heard.remark if info.audio is None and case.click is not None else ""
    wrong = _difference(joined, info)
    if not wrong and info.audio is not None and case.click is not None:
        saved = FileSource(str(joined)).audio(0, 0)
        at = saved and _click(saved)
        wrong = "" if at is not None and abs(at - case.click) <= NEAR else f"joined clicks at {at}"
    if not wrong and case.click is not None and info.audio is None and not heard:
        wrong = "no remark on the missing sound"
    for piece, _ in pieces:
        piece.unlink()
    joined.unlink()
    return wrong and f"in pieces: {wrong}"


def _far_from(wanted: np.ndarray, got: np.ndarray) -> bool:
    """Whether more than an encoder's error lies between two pictures of one size."""
    return np.abs(wanted.astype(int) - got).mean() > LOSS


def _difference(result: Path, info: ClipInfo) -> str:
    back = FileSource(str(result))
    facts, count = back.facts(), sum(1 for _ in back.frames(ClipRange()))
    got, wanted = (facts.width, facts.height, count), (info.width, info.height, info.frame_count)
    return "" if got == wanted else f"{got} instead of {wanted}"


def _wrong_sound(case: Hostile, result: Path, info: ClipInfo) -> str:
    """What is wrong with the sound that was read, or with the saved one.

    Sound that is left out is told in a remark.
    """
    if case.click is None:
        return ""
    if info.audio is None:
        told = [remark for remark in info.remarks() if "sound" in remark.lower()]
        return "" if len(told) == 1 else f"no sound, and {len(told)} remarks on it"
    saved = FileSource(str(result)).audio(0, 0)
    for name, audio in (("read", info.audio), ("saved", saved)):
        if audio is None:
            return f"no {name} sound"
        heard = _click(audio)
        if heard is None or abs(heard - case.click) > NEAR:
            size = list(audio["waveform"].shape)
            return f"{name} sound clicks at {heard} instead of {case.click} ({size})"
    return ""


def _click(audio: dict) -> float | None:
    """Seconds at which the loudest 5 ms begin; None for silence."""
    loud = audio["waveform"][0].abs().amax(0).numpy()
    window = max(1, audio["sample_rate"] // 200)
    power = np.add.reduceat(loud, np.arange(0, len(loud), window)) if len(loud) else np.zeros(1)
    return int(power.argmax()) * window / audio["sample_rate"] if power.max() > 0 else None


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


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    av.logging.set_level(av.logging.PANIC)
    logging.disable()
    (folder / "results").mkdir()
    kinds = (hostile_clips, hostile_sounds, hostile_stamps, hostile_strange_clips)
    cases = [case for make in kinds for case in make(folder / "clips")]
    before = all_under(folder / "clips")
    for number, case in enumerate(cases):
        result = folder / "results" / f"{number}.mp4"
        said = in_child(
            lambda case=case, result=result, number=number: outcome(
                case, result, FITS[number % len(FITS)]
            )
        )
        line = {
            "kind": case.kind,
            "name": case.path.name,
            "expected": case.expected,
            "words": case.words,
            "saved": result.exists(),
            **said,
        }
        print(json.dumps(line), flush=True)
    after = all_under(folder / "clips")
    touched = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    print(
        json.dumps(
            {"end": True, "touched": touched, "results": sorted(os.listdir(folder / "results"))}
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
