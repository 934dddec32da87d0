"""What a later ComfyUI hands to our methods beyond what they know: passed on where it is taken, else told once."""

import functools
import inspect
import logging
from collections.abc import Callable

_told: set[tuple[str, str]] = set()

log = logging.getLogger(__name__)


def ignores_newer_keywords(method: Callable) -> Callable:
    """`method` that takes any keyword: those it does not name are dropped, each with one log line per process.

    A later ComfyUI must not cost the artist a finished edit because it passes an option that did not exist when
    this was written.
    """
    known = {name for name, parameter in inspect.signature(method).parameters.items()
             if parameter.kind is not parameter.VAR_KEYWORD}

    @functools.wraps(method)
    def open_method(*arguments, **keywords):
        for name in keywords.keys() - known:
            say_once(method.__qualname__, name)
        return method(*arguments, **{name: value for name, value in keywords.items() if name in known})
    return open_method


def say_once(where: str, what: str) -> None:
    """One warning for each thing that this ComfyUI asks of `where` and that has no effect there."""
    if _is_new(where, what):
        log.warning("SAMA: %s does not know what this ComfyUI asks for with '%s'; it goes on without.", where, what)


def ignored(where: str, given: dict) -> None:
    """Log, once for each place and name, keywords that a method of ours leaves aside and that cost nothing."""
    for name in given:
        if _is_new(where, name):
            log.info("SAMA: ComfyUI hands %s=… to %s, which this version does not use.", name, where)


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
