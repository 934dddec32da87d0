"""The gate's table in Markdown, and which model files and settings ran."""

import hashlib
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import describe_run
from sama_core.shapes.gate.core_editor import ModelFiles, Settings

_COLUMNS = (
    "edit",
    "clips",
    "accuracy (95 %)",
    "whole dB: out / codec / copy",
    "edit dB: out / codec / copy",
    "kept dB: out / codec",
    "track px (≤ 2 px)",
    "s / clip",
    "gate",
)


def describe_models(files: ModelFiles, settings: Settings, **more: object) -> dict:
    """What ran: `more`, settings, machine, the files' sha256 (first 12 digits)."""
    return {
        **describe_run(**more, **asdict(settings)),
        "files": {
            name: {
                "file": Path(path).name,
                "bytes": Path(path).stat().st_size,
                "sha256": _digest(path),
            }
            for name, path in asdict(files).items()
        },
    }


def markdown(edits: dict[str, dict]) -> str:
    """The gate table: one row per edit of `evaluate`'s result."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(kind, row) for kind, row in edits.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(kind: str, row: dict) -> tuple[str, ...]:
    low, high = row["accuracy_95"]
    psnr, motion, gate = row["psnr"], row["motion"], row["gate"]
    failed = [name for name, passed in gate.items() if passed is False and name != "passes"]
    return (
        kind,
        str(row["clips"]),
        f"{row['accuracy']:.1%} ({low:.1%}–{high:.1%})",
        _decibels(psnr, "whole", ("output", "ceiling", "copy")),
        _decibels(psnr, "edit", ("output", "ceiling", "copy")),
        _decibels(psnr, "kept", ("output", "ceiling")),
        f"{_number(motion['pixels'])} ({_number(motion['within_2px'], '.0%')})",
        _number(row["seconds_per_clip"], ".2f"),
        "pass" if gate["passes"] else f"FAIL: {', '.join(failed)}",
    )


def _decibels(psnr: dict, region: str, names: tuple[str, ...]) -> str:
    values = [psnr[name][region] for name in names]
    return "–" if values[0] is None else " / ".join(_number(value) for value in values)


def _number(value: float | None, form: str = ".1f") -> str:
    return "–" if value is None else format(value, form)


def _digest(path: Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
