"""Every row of a file or folder, decoded and judged.

unusable   missing, unreadable, short, aspect, rates (where they are refused)
remarks    rates, lengths, cropped, upscaling, identical, duplicate, tokens, damaged
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from ....clip.at_rate import frames_at
from ....errors import ClipError, needed
from ....geometry import WAN_21, ClipShape, crop_box
from ....text import MAX_TOKENS, add_tag
from ...config import TrainConfig
from ..clips_config import BEFORE
from ..frames import Look, look_at
from ..groups import find_shape
from ..kept_tensors import KeptDigests
from ..rows import Row, RowError, name_rows, read_rows, unreadable
from .contact_sheet import MOST_ROWS, Shown, write_sheet
from .count_tokens import Count, open_counter
from .decode_clip import Decoded, decode, largest_difference
from .findings import UNUSABLE, Report

logger = logging.getLogger(__name__)

WORKERS = 2
"""Rows that are decoded at a time."""
SAME = 6
"""Levels of 0 to 255 up to which two pictures are the same, but for their coding."""
MOST_CUT, MOST_ENLARGED = 0.1, 1.05
"""What is said: more than this part cut off, and enlarged by more than this factor."""


@dataclass(frozen=True)
class Wanted:
    """What the rows are checked for."""

    config: TrainConfig
    """The settings; of a recipe, or those of a size that a person named."""
    sized: bool
    """Whether its size and frames count: without a recipe they are not known."""


def check_rows(wanted: Wanted, sheet: Path | None = None) -> Report:
    """Decode every row; draw the contact sheet, if one is asked for.

    Raises RowError where the file itself cannot be read.
    """
    config, report = wanted.config, Report()
    rows, wrong = read_rows(Path(config.data), config.stage)
    report.rows, report.names = len(rows) + len(wrong), name_rows(Path(config.data))
    count, report.tokens = open_counter(config.text_encoder)
    for number, reason in wrong.items():
        kind = "missing" if "got no file" in reason else "row"
        report.add(number, kind, _without_number(reason), UNUSABLE)
    shown: dict[bool, list[tuple[Row, list[Decoded]]]] = {True: [], False: []}
    with ThreadPoolExecutor(WORKERS) as pool:
        decoded = pool.map(_decode_row, rows)
        for row, found in zip(tqdm(rows, desc="check", unit="row"), decoded, strict=True):
            clips = [] if isinstance(found, RowError) else found
            if isinstance(found, RowError):
                report.add(row.number, "unreadable", _without_number(str(found)), UNUSABLE)
            else:
                _judge(wanted, row, clips, report)
            _judge_text(row, count, report)
            _keep_shown(shown, row, clips, report)
    unusable = {one.row for one in report.findings if one.level == UNUSABLE}
    _find_duplicates([row for row in rows if row.number not in unusable], report)
    report.findings.sort(key=lambda one: one.row)
    kept = [*shown[True], *shown[False]]
    if sheet is not None and kept:
        rows_shown = [Shown(row, clips, report.of_row(row.number)) for row, clips in kept]
        report.sheet = _draw_sheet(rows_shown, sheet)
    return report


def _keep_shown(
    shown: dict[bool, list[tuple[Row, list[Decoded]]]],
    row: Row,
    clips: list[Decoded],
    report: Report,
) -> None:
    """Hold a row's pictures if the sheet may show them: of all rows they would fill the memory."""
    same_kind = shown[bool(report.of_row(row.number))]
    if len(same_kind) < MOST_ROWS:
        same_kind.append((row, clips))


def _draw_sheet(rows: Sequence[Shown], path: Path) -> str:
    """The sheet's path; "" with a warning where it cannot be written: the findings are told."""
    try:
        write_sheet(rows, path)
    except OSError as failed:
        fix = "Set --sheet to a PNG elsewhere, or --no-sheet."
        why = failed.strerror or str(failed)
        logger.warning(needed(f"sheet {path}", why, "a place that can be written to", fix))
        return ""
    return str(path)


def _decode_row(row: Row) -> list[Decoded] | RowError:
    """Source and target, or the clip alone; or what is wrong with them."""
    try:
        return [decode(path) for path in (row.source, row.target) if path]
    except ClipError as error:
        return unreadable(row, error)


def _judge(wanted: Wanted, row: Row, clips: Sequence[Decoded], report: Report) -> None:
    """What a row's clips are, and what is wrong or odd with them."""
    for clip in clips:
        _judge_clip(row, clip, report)
    if len(clips) == 2:
        _judge_pair(row, clips[0], clips[1], report)
    settings = wanted.config.clips or BEFORE
    try:
        look = _with_decoded(look_at(row, settings), clips)
    except RowError as wrong:
        kind = "rates" if "one frame rate" in str(wrong) else "aspect"
        report.add(row.number, kind, _without_number(str(wrong)), UNUSABLE)
        return
    if not row.is_image:
        report.lengths[look.frames] += 1
    if look.rates_differ:
        rates = " and ".join(f"{float(rate):.5g}" for rate in look.rates)
        how = "resampled" if look.fps else "paired frame by frame"
        report.add(row.number, "rates", f"target and source of {rates} frames per second: {how}")
    if wanted.sized:
        _judge_shape(wanted, row, clips, look, report)


