"""The pack on other versions of ComfyUI than those it was written for.

New keywords      passed on where they are accepted, else logged once and dropped
Missing symbols   the parts of the pack that need them are left out by name; the rest loads
"""

import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..version import VERSION

TESTED = ("0.30.0", "0.33.0")
"""Versions of ComfyUI that tests pass on: the whole suite on the first, what uses it on others."""

log = logging.getLogger(__name__)

_logged: set[tuple[str, str]] = set()
"""Places and keywords that were logged in this process."""


# --- new keywords --------------------------------------------------------------------------------
def ignore_newer_keywords(method: Callable) -> Callable:
    """A decorator: `method` takes any keyword, and drops those that it does not name.

    Each is logged once per process. A finished edit must not be lost because a later ComfyUI passes
    an option that did not exist when this was written.
    """
    known = {
        name
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }

    @functools.wraps(method)
    def open_method(*arguments, **keywords):
        for name in keywords.keys() - known:
            warn_once(method.__qualname__, name)
        return method(
            *arguments, **{name: value for name, value in keywords.items() if name in known}
        )

    return open_method


def warn_once(where: str, what: str) -> None:
    """Warn, once for each place and option, that an option of this ComfyUI has no effect."""
    if _is_new(where, what):
        log.warning(
            "SAMA: %s does not know what this ComfyUI asks for with '%s'; it continues without.",
            where,
            what,
        )


def log_ignored(where: str, given: dict) -> None:
    """Log, once for each place and name, keywords that a method of ours safely ignores."""
    for name in given:
        if _is_new(where, name):
            log.info(
                "SAMA: ComfyUI hands %s=… to %s, which this version does not use.", name, where
            )


def select_known(function: Callable, given: dict, where: str) -> dict:
    """The keywords of `given` that `function` accepts; the others are logged once and dropped."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return given
    log_ignored(where, {name: value for name, value in given.items() if name not in parameters})
    return {name: value for name, value in given.items() if name in parameters}


def _is_new(where: str, what: str) -> bool:
    """Whether this was not logged before in this process."""
    new = (where, what) not in _logged
    _logged.add((where, what))
    return new


# --- missing symbols -----------------------------------------------------------------------------
@dataclass
class Loading:
    """What was tried at start, and what failed."""

    nodes: list[type] = field(default_factory=list)
    """Node classes that ComfyUI can register."""
    wanted: int = 0
    """How many there should be."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Node id, or a description of another part → its error."""

    def try_part(self, name: str, work: Callable[[], None]) -> None:
        """Do `work`; if it fails, note the part as left out."""
        try:
            work()
        except Exception as failed:
            self._leave_out([name], failed)

    def try_family(self, package: str, module: str, names: Sequence[str]) -> None:
        """Add the node classes `names` of one module of `package` whose schema ComfyUI accepts."""
        self.wanted += len(names)
        try:
            loaded = importlib.import_module(f"{package}.{module}")
        except Exception as failed:
            self._leave_out([f"SAMA{name}" for name in names], failed)
            return
        for name in names:
            try:
                node = getattr(loaded, name)
                node.GET_SCHEMA()
            except Exception as failed:
                self._leave_out([f"SAMA{name}"], failed)
            else:
                self.nodes.append(node)

    def _leave_out(self, names: Sequence[str], failed: Exception) -> None:
        log.debug("SAMA: left out %s", names, exc_info=failed)
        words = " ".join(f"{type(failed).__name__}: {failed}".split())
        self.left_out.update(dict.fromkeys(names, words[:200]))


def load_families(
    package: str, families: Mapping[str, Sequence[str]], loading: Loading
) -> list[type]:
    """The nodes of all families that load, in their order."""
    for module, names in families.items():
        loading.try_family(package, module, names)
    return loading.nodes


def greet(loading: Loading) -> None:
    """Log one line: the pack's and ComfyUI's versions, what does not work, and what to do."""
    core = core_version()
    line = f"ComfyUI-SAMA {VERSION} on ComfyUI {core or 'of unknown version'}: "
    if not loading.left_out:
        line += f"{loading.wanted} nodes."
    else:
        causes: dict[str, list[str]] = {}
        for name, cause in loading.left_out.items():
            causes.setdefault(cause, []).append(name)
        missing = "; ".join(f"{', '.join(names)} ({cause})" for cause, names in causes.items())
        line += (
            f"{len(loading.nodes)} of {loading.wanted} nodes, the rest works. Left out: {missing}. "
            "Update ComfyUI-SAMA; if it is up to date, report this line."
        )
    if _older(core, TESTED[0]):
        line += (
            f" This ComfyUI is older than {TESTED[0]}, the oldest that is tested: update it if "
            "something fails."
        )
    (log.warning if loading.left_out or _older(core, TESTED[0]) else log.info)("%s", line)


def core_version() -> str | None:
    """ComfyUI's version; None if it has none."""
    try:
        return str(importlib.import_module("comfyui_version").__version__)
    except (ImportError, AttributeError):
        return None


def newer_fields(schema: type, **fields: object) -> dict[str, object]:
    """Those of `fields` that this ComfyUI's Schema has; unknown ones would break the node."""
    known = getattr(schema, "__dataclass_fields__", {})
    return {name: value for name, value in fields.items() if name in known}


def _older(version: str | None, than: str) -> bool:
    """Whether `version` is known and lower; only its numbers are compared."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split("+")[0].split(".") if part.isdigit()]

    return version is not None and bool(numbers(version)) and numbers(version) < numbers(than)
