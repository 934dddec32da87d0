"""Recipes: the settings of a TOML file as a documented dataclass.

A misspelt key is an error, and so is a value of another type. A checkpoint keeps the settings that
it was made with; `refuse_changes` compares them when a run resumes.
"""

import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from ..errors import SamaError, needed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Settings = TypeVar("Settings", bound=DataclassInstance)
else:
    Settings = TypeVar("Settings")

Check = tuple[object, str, object, str]
"""Whether a setting is good, its name, its value, and what it must be."""

LARGEST = sys.float_info.max
"""What a number of a recipe may be at most: larger ones are infinite in computations."""
ROOMS = Path(__file__).resolve().parents[1]
"""The folder whose rooms have recipes."""
_RECIPES = (Path("training", "recipes"), Path("shapes", "recipes"))
"""Where the pack has recipes, or had them in an earlier version, below `ROOMS`."""
_SHORT_FORMS = (Path(), Path("recipes"), *(Path("sama_core") / folder for folder in _RECIPES))
"""The folders in a relative path that may mean the pack's own recipe."""


class ConfigError(SamaError):
    """A setting that is unknown, missing or out of range, or a resume with other settings."""


def find_recipe(path: str | Path) -> Path:
    """`path`, or the pack's own recipe of that name if there is no such file.

    Found in this way are a bare name, `recipes/NAME`, and a path into a folder in which the pack
    has recipes or had them in an earlier version. Any other path is the user's own: a missing file
    there is not replaced.
    """
    path = Path(path)
    if path.exists() or not _may_be_our_own(path.parent):
        return path
    return next(ROOMS.glob(f"*/recipes/{path.name}"), path)


def _may_be_our_own(folder: Path) -> bool:
    """Whether a path to a recipe in `folder` may mean one of the pack's own."""
    return folder in _SHORT_FORMS or folder.resolve() in [ROOMS / own for own in _RECIPES]


def read_settings(path: str | Path, **overrides: Any) -> dict[str, Any]:
    """The values of a TOML file (see `find_recipe`), `overrides` on top.

    Raises ConfigError for one that is not TOML.
    """
    path = find_recipe(path)
    try:
        return _merge(tomllib.loads(path.read_text(encoding="utf-8-sig")), overrides)
    except FileNotFoundError as missing:
        raise ConfigError(
            needed("recipe", f"no file {path}", "a TOML file", "Check the path.")
        ) from missing
    except OSError as failed:  # a folder, or a file without rights
        got = f"{path}, which cannot be read ({failed.strerror})"
        raise ConfigError(needed("recipe", got, "a TOML file", "Check the path.")) from failed
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise ConfigError(
            needed(
                "recipe",
                f"{path.name}, which is not TOML ({broken})",
                "key = value lines",
                "Correct that line.",
            )
        ) from broken


