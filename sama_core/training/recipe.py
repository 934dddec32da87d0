"""Recipes: a TOML file's settings as a documented dataclass, with no place for a misspelt key."""

import tomllib
from collections.abc import Collection, Iterable
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import SamaError, needed

Settings = TypeVar("Settings")


class ConfigError(SamaError):
    """A setting that is unknown, missing or out of range, or a resume with other settings."""


def read_recipe(path: str | Path, kind: type[Settings], **overrides: Any) -> Settings:
    """The TOML file's settings as a `kind`, with `overrides` on top. ConfigError names an unknown or missing key."""
    try:
        values = {**tomllib.loads(Path(path).read_text(encoding="utf-8")), **overrides}
    except FileNotFoundError as missing:
        raise ConfigError(needed("recipe", f"no file {path}", "a TOML file", "Check the path.")) from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise ConfigError(needed("recipe", f"{Path(path).name}, which is not TOML ({broken})", "key = value lines",
                                 "Correct that line.")) from broken
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(needed("recipe", f"unknown settings {', '.join(unknown)}", "known ones",
                                 f"There are: {', '.join(known)}."))
    absent = [name for name, field in known.items() if field.default is MISSING and name not in values]
    if absent:
        raise ConfigError(needed("recipe", f"no {', '.join(absent)}", "all of them", f"Add them to {Path(path).name}."))
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def check_types(settings: Any) -> None:
    """TOML knows types: a string where a number belongs is a slip. Whole numbers may stand for real ones."""
    for field in fields(settings):
        _check_type(field, getattr(settings, field.name))


def _check_type(field: Field, value: Any) -> None:
    allowed = (int, float) if field.type is float else field.type
    if not isinstance(allowed, type | tuple):
        return
    if not isinstance(value, allowed) or (isinstance(value, bool) and field.type is not bool):
        raise ConfigError(needed(field.name, repr(value), f"a value of type {field.type.__name__}",
                                 "Change it in the recipe."))


def refuse_bad(checks: Iterable[tuple[object, str, object, str]]) -> None:
    """ConfigError for the first check (good, name, got, need) that is not good."""
    for good, name, got, need in checks:
        if not good:
            raise ConfigError(needed(name, got, need, "Change it in the recipe."))


def as_saved(settings: Any) -> dict[str, Any]:
    """The settings as plain values for a checkpoint."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def refuse_changes(saved: dict[str, Any], settings: Any, free: Collection[str]) -> None:
    """ConfigError naming every setting that differs from the checkpoint's, but for the `free` ones."""
    now = as_saved(settings)
    saved = {field.name: field.default for field in fields(settings)} | saved  # settings may be newer than it
    changed = [f"{name} {saved.get(name)!r} → {now.get(name)!r}" for name in saved | now
               if name not in free and saved.get(name) != now.get(name)]
    if changed:
        raise ConfigError(needed("resume", f"changed settings: {'; '.join(changed)}", "those of the checkpoint",
                                 "Change them back, or choose a new output folder."))
