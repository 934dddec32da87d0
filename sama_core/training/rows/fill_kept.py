"""What the frozen encoders say of all rows, made ahead of the first step.

Then the encoders can leave the card before the model is loaded. Started again, it goes on: what is
kept stays, what is damaged is made again. Each of several processes makes its share.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from ...errors import needed
from ...geometry import ClipShape
from ...text import EDIT_TAG, add_tag
from ..config import TrainConfig
from ..recipe import ConfigError
from .data import RowsData
from .frozen_encoders import FrozenEncoders
from .preflight import refuse_missing
from .read_ahead import ReadAhead
from .row_samples import Sample
from .rows import Row, RowError


@dataclass(frozen=True)
class _Todo:
    """One window of a row."""

    row: Row
    shape: ClipShape
    start: int


def why_not_filled(data: RowsData) -> str | None:
    """Why the encoders are needed in every step, or None where all can be kept."""
    clips = data.config.clips
    if clips is None or not clips.cache:
        return "clips.cache is off"
    if any(row.source is None for row in data.clips):
        return "a clip to restore is perturbed anew each time"
    if clips.windows == 0 and data.clips:
        return "clips.windows 0 takes any frame"
    return None


def fill_kept(data: RowsData) -> bool:
    """Keep latents, semantic tokens and texts of every row; whether all is kept now.

    A row that turns out bad is left out and reported, as in training. False without an attempt
    where `why_not_filled` has a reason, and where the folder is full.
    """
    if why_not_filled(data) is not None:
        return False
    assert data.config.clips is not None
    semantic, workers = data.config.semantic_weight > 0, data.config.clips.workers
    todo = list(_list_windows(data))[data.process[0] :: data.process[1]]

    def read(_: int, place: int) -> Sample | RowError:
        one = todo[place]
        try:
            return data.reader.read_window(one.row, one.shape, one.start, semantic)
        except RowError as wrong:
            return wrong

    ahead = ReadAhead(read, workers)
    hidden = data.process[0] > 0
    for place in tqdm(range(len(todo)), desc="clips and texts", unit="window", disable=hidden):
        sample = ahead.take(0, place)
        ahead.expect((0, next_) for next_ in range(place + 1, min(place + 1 + workers, len(todo))))
        try:
            if isinstance(sample, RowError):
                raise sample
            _keep(data, sample, semantic)
        except RowError as wrong:
            data.bad.add(todo[place].row.number, str(wrong))
    data.kept.text(EDIT_TAG)
    return data.kept.kept is not None and not data.kept.kept.full


def fill_rows(config: TrainConfig) -> str:
    """Fill the cache of a recipe that has one, without its model; says where it is and its size.

    Raises SamaError for files, data or settings with which that cannot be done.
    """
    refuse_missing(config)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    data = RowsData(config, FrozenEncoders.of(config, device))
    why, kept = why_not_filled(data), data.kept.kept
    if why is not None or kept is None:
        fix = "Go on with train: the encoders stay in memory for it."
        raise ConfigError(needed("fill", why, "a cache that can hold all", fix))
    whole = fill_kept(data)
    data.bad.report()
    state = "" if whole else "; it is full, see clips.cache_gb"
    return f"{kept.folder}  {kept.size / 1e6:.1f} MB{state}"


def _keep(data: RowsData, sample: Sample, semantic: bool) -> None:
    """Make what is missing of a sample. Raises RowError."""
    row, kept, found = sample.row, data.kept, sample.found
    if row.source is not None and "source" not in found:
        kept.latents(sample.part(row.source), sample.source_frames)
    if "target" not in found:
        kept.latents(sample.target_part, sample.target_frames)
    if semantic and "semantic" not in found:
        kept.semantic(sample.target_part, sample.target_frames)
    kept.text(add_tag(row.text))


def _list_windows(data: RowsData) -> Iterator[_Todo]:
    for groups in data.schedule.groups.values():
        for group in groups:
            for row in group.rows:
                try:
                    for start in data.reader.starts(row, group.shape):
                        yield _Todo(row, group.shape, start)
                except RowError as wrong:
                    data.bad.add(row.number, str(wrong))
