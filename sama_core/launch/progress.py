"""What the commands print: the stages of the work with their times, and errors."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ..errors import SamaError

LOG_LINES_SHOWN = 15
QUIET_SECONDS = 1.0
"""Where lines cannot be rewritten, the count of steps is printed at most once in this time."""


class LaunchError(SamaError):
    """A command that cannot go on; the text says what was got, what is needed, what to do."""


def log_tail(log: Path, lines: int = LOG_LINES_SHOWN) -> str:
    """The last `lines` non-empty lines of a log file, indented; empty if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    filled = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return "\n".join(f"    {line[:300]}" for line in filled[-lines:])


def with_log(sentence: str, log: Path) -> str:
    """`sentence`, then the end of the log and the log's path."""
    tail = log_tail(log)
    shown = f"\n  Last lines of the log:\n{tail}" if tail else ""
    return f"{sentence}{shown}\n  Whole log: {log}"


def duration(seconds: float) -> str:
    """Seconds as `m:ss`, or as `h:mm:ss` from one hour on."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Stages:
    """Prints the stages of the work and measures their time.

    On a terminal the line of the running stage is rewritten in place. The work goes on where the
    output cannot be written, as on a full disk: lines that stay go to standard error then.
    """

    unwritten: OSError | None = None
    """Why the output could not be written; None as long as it could."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        """`stream` is written to (default: standard output), `clock` gives seconds."""
        self.stream = stream or sys.stdout
        self.clock = clock
        self.live = self.stream.isatty()
        self.name: str | None = None
        self._seconds: dict[str, float] = {}
        self._since = 0.0
        self._first_step: tuple[int, float] | None = None
        self._printed = ("", float("-inf"))
        self._line_open = False

    def start(self, name: str, text: str = "") -> None:
        """Ends the running stage and begins `name`; the time of an earlier stage `name` goes on."""
        if name != self.name:
            self.finish()
            self.name, self._since, self._first_step = name, self.clock(), None
            self._seconds.setdefault(name, 0.0)
            self._show(text, force=True)
        elif text:
            self.update(text)

    def update(self, text: str, transient: bool = False) -> None:
        """Shows how far the stage is; a `transient` text is shown on terminals only."""
        if self.live or not transient:
            self._show(text, force=True)

    def step(self, done: int, total: int, note: str = "") -> None:
        """Shows that `done` of `total` equal steps are done, their rate and the time left.

        `note` stands behind them.
        """
        now = self.clock()
        if self._first_step is None or done < self._first_step[0]:
            self._first_step = (done, now)
        first, since = self._first_step
        text = f"{done}/{total}"
        if done > first and now > since:
            rate = (done - first) / (now - since)
            speed = f"{rate:.2f} it/s" if rate >= 1 else f"{1 / rate:.2f} s/it"
            text += f" · {speed} · ETA {duration((total - done) / rate)}"
        self._show(f"{text} · {note}" if note else text, force=done >= total)

    def say(self, text: str) -> None:
        """Prints a line that stays. Raises BrokenPipeError where nobody reads them any more."""
        self._end_line()
        if not self._write(f"{text}\n"):
            with suppress(OSError):
                print(text, file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Ends the running stage, if there is one."""
        if self.name is None:
            return
        self._seconds[self.name] += self.clock() - self._since
        self._end_line()
        self.name = None

    def seconds(self) -> dict[str, float]:
        """Seconds of every stage that has ended, in the order in which they began."""
        return dict(self._seconds)

    def table(self) -> str:
        """The stages and their seconds, one per line, with the sum below."""
        rows = [*self._seconds.items(), ("total", sum(self._seconds.values()))]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"  {name:<{width}}  {seconds:8.1f} s" for name, seconds in rows)

    def _show(self, text: str, force: bool = False) -> None:
        line = f"[{self.name}] {text}".rstrip()
        if self.live:
            self._line_open = self._write(f"\r\x1b[2K{line[:160]}")
            return
        last, at = self._printed
        now = self.clock()
        if line != last and (force or now - at >= QUIET_SECONDS):
            self._write(f"{line}\n")
            self._printed = (line, now)

    def _end_line(self) -> None:
        if self._line_open:
            self._write("\n")
            self._line_open = False

    def _write(self, text: str) -> bool:
        """Whether the output took a text; after one that it did not take it gets none."""
        if self.unwritten is None:
            try:
                self.stream.write(text)
                self.stream.flush()
            except BrokenPipeError:
                raise
            except OSError as failed:
                self.unwritten = failed
        return self.unwritten is None