def _judge_clip(row: Row, clip: Decoded, report: Report) -> None:
    report.sizes["{}x{}".format(*clip.size)] += 1
    if not row.is_image:
        report.rates[f"{float(clip.fps):.5g}"] += 1
    if row.is_image and clip.frames > 1:
        text = f"an image of {clip.frames} frames: the first one is used"
        report.add(row.number, "lengths", text)
    if clip.damaged:
        report.add(row.number, "damaged", f"{clip.damaged} frames were patched up in decoding")
    if clip.stated is not None and clip.frames < clip.stated:
        text = f"it ends after {clip.frames} of the {clip.stated} frames that it should have"
        report.add(row.number, "damaged", text)


def _with_decoded(look: Look, clips: Sequence[Decoded]) -> Look:
    """A row's look with the frames that there really are, whatever the files say."""
    counts = [
        clip.frames if look.fps is None else frames_at(look.fps, clip.frames, clip.fps)
        for clip in clips
    ]
    return replace(look, frames=min(counts))


def _judge_pair(row: Row, source: Decoded, target: Decoded, report: Report) -> None:
    if source.frames != target.frames and not row.is_image:
        text = f"source of {source.frames} frames, target of {target.frames}"
        report.add(row.number, "lengths", f"{text}: what one has more is not used")
    if largest_difference(source, target) <= SAME:
        report.add(row.number, "identical", "source and target show the same")


def _judge_shape(
    wanted: Wanted, row: Row, clips: Sequence[Decoded], look: Look, report: Report
) -> None:
    """Whether the clips are long and large enough for the shape that they are trained in."""
    try:
        shape = find_shape(wanted.config, row, look, WAN_21)
    except RowError as wrong:
        report.add(row.number, "short", _without_number(str(wrong)), UNUSABLE)
        return
    if not row.is_image and look.frames < shape.frames:
        text = f"got {look.frames} frames, needs {shape.frames}."
        report.add(row.number, "short", text, UNUSABLE)
        return
    report.shapes[f"{shape.width}x{shape.height}x{shape.frames}"] += 1
    _judge_size(row, clips, shape, report)


def _judge_size(row: Row, clips: Sequence[Decoded], shape: ClipShape, report: Report) -> None:
    """Remarks on what is cut off and what is enlarged."""
    wanted, enlarged = f"{shape.width}x{shape.height}", []
    for name, clip in zip(("source", "target")[-len(clips) :], clips, strict=True):
        width, height = clip.size
        left, top, right, bottom = crop_box(width, height, shape.width, shape.height)
        cut = 1 - (right - left) * (bottom - top) / (width * height)
        if cut > MOST_CUT and name == "target":
            text = f"{cut:.0%} of {width}x{height} is cut off for {wanted}"
            report.add(row.number, "cropped", text)
        factor = max(shape.width / (right - left), shape.height / (bottom - top))
        if factor > MOST_ENLARGED:
            enlarged.append(f"{name} of {width}x{height} {factor:.2g} times")
    if enlarged:
        text = f"enlarged for {wanted}: {', '.join(enlarged)}"
        report.add(row.number, "upscaling", text)


def _judge_text(row: Row, count: Count, report: Report) -> None:
    found = count(add_tag(row.text))
    if found > MAX_TOKENS:
        about = "about " if report.tokens == "estimated" else ""
        report.add(row.number, "tokens", f"{about}{found} tokens: cut at {MAX_TOKENS}")


def _find_duplicates(rows: Sequence[Row], report: Report) -> None:
    """Rows whose files and words are another's; and those that ask the same of one source twice."""
    digest = KeptDigests(None)
    pairs: dict[tuple[str, str, str], int] = {}
    asked: dict[tuple[str, str], int] = {}
    for row in rows:
        source = digest(row.source) if row.source else ""
        target = digest(row.target)
        same = pairs.setdefault((source, target, row.text), row.number)
        if same != row.number:
            report.add(row.number, "duplicate", f"the same clips and words as row {same}")
            continue
        first = asked.setdefault((source, row.text), row.number) if source else row.number
        if first != row.number:
            text = f"the same source and words as row {first}, and another target"
            report.add(row.number, "duplicate", text)


def _without_number(reason: str) -> str:
    return reason.partition(": ")[2]
