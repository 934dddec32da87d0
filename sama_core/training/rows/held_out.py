"""Which rows are held out of a training, as the table `[validation]` says."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ...errors import needed
from ..config import TrainConfig
from ..objectives.noising import stream
from ..recipe import ConfigError
from .rows import Row, read_rows


def hold_out(config: TrainConfig, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to train on, and those that `[validation]` holds out; all and none without it.

    Whatever the settings name, a row is not trained on if its target is that of a held-out one.
    Raises ConfigError for rows that are not there, and where none is left.
    """
    if config.validation is None:
        return list(rows), []
    apart = _choose(config, config.validation.rows, [row for row in rows if row.source])
    targets = {row.target.resolve() for row in apart}
    left = [row for row in rows if row.target.resolve() not in targets]
    if not left:
        got = f"{len(apart)} of {len(rows)} rows"
        fix = "Hold out fewer, or give more rows."
        raise ConfigError(needed("validation.rows", got, "some to train on", fix))
    return left, apart


def _choose(
    config: TrainConfig, wanted: int | str | tuple[int, ...], pairs: Sequence[Row]
) -> list[Row]:
    if isinstance(wanted, str):
        found, wrong = read_rows(Path(wanted), 1)
        if wrong or not found:
            got = next(iter(wrong.values()), "no row")
            fix = "Correct the file."
            raise ConfigError(needed(f"validation.rows {wanted}", got, "pairs to look at", fix))
        return found
    if isinstance(wanted, int):
        if wanted > len(pairs):
            got, need = f"{wanted}", f"at most the {len(pairs)} pairs that can be read"
            raise ConfigError(needed("validation.rows", got, need, "Hold out fewer."))
        order = torch.randperm(len(pairs), generator=stream(config.seed, "held out")).tolist()
        return sorted((pairs[one] for one in order[:wanted]), key=lambda row: row.number)
    by_number = {row.number: row for row in pairs}
    unknown = [str(one) for one in wanted if one not in by_number]
    if unknown:
        need = f"lines of {Path(config.data).name} with a pair that can be read"
        fix = "See bad_rows.jsonl in the output folder."
        raise ConfigError(needed("validation.rows", ", ".join(unknown), need, fix))
    return [by_number[one] for one in wanted]
