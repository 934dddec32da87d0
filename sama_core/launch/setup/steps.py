"""Set-up as a row of steps, each marked only after it succeeded, so that a killed set-up goes on where it was."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One thing to do once."""

    name: str
    """File name of its mark."""
    title: str
    """What the artist reads while it runs."""
    key: str
    """Everything the result depends on; another key means doing it again."""
    run: Callable[[], None]


def run_steps(steps: Iterable[Step], stamps: Path, report: Callable[[str], None]) -> list[str]:
    """Does every step that is not marked with its key yet and returns the names of those done.

    A step's key contains the keys before it: when one is done again, so are the later ones.
    Whatever a step raises is passed on, and neither it nor a later one is marked.
    """
    done, chain = [], ""
    for step in steps:
        chain = hashlib.sha256(f"{chain}|{step.name}|{step.key}".encode()).hexdigest()
        stamp = stamps / f"{step.name}.json"
        if _read(stamp) == chain:
            continue
        report(step.title)
        stamp.unlink(missing_ok=True)
        step.run()
        write_stamp(stamp, chain)
        done.append(step.name)
    return done


def write_stamp(stamp: Path, key: str) -> None:
    """Marks a step as done; the mark appears whole or not at all."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    part = stamp.with_suffix(".part")
    part.write_text(json.dumps({"key": key}), encoding="utf-8")
    part.replace(stamp)


def _read(stamp: Path) -> str | None:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def only_one(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds `lock` so that two set-ups never run at once; calls `waiting` if another one holds it."""
    try:
        import fcntl
    except ImportError:
        # Windows has no flock; two set-ups at once are then the artist's own doing.
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        # A running pip holds it too: if this process is killed, the next set-up waits until pip has ended.
        os.set_inheritable(handle.fileno(), True)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
