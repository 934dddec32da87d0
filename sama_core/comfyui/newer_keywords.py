"""Methods that ComfyUI calls on our objects, made open to what later versions of it pass along."""

import functools
import inspect
import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

_said: set[tuple[str, str]] = set()


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
    """One log line for each thing that this ComfyUI asks of `where` and that has no effect there."""
    if (where, what) not in _said:
        _said.add((where, what))
        log.warning("SAMA: %s does not know what this ComfyUI asks for with '%s'; it goes on without.", where, what)
