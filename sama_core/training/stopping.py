"""Ctrl-C and SIGTERM: a training ends after its step, with all that it has learnt on disk."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from ..errors import SamaError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(SamaError):
    """A training that was asked to stop, and has saved; the message says how to go on."""

    def __init__(self, message: str, number: int):
        """`number`: of the signal."""
        super().__init__(message)
        self.code = 128 + number
        """The exit code that shells expect of it."""


class StopSignals:
    """A context in which the two signals are remembered and not obeyed.

    A second Ctrl-C ends a process that trains alone at once. Launchers pass a signal on that the
    terminal has sent to every process already, so that several processes wait for the end of the
    step in any case. Outside of the main thread signals stay as they are.
    """

    def __init__(self, alone: bool = True):
        """`alone`: this process trains by itself."""
        self.alone, self.number = alone, 0
        self._before: dict[int, Callable | int | None] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._remember) for one in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.number and self.alone and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.number and os.environ.get("RANK", "0") == "0":
            os.write(2, b"\nStopping: this step is finished, then all is saved.\n")
        self.number = self.number or number
