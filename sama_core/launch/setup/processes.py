"""Runs other programs, ends them with the command, and explains why they failed."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..places import clean_env
from ..progress import LaunchError, log_tail, with_log

STOP_SECONDS = 10
"""A program that was asked to end may take so long."""
GOES_ON = "it continues from this step"
CAUSES = (
    (
        ("No space left on device", "Errno 28"),
        f"The disk is full: free about 4 GB and run the same command again; {GOES_ON}.",
    ),
    (
        (
            "Temporary failure in name resolution",
            "Failed to establish a new connection",
            "Connection refused",
            "Read timed out",
            "ConnectTimeout",
            "NewConnectionError",
            "Network is unreachable",
            "ProxyError",
        ),
        f"The package registry was not reached: check the network or proxy, try again; {GOES_ON}.",
    ),
    (
        ("Could not find a version", "No matching distribution"),
        "The registry has no such package for this Python: use Python 3.11 to 3.13, 64-bit.",
    ),
    (
        ("Permission denied",),
        "A file may not be written: make the pack's folder writable for you and run it again.",
    ),
)
"""Words in a program's output, and what to do about them."""
OTHERWISE = (
    f"Run the same command again, {GOES_ON}; if it fails again, delete .venv and start over."
)


class Commands:
    """Runs programs one after another."""

    def __init__(self, log: Path, tick: Callable[[float], None] = lambda seconds: None):
        """`log` gets all output; `tick` is called about every second with the program's seconds."""
        self.log = log
        self.tick = tick

    def run(self, argv: Sequence[str | Path], what: str, cwd: Path | None = None) -> None:
        """Runs `argv` to its end; `what` names it in the log and in errors.

        Raises LaunchError with the cause, the remedy and the end of the log if it fails.
        """
        with self.log.open("ab") as log:
            log.write(f"\n=== {what}\n".encode())
            log.flush()
            start = log.tell()
            try:
                process = subprocess.Popen(
                    [str(a) for a in argv],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    close_fds=False,
                    env=clean_env(PIP_USER="0"),
                )
            except OSError as error:
                raise LaunchError(
                    f"{what}: could not start {argv[0]} ({error.strerror}). {OTHERWISE}"
                ) from error
            code = self._wait(process)
        if code:
            with self.log.open("rb") as log:
                log.seek(start)
                output = log.read().decode("utf-8", "replace")
            raise LaunchError(
                with_log(f"{what}: failed with exit code {code}. {remedy(output)}", self.log)
            )

    def _wait(self, process: subprocess.Popen) -> int:
        began = time.monotonic()
        with end_with_block(process):
            while True:
                try:
                    return process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    self.tick(time.monotonic() - began)


@contextmanager
def end_with_block(process: subprocess.Popen) -> Iterator[None]:
    """Ends a process and closes its pipes when the block ends, however: it is asked to end, and
    killed where it does not.
    """
    try:
        yield
    finally:
        stop(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with suppress(OSError):  # what was not written yet goes nowhere
                    pipe.close()


def stop(process: subprocess.Popen, seconds: float = STOP_SECONDS) -> None:
    """Asks a process to end, and kills it if it still runs after so many seconds."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pip_install(python: Path, arguments: Sequence[str | Path]) -> list[str | Path]:
    """The command with which the environment of `python` installs what pip's `arguments` name."""
    quietly = ("--no-input", "--progress-bar", "off", "--disable-pip-version-check")
    return [python, "-m", "pip", "install", *quietly, *arguments]


def remedy(output: str) -> str:
    """What to do about a program that printed `output` and failed."""
    for signs, advice in CAUSES:
        if any(sign in output for sign in signs):
            return advice
    return OTHERWISE


def answer(argv: Sequence[str | Path], what: str, cwd: Path, log: Path, **environment: str) -> str:
    """Standard output of a short program; its standard error goes to `log`. `environment` is added
    to this process's.

    Raises LaunchError with the last line of that, after `what`, if it fails.
    """
    with log.open("w", encoding="utf-8") as errors:
        done = subprocess.run(
            [str(a) for a in argv],
            check=False,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            env=clean_env(**environment),
            encoding="utf-8",
            errors="backslashreplace",
        )
    if done.returncode:
        last = log_tail(log, lines=1).strip() or f"exit code {done.returncode}"
        raise LaunchError(f"{what}: {last}\n  Whole log: {log}")
    return done.stdout