def _merge(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """`values` with `overrides` on top; "table.name" is one setting of a table."""
    merged = dict(values)
    for name, value in overrides.items():
        table, _, setting = name.rpartition(".")
        if table:
            before = merged.get(table, {})
            if not isinstance(before, dict):
                raise _no_table(table, before)
            merged[table] = {**before, setting: value}
        else:
            merged[name] = value
    return merged


def read_recipe(path: str | Path, kind: type[Settings], **overrides: Any) -> Settings:
    """The settings of a TOML file as a `kind`, `overrides` on top.

    ConfigError names an unknown or missing key.
    """
    return settings_of(kind, read_settings(path, **overrides), Path(path).name)


def settings_of(
    kind: type[Settings], values: dict[str, Any], name: str, also: Iterable[str] = ()
) -> Settings:
    """`values` of the recipe `name`, or of a table of it, as a `kind`; `also` are the keys that
    were taken out of it. ConfigError names an unknown or missing key.
    """
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        names = [*also, *known]
        meant = [guess for one in unknown for guess in get_close_matches(one, names, 1)]
        fix = f"Is it {' and '.join(meant)}? " if meant else ""
        fix += f"There are: {', '.join(names)}."
        got = f"unknown settings {', '.join(unknown)}"
        raise ConfigError(needed(f"recipe {name}", got, "known ones", fix))
    absent = [key for key, one in known.items() if one.default is MISSING and key not in values]
    if absent:
        raise ConfigError(
            needed(
                "recipe",
                f"no {', '.join(absent)}",
                "all of them",
                f"Add them to {name}.",
            )
        )
    return kind(**{key: _read_value(known[key], one, name) for key, one in values.items()})


def _read_value(field: Field, value: Any, name: str) -> Any:
    """A list as a tuple, a table as the settings that its field is made of."""
    kinds = get_args(field.type) or (field.type,)
    table = next((kind for kind in kinds if hasattr(kind, "of_table")), None)
    if table is None or value is None or isinstance(value, table):
        return tuple(value) if isinstance(value, list) else value
    if not isinstance(value, dict):
        raise _no_table(field.name, value)
    return table.of_table(value, f"{name} [{field.name}]")


def _no_table(name: str, value: object) -> ConfigError:
    fix = f"Write [{name}] and its settings below it."
    return ConfigError(needed(name, repr(value), "a table of settings", fix))


def are_numbers(value: object, kinds: Any = int | float) -> bool:
    """Whether a setting is a list of numbers of these kinds; true and false are none."""
    return isinstance(value, tuple) and all(
        isinstance(one, kinds) and not isinstance(one, bool) for one in value
    )


def check_types(settings: Any, table: str = "") -> None:
    """ConfigError for the first value whose type is not its field's; `table` is the name of the
    recipe's table that it is in.

    A whole number may stand for a real one.
    """
    for field in fields(settings):
        _check_type(field, getattr(settings, field.name), f"{table}." if table else "")


def _check_type(field: Field, value: Any, table: str) -> None:
    kind = field.type
    if not isinstance(kind, type):  # a tuple of its own kind, which the settings check themselves
        return
    good = isinstance(value, (int, float) if kind is float else kind)
    if not good or (isinstance(value, bool) and kind is not bool):
        need = f"a value of type {kind.__name__}"
        name = f"{table}{field.name}"
        raise ConfigError(needed(name, repr(value), need, "Change it in the recipe."))


def check_ranges(
    settings: Any,
    shares: Iterable[str] = (),
    positive: Iterable[str] = (),
    not_negative: Iterable[str] = (),
) -> list[Check]:
    """Checks of the named settings: in 0..1, above 0, and 0 or more; none is without end."""
    values = {name: getattr(settings, name) for name in (*shares, *positive, *not_negative)}
    return [
        *((0 <= values[name] <= 1, name, values[name], "0 to 1") for name in shares),
        *((values[name] > 0, name, values[name], "more than 0") for name in positive),
        *((values[name] >= 0, name, values[name], "0 or more") for name in not_negative),
        *((one <= LARGEST, name, one, "a finite number") for name, one in values.items()),
    ]


def refuse_bad(checks: Iterable[Check]) -> None:
    """ConfigError for the first check that is not good."""
    for good, name, got, need in checks:
        if not good:
            raise ConfigError(needed(name, got, need, "Change it in the recipe."))


def plain_settings(settings: Any) -> dict[str, Any]:
    """The settings as plain values for a checkpoint."""
    return {name: _plain(value) for name, value in asdict(settings).items()}


def refuse_changes(saved: dict[str, Any], settings: Any, free: Collection[str]) -> None:
    """ConfigError names every setting that differs from the checkpoint's; those in `free` may.

    A setting that is newer than the checkpoint had its default. What the checkpoint holds beyond
    the settings is not compared: it had no effect on this kind of training.
    """
    changed = _find_changes(saved, settings, free)
    if changed:
        raise ConfigError(
            needed(
                "resume",
                f"changed settings: {'; '.join(changed)}",
                "those of the checkpoint",
                "Change them back, or choose a new output folder.",
            )
        )


def list_changes(saved: dict[str, Any], settings: Any, names: Collection[str]) -> list[str]:
    """Those of the settings `names` that differ from the checkpoint's, with both values."""
    changed = _find_changes(saved, settings, ())
    return [one for one in changed if one.split(" ", 1)[0] in names]


def _find_changes(
    saved: Mapping[str, Any], settings: Any, free: Collection[str], table: str = ""
) -> list[str]:
    """Each setting that differs, with its value before and now; those of a table one by one."""
    changed = []
    for field in fields(settings):
        name, now = table + field.name, getattr(settings, field.name)
        before = saved.get(field.name, field.default)
        if name in free:
            continue
        if is_dataclass(before) and not isinstance(before, type):
            before = asdict(before)
        if is_dataclass(now) and isinstance(before, Mapping):
            changed += _find_changes(before, now, free, f"{name}.")
        elif _plain(before) != _plain(now):
            changed.append(f"{name} {_show(before)} → {_show(now)}")
    return changed


def _show(value: Any) -> str:
    """A value; a table that comes or goes without all that it holds."""
    plain = _plain(value)
    return "{…}" if isinstance(plain, dict) else repr(plain)


def _plain(value: Any) -> Any:
    """A tuple as the list that TOML and checkpoints have in its place; settings as a table."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value
