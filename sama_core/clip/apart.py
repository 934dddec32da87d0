"""Decoding sound in a process of its own: what kills a decoder kills that process, and nothing else.

    this process ── sys.path, request, bytes of a file in memory ──▶ stdin  samples.py
                 ◀── pieces of float32, then what was found ──────── stdout

Nothing is forked and nothing but pipes is used, so that it works on Windows and macOS, too. Unverified: there.
"""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from . import samples
from .decode import OPTIONS, Stream
from .samples import RECORD, Found, Wanted

PROGRAM = Path(samples.__file__)
# The same packages as here, wherever they lie: an embedded Python takes neither PYTHONPATH nor a script's folder.
START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)
LONGEST_SILENCE = 60
"""Seconds without an answer after which the process is taken for stuck."""
LARGEST_RECORD, MOST_CHANNELS = 1 << 28, 1 << 10
"""What is larger was not written by the program, but by what it was decoding."""


class Died(Exception):
    """The process ended, or said nothing for long, before it had answered in full."""


def read_samples_apart(
    stream: Stream, wanted: Wanted, found: Found, wait: Callable[[], None]
) -> Iterator[np.ndarray]:
    """As `read_samples`, custom channel orders included. `wait()` is called between the pieces and may raise.

    However it ends, the process ends with it. Raises Died.
    """
    with _process() as process:
        threading.Thread(target=_ask, args=(process.stdin, stream, wanted), daemon=True).start()
        with _watched(process) as alive:
            while True:
                channels, size = RECORD.unpack(_exactly(process.stdout, RECORD.size))
                if channels > MOST_CHANNELS or size > LARGEST_RECORD:
                    raise Died("no sensible answer")
                data = _exactly(process.stdout, size)
                alive()
                if not channels:
                    vars(found).update(json.loads(data))
                    return
                yield np.frombuffer(data, np.float32).reshape(-1, channels)
                wait()


@contextmanager
def _process() -> Iterator[subprocess.Popen]:
    """The program, ended and cleared away with the context. Raises Died if it cannot be started."""
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
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _ask(pipe: io.BufferedWriter, stream: Stream, wanted: Wanted) -> None:
    """Sends the request; a process that is gone by then is noticed by who reads its answer."""
    data = stream.getvalue() if isinstance(stream, io.BytesIO) else b""
    task = {
        "file": None
        if isinstance(stream, io.BytesIO)
        else f"file:{os.path.abspath(os.fspath(stream))}",
        "bytes": len(data),
        "options": OPTIONS,
        "track": wanted.track,
        "begin": str(wanted.begin),
        "duration": str(wanted.duration),
    }
    try:
        with pipe:
            pipe.write(
                f"{json.dumps([str(path) or os.getcwd() for path in sys.path])}\n{json.dumps(task)}\n".encode()
            )
            pipe.write(data)
    except OSError:
        pass


@contextmanager
def _watched(process: subprocess.Popen) -> Iterator[Callable[[], None]]:
    """Kills a process that gives no sign of life, told by calls of the function that is yielded."""
    last, over = [time.monotonic()], threading.Event()

    def watch() -> None:
        while not over.wait(1):
            if time.monotonic() - last[0] > LONGEST_SILENCE:
                process.kill()
                return

    def alive() -> None:
        last[0] = time.monotonic()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield alive
    finally:
        over.set()


def _exactly(pipe: io.BufferedReader, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise Died("the process ended")
    return data
