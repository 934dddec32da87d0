"""The work of `run.py convert`, in a Python that has torch: `python -m sama_core.convert JSON`.

Lines of JSON on standard output: {"done", "total"} while it works, {"report"} at its end. A failure
is one sentence, the last line of standard error.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from ..errors import SamaError
from .job import convert
from .layouts import verify

EVERY = 0.5
"""Seconds between two lines."""


def run(asked: dict) -> None:
    """Convert or verify one file.

    `asked`: path, and either verify or target, format, base, overwrite.
    """
    shown = [0.0]

    def progress(done: int, total: int) -> None:
        if time.monotonic() - shown[0] >= EVERY or done == total:
            shown[0] = time.monotonic()
            say(done=done, total=total)

    if asked.get("verify"):
        say(
            report=f"{Path(asked['path']).name} is as it was written, checksum "
            f"{verify(asked['path'], progress)}"
        )
        return
    done = convert(
        asked["path"],
        Path(asked["target"]),
        asked["format"],
        asked.get("base"),
        asked["overwrite"],
        progress,
    )
    say(report=done.text())


def say(**line: object) -> None:
    """Print one line of JSON, at once."""
    print(json.dumps(line), flush=True)


def main(arguments: list[str] | None = None) -> None:
    """The command of this module. Exits with the error's text if it fails."""
    parser = argparse.ArgumentParser(
        "python -m sama_core.convert", description="The work of `run.py convert`."
    )
    parser.add_argument(
        "asked",
        type=json.loads,
        metavar="JSON",
        help="path, and either verify or target, format, base, overwrite",
    )
    try:
        run(parser.parse_args(arguments).asked)
    except SamaError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or 'a file'}: {error.strerror or error}.")


if __name__ == "__main__":
    main()
