"""Decoding sound in a process of its own, so that a crash of the decoder ends nothing else.

    this process ── sys.path, request, bytes of a file in memory ──▶ stdin  samples.py
                 ◀── pieces of float32, then what was found ──────── stdout

Nothing is forked and only pipes are used, which Windows and macOS have, too. Unverified: there.
"""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from . import samples
from .decode import OPTIONS, Stream
from .samples import RECORD, Found, Wanted

PROGRAM = Path(samples.__file__)
START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)
"""Runs the program with this process's `sys.path`: an embedded Python ignores PYTHONPATH and the
script's folder.
"""
LONGEST_SILENCE = 60
"""Seconds without an answer after which the process counts as stuck."""
LARGEST_RECORD, MOST_CHANNELS = 1 << 28, 1 << 10
"""Larger values do not come from the program: broken sound has overwritten its memory."""


class Died(Exception):
    """The process ended, or was stuck, before its answer was complete."""


def read_samples_apart(
    stream: Stream, wanted: Wanted, found: Found, wait: Callable[[], None]
) -> Iterator[np.ndarray]:
    """As `read_samples`, for custom channel orders, too. Raises Died.

    `wait()` is called between the pieces and may raise. However reading ends, the process is ended.
    """
    with _start() as (process, request, answer):
        threading.Thread(target=_ask, args=(request, stream, wanted), daemon=True).start()
        with _watch(process) as expect_answer:
            while True:
                with expect_answer():
                    channels, size = RECORD.unpack(_read(answer, RECORD.size))
                    if channels > MOST_CHANNELS or size > LARGEST_RECORD:
                        raise Died("no sensible answer")
                    data = _read(answer, size)
                if not channels:
                    vars(found).update(json.loads(data))
                    return
                yield np.frombuffer(data, np.float32).reshape(-1, channels)
                wait()


@contextmanager
def _start() -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    """The program with its stdin and stdout; ended with the context. Raises Died without one."""
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", START, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError, TypeError) as error:
        raise Died(f"no process: {error}") from error
    request, answer = process.stdin, process.stdout
    assert request is not None and answer is not None  # both are pipes
    try:
        yield process, request, answer
    finally:
        process.kill()
        process.wait()
        answer.close()


def _ask(pipe: IO[bytes], stream: Stream, wanted: Wanted) -> None:
    """Send the request. If the process has ended by then, reading its answer raises the error."""
    data = stream.getvalue() if isinstance(stream, io.BytesIO) else b""
    path = None if isinstance(stream, io.BytesIO) else os.path.abspath(os.fspath(stream))
    task = {
        "file": path and f"file:{path}",
        "bytes": len(data),
        "options": OPTIONS,
        "track": wanted.track,
        "begin": str(wanted.begin),
        "duration": str(wanted.duration),
    }
    packages = [str(folder) or os.getcwd() for folder in sys.path]
    try:
        with pipe:
            pipe.write(f"{json.dumps(packages)}\n{json.dumps(task)}\n".encode())
            pipe.write(data)
    except OSError:
        pass


@contextmanager
def _watch(
    process: subprocess.Popen[bytes],
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Kill the process if it is `LONGEST_SILENCE` seconds in a context that the yielded function
    gives: then it owes an answer. Between two of them it waits for whoever takes the samples.
    """
    since: list[float | None] = [None]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            asked = since[0]
            if asked is not None and time.monotonic() - asked > LONGEST_SILENCE:
                process.kill()
                return

    @contextmanager
    def expect_answer() -> Iterator[None]:
        since[0] = time.monotonic()
        try:
            yield
        finally:
            since[0] = None

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield expect_answer
    finally:
        over.set()


def _read(pipe: IO[bytes], size: int) -> bytes:
    """`size` bytes. Raises Died if there are fewer."""
    data = pipe.read(size)
    if len(data) < size:
        raise Died("the process ended")
    return data
