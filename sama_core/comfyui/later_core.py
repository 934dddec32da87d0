"""What a later ComfyUI hands to our methods beyond what they know: passed on where it is taken, else told once.

Which parts of the pack work on the ComfyUI at hand: what fails is left out by name, and the rest loads.
"""

import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..version import VERSION

_told: set[tuple[str, str]] = set()


log = logging.getLogger(__name__)


def ignores_newer_keywords(method: Callable) -> Callable:
    """`method` that takes any keyword: those it does not name are dropped, each with one log line per process.

    A later ComfyUI must not cost the artist a finished edit because it passes an option that did not exist when
    this was written.
    """
    known = {
        name
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }

    @functools.wraps(method)
    def open_method(*arguments, **keywords):
        for name in keywords.keys() - known:
            say_once(method.__qualname__, name)
        return method(
            *arguments, **{name: value for name, value in keywords.items() if name in known}
        )

    return open_method


def say_once(where: str, what: str) -> None:
    """One warning for each thing that this ComfyUI asks of `where` and that has no effect there."""
    if _is_new(where, what):
        log.warning(
            "SAMA: %s does not know what this ComfyUI asks for with '%s'; it goes on without.",
            where,
            what,
        )


def ignored(where: str, given: dict) -> None:
    """Log, once for each place and name, keywords that a method of ours leaves aside and that cost nothing."""
    for name in given:
        if _is_new(where, name):
            log.info(
                "SAMA: ComfyUI hands %s=… to %s, which this version does not use.", name, where
            )


def taken_by(function: Callable, given: dict, where: str) -> dict:
    """Those of the keywords `given` that `function` takes; the others are ignored, and told once."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return given
    ignored(where, {name: value for name, value in given.items() if name not in parameters})
    return {name: value for name, value in given.items() if name in parameters}


def _is_new(where: str, what: str) -> bool:
    """Whether this was not told before in this process."""
    new = (where, what) not in _told
    _told.add((where, what))
    return new


TESTED = ("0.30.0", "0.33.0")
"""Versions of ComfyUI that tests pass on: on the first and oldest the whole suite, on others what touches ComfyUI."""


@dataclass
class Loading:
    """What was tried at start, and what did not work."""

    nodes: list[type] = field(default_factory=list)
    "Node classes that ComfyUI can register."
    wanted: int = 0
    "How many there should be."
    left_out: dict[str, str] = field(default_factory=dict)
    "Node id, or words for another part → what it failed with."

    def part(self, name: str, work: Callable[[], None]) -> None:
        """Do `work`; where it fails, note the part as missing."""
        try:
            work()
        except Exception as failed:
            self._leave_out([name], failed)

    def family(self, package: str, module: str, names: Sequence[str]) -> None:
        """Take the node classes `names` of one module of `package`, each with a schema that this ComfyUI takes."""
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
        loading.family(package, module, names)
    return loading.nodes


def greet(loading: Loading) -> None:
    """One line in the log: the pack, the ComfyUI it meets, and what does not work there and what to do."""
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
            f"{len(loading.nodes)} of {loading.wanted} nodes, the rest works. Left out: {missing}. Update "
            "ComfyUI-SAMA; if it is up to date, report this line."
        )
    if _older(core, TESTED[0]):
        line += f" This ComfyUI is older than {TESTED[0]}, the oldest that is tested: update it if something fails."
    (log.warning if loading.left_out or _older(core, TESTED[0]) else log.info)("%s", line)


def core_version() -> str | None:
    """ComfyUI's version; None where it does not say."""
    try:
        return str(importlib.import_module("comfyui_version").__version__)
    except (ImportError, AttributeError):
        return None


def newer_fields(schema: type, **fields: object) -> dict[str, object]:
    """Those of `fields` that this ComfyUI's Schema has; an unknown one would keep the node from loading."""
    known = getattr(schema, "__dataclass_fields__", {})
    return {name: value for name, value in fields.items() if name in known}


def _older(version: str | None, than: str) -> bool:
    """Whether `version` is known and lower; what is no number in it is not compared."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split("+")[0].split(".") if part.isdigit()]

    return version is not None and bool(numbers(version)) and numbers(version) < numbers(than)
