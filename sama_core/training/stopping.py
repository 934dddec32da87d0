"""How a training ends: Ctrl-C and SIGTERM after a step, with all that it has learnt on disk; one
process of several.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

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


def leave_process(code: int) -> NoReturn:
    """End the program with this exit code. One of several processes skips the interpreter's
    teardown.

    A worker thread of gloo lets go of its last tensors when it next runs, which may be after
    `destroy_process_group`. Where the interpreter is shutting down by then, that thread aborts the
    process (SIGABRT, "terminate called without an active exception"), and the launcher reports a
    finished training as failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
