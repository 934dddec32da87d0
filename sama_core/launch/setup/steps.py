"""Set-up as a row of steps.

A step is marked when it has succeeded: a set-up that was killed continues there.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...folders.file_lock import wait_for_lock
from ...weights.write import whole_file


@dataclass(frozen=True)
class Step:
    """One thing to do once."""

    name: str
    """File name of its mark."""
    title: str
    """Shown to the user while it runs."""
    key: str
    """Everything that the result depends on; with another key the step is done again."""
    run: Callable[[], None]
    """Does it."""
    check: Callable[[], None] = lambda: None
    """Raises what `run` must not begin with; nothing was touched then."""


def run_steps(steps: Iterable[Step], stamps: Path, report: Callable[[str], None]) -> list[str]:
    """Does every step that is not yet marked with its key and returns the names of those done.

    `stamps` is the folder of the marks, `report` takes the title of each step. The mark of a step
    depends on all keys before it: when a step is done again, so are the later ones. Errors of a
    step are passed on; then neither it nor a later one is marked.
    """
    done, chain = [], ""
    for step in steps:
        chain = hashlib.sha256(f"{chain}|{step.name}|{step.key}".encode()).hexdigest()
        stamp = stamps / f"{step.name}.json"
        if _read(stamp) == chain:
            continue
        step.check()
        report(step.title)
        stamp.unlink(missing_ok=True)
        step.run()
        write_stamp(stamp, chain)
        done.append(step.name)
    return done


def write_stamp(stamp: Path, key: str) -> None:
    """Marks a step as done; the mark appears whole or not at all."""
    with whole_file(stamp) as part:
        part.write_text(json.dumps({"key": key}), encoding="utf-8")


def _read(stamp: Path) -> str | None:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def only_one(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the file `lock`, so that only one set-up runs; calls `waiting` if it has to wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+b") as handle:
        if os.name == "posix":
            # A running pip inherits it: if this process is killed, the next set-up waits for pip.
            os.set_inheritable(handle.fileno(), True)
        wait_for_lock(handle, waiting=waiting)
        yield
