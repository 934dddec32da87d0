"""The command line: `edit`, `batch`, `serve`, `models`, `plan`, `convert`, `train`, `test`."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from .arguments import parser
from .places import Places
from .progress import LaunchError, Stages
from .setup.comfyui_source import places_of

STOPPED = "Stopped. No incomplete file is left; the same command {follows}."
UNWRITTEN = (
    "Standard output: got '{why}', needs room for what is printed. The command itself was carried "
    "out to its end; see the lines above."
)


def main(argv: Sequence[str] | None = None, places: Places | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 1 with an error on standard error.

    `argv` are the arguments (default: those of this process), `places` the folders to use.
    """
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal's encoding lacks must not end a finished edit with an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options, rest = parser().parse_known_args(argv)
    _pass_on(options, rest)
    for name in ("SIGTERM", "SIGHUP"):
        # A signal that is ignored on purpose (nohup) stays ignored.
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _stop)
    stages = Stages()
    try:
        status = options.run(options, places_of(places or Places(), options.comfyui), stages)
    except LaunchError as error:
        return _fail(stages, str(error))
    except KeyboardInterrupt:
        follows = getattr(options, "after_a_stop", "starts again")
        return _fail(stages, STOPPED.format(follows=follows))
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _is_unread(sys.stdout):
            return 1
        return _fail(stages, _explain(error))
    if stages.unwritten:
        return _fail(stages, UNWRITTEN.format(why=stages.unwritten.strerror))
    return status


def _explain(error: OSError) -> str:
    """The sentence for an error of the system that nothing nearer has explained."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return "The folder that you are in was removed: change to another one, and try again."
    return f"{error.filename or 'a file'}: {error.strerror or error}. {_advise(error)}"


def _advise(error: OSError) -> str:
    """What to do about an error of the system."""
    if error.errno == errno.ENAMETOOLONG:
        return "Give a shorter name."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some room there (set-up takes about 4 GB), and run the same command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Check that its folder is writable for you, and run the same command again."
    return "Run the same command again; if it fails again, look at that file and its disk."


def _is_unread(stream: TextIO) -> bool:
    """Whether nobody reads what is written any more, as behind `| head`; no more is written then.

    A pipe of the work itself, such as one to a server, may break too: that is a failure.
    """
    try:
        print(file=stream, flush=True)
    except BrokenPipeError:
        _write_no_more(stream)
        return True
    return False


def _write_no_more(stream: TextIO) -> None:
    """Lets what is still held back for a stream go nowhere, instead of failing as Python ends."""
    with suppress(OSError):  # one that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _pass_on(options: argparse.Namespace, rest: list[str]) -> None:
    """Gives the arguments that no option took to a command that hands them on, or refuses them."""
    if options.command == "test":
        options.pytest_args = rest
    elif options.command == "train":
        options.words += rest
    elif rest:
        hint = ""
        if options.command == "batch" and options.as_frames:
            hint = " (--frames takes no number here: --first N edits the first N frames)"
        parser().error(f"unrecognized arguments: {' '.join(rest)}{hint}")


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _fail(stages: Stages, sentence: str) -> int:
    if stages.unwritten:
        _write_no_more(sys.stdout)
    with suppress(OSError):  # standard error may be on the same full disk
        stages.finish()
        print(f"\n{sentence}", file=sys.stderr, flush=True)
    return 1
