"""`check ROWS`: the rows of a JSONL file, of a folder or of a recipe, decoded and judged.

    python3 run.py train check my_pairs/rows.jsonl width=832 height=480 frames=49
    python3 run.py train check RECIPE --json

Exit code 0 where every row can be trained on, 1 where one cannot, 2 for a wrong command.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ....errors import SamaError
from ...config import TrainConfig, load_config
from ...recipe import ConfigError, settings_of
from ...run import read_overrides
from ..media_files import SHEET
from ..preflight import list_missing
from ..rows import read_rows, rows_file
from .check_rows import Wanted, check_rows

RECIPE = ".toml"


def check_command(arguments: list[str]) -> int:
    """Check, print and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", type=Path, help="JSONL file, folder, or recipe (.toml)")
    parser.add_argument("settings", nargs="*", metavar="setting=value", help="as in a recipe")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help=f"contact sheet; default {SHEET} beside the rows"
    )
    parser.add_argument("--no-sheet", action="store_true", help="draw none")
    chosen = parser.parse_args(arguments)
    try:
        wanted = read_wanted(chosen.rows, read_overrides(chosen.settings))
        missing = list_missing(wanted.config) if chosen.rows.suffix == RECIPE else []
        sheet = None if chosen.no_sheet else chosen.sheet or _default_sheet(wanted.config)
        report = check_rows(wanted, sheet)
    except SamaError as failed:
        print(failed, file=sys.stderr)
        return 1
    if chosen.json:
        print(json.dumps({**report.as_json(), "missing": missing}, ensure_ascii=False))
    else:
        print("\n".join([*missing, report.as_text()]))
    if not report.unusable and report.rows and not missing:
        return 0
    print(f"{report.unusable} of {report.rows} rows cannot be trained on.", file=sys.stderr)
    return 1


def read_wanted(path: Path, settings: dict[str, Any]) -> Wanted:
    """What to check for: a recipe's settings, or those that stand beside the rows.

    Raises ConfigError for settings that no recipe has.
    """
    if path.suffix == RECIPE:
        return Wanted(load_config(path, **settings), sized=True)
    values: dict[str, Any] = {"stage": _guess_stage(path), "model": "", "steps": 1, "batch_size": 1}
    values |= {"output": "", "data": str(path)}
    table = {name.partition(".")[2]: one for name, one in settings.items() if "clips." in name}
    flat = {name: one for name, one in settings.items() if "." not in name}
    odd = sorted(set(settings) - set(flat) - {f"clips.{name}" for name in table})
    if odd:
        raise ConfigError(f"settings: got {', '.join(odd)}, needs those of a recipe.")
    values |= flat | ({"clips": table} if table else {})
    sized = bool({"width", "height", "frames"} & set(flat))
    return Wanted(settings_of(TrainConfig, values, "check"), sized)


def _guess_stage(path: Path) -> int:
    """The stage for which more rows are usable; 1 if both are."""
    return min((1, 0), key=lambda stage: len(read_rows(path, stage)[1]))


def _default_sheet(config: TrainConfig) -> Path:
    data = rows_file(Path(config.data))
    return (data if data.is_dir() else data.parent) / SHEET
