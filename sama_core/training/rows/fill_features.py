"""The teacher's targets of all rows, made ahead of the training: `features RECIPE`.

Started again, it goes on: what is kept stays, what is damaged is made again.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from tqdm.auto import tqdm

from ...encoders.umt5 import Tokens, Umt5Encoder
from ...errors import needed
from ...geometry import ClipShape
from ...weights.write import remove_abandoned
from ..config import TrainConfig
from ..recipe import ConfigError
from .data import read_mask, read_row, read_usable_rows
from .features import RowFeatures
from .frozen_encoders import choose_encoder_dtype, embed_text, load_text_encoder
from .preflight import refuse_unwritable
from .room import refuse_full_disks, room_of_features
from .rows import BadRows, Row, RowError, cannot_read


def fill_features(config: TrainConfig) -> str:
    """Make what is missing; returns how many were made, kept and left out, and their size.

    Raises ConfigError without an alignment or a teacher, RowError where no row has features.
    """
    if config.align is None or (config.align.needs_teacher and not config.align.teacher):
        missing, need = ("align.teacher", "one") if config.align else ("[align]", "a table")
        fix = "See docs/alignment.md."
        raise ConfigError(needed(missing, "none", f"{need} for the task features", fix))
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    features = RowFeatures(config, config.align, read_mask, open_text(config, device), device)
    rows, wrong = read_usable_rows(config, features)
    refuse_unwritable("align.features", str(features.folder))
    remove_abandoned(features.folder.glob("*/.*"))  # of work that was killed
    refuse_full_disks([room_of_features(features, rows)])
    data = Path(config.data).name
    bad = BadRows(Path(config.output), Path(config.data), len(rows) + len(wrong), wrong)
    done: Counter[str] = Counter()
    for row in tqdm(rows, desc="features", unit="row"):
        try:
            done[fill_row(features, row)] += 1
        except RowError as error:
            bad.add(row.number, str(error))
    bad.report()
    if not done["made"] + done["kept"]:
        reason = next(iter(bad.reasons.values()), "")
        need = "at least one"
        raise RowError(needed(f"data {data}", "no row with features", need, reason))
    return describe(features, done, len(bad.reasons))


def fill_row(features: RowFeatures, row: Row) -> str:
    """ "made", "kept", or "idle" for a picture that is not aligned. Raises RowError."""
    if not features.applies_to(row):
        return "idle"
    if has_features(features, row):
        return "kept"
    shape = shape_of(features, row)
    features.of(row, shape, *read_row(row, shape))
    return "made"


def has_features(features: RowFeatures, row: Row) -> bool:
    """Whether a row's are kept. Raises RowError for a file of it that has gone."""
    try:
        return features.find(row, shape_of(features, row)) is not None
    except OSError as failed:
        raise cannot_read(row, failed) from failed


def shape_of(features: RowFeatures, row: Row) -> ClipShape:
    """What is read of a row."""
    config = features.config
    return ClipShape(1 if row.is_image else config.frames, config.height, config.width)


def describe(features: RowFeatures, done: Counter[str], left_out: int) -> str:
    """One line on what was done, for the person who waits."""
    size = sum(path.stat().st_size for path in features.folder.glob("*/*.safetensors"))
    parts = [f"{done['made']} made", f"{done['kept']} kept", f"{left_out} left out"]
    if done["idle"]:
        parts.append(f"{done['idle']} pictures not aligned")
    return f"{features.folder}  {', '.join(parts)}; {size / 1e6:.1f} MB"


def open_text(config: TrainConfig, device: torch.device) -> Callable[[str], torch.Tensor] | None:
    """The run's text encoder where a learned saliency reads texts, else None: it is large, and read
    at its first use.
    """
    if config.align is None or config.align.saliency != "learned":
        return None

    @cache
    def load() -> tuple[Umt5Encoder, Tokens]:
        encoder, tokens = load_text_encoder(Path(config.text_encoder))
        encoder.eval().requires_grad_(False).to(device, choose_encoder_dtype(device))
        return encoder, tokens

    return lambda text: embed_text(*load(), device, text)
