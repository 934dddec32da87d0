"""What a later ComfyUI hands to our methods beyond what they know: passed on where it is taken, else told once."""

import inspect
import logging
from collections.abc import Callable

_told: set[str] = set()

log = logging.getLogger(__name__)


def ignored(where: str, given: dict) -> None:
    """Log, once for each place and name, keywords that a method of ours leaves aside."""
    for name in given:
        if f"{where} {name}" not in _told:
            _told.add(f"{where} {name}")
            log.info("SAMA: ComfyUI hands %s=… to %s, which this version does not use.", name, where)


def taken_by(function: Callable, given: dict, where: str) -> dict:
    """Those of the keywords `given` that `function` takes; the others are ignored, and told once."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return given
    ignored(where, {name: value for name, value in given.items() if name not in parameters})
    return {name: value for name, value in given.items() if name in parameters}
