"""Work in forked children, so that what kills one is known by name and takes nothing else along."""

import json
import os
import signal
from collections.abc import Callable

PATIENCE = 300
"""Seconds after which a child is taken for stuck."""


def in_child(work: Callable[[], dict]) -> dict:
    """What `work` returns in a forked child.

    `crash` with its signal where the child dies, or takes too long.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(PATIENCE)
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        return {
            "outcome": "crash",
            "text": signal.strsignal(os.waitstatus_to_exitcode(status) * -1) or str(status),
        }
    return json.loads(said)


def all_under(folder) -> dict[str, tuple]:
    """What would change if somebody wrote there, read none of it."""
    found = {}
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            status = os.lstat(path)
            found[os.path.relpath(path, folder)] = (
                status.st_size,
                status.st_mtime_ns,
                status.st_mode,
            )
    return found
