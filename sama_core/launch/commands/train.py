"""`run.py train`: hands a recipe to `python -m sama_core.training`, and shows how far it is.

The work is done by `sama_core.training` in the environment's Python, which gets what training needs
the first time. Recipes and clips are found from the folder that the command is given in.
"""

import os
import re
import signal
import subprocess
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ...errors import needed
from ...training.recipe import find_recipe
from ..places import Places, clean_env
from ..progress import LaunchError, Stages
from ..setup.environment import Environment

RECIPE = ".toml"
TRAIN = "train"
WORD = re.compile(r"[a-z][a-z_-]*")
"""What a task looks like; a recipe has a suffix or is a path."""
BAR = re.compile(r"(?:(.+?): +)?\d+%\|[^|]*\| *(\d+)/(\d+) \[[^\],]*(?:,[^\],]*)?(?:, ([^\]]*))?\]")
"""A progress bar of tqdm: its name, steps done, all steps, and what stands after the times."""
STOPPED = "Stopped. The same command continues from the last checkpoint."
OWN_GROUP = os.name == "posix"
"""Whether the worker is in a process group of its own, out of reach of the terminal's Ctrl-C."""


def train(options: Namespace, places: Places, stages: Stages) -> int:
    """Runs one task to its end and returns 0.

    Raises LaunchError with the task's last words if it fails or is stopped.
    """
    words = with_task(options.words)
    check_file(words)
    stages.start("set-up")
    Environment(places, stages).ready(options.comfyui, training=True)
    stages.start(words[0], Path(words[1]).name if len(words) > 1 else "")
    run(words, places, stages)
    stages.finish()
    stages.say(f"\n{stages.table()}")
    return 0


def with_task(words: Sequence[str]) -> list[str]:
    """The task and what it gets: without a task's name in front, `train`."""
    first = words[0]
    named = WORD.fullmatch(first) and not Path(first).exists()
    return list(words) if named or first.startswith("-") else [TRAIN, *words]


def check_file(words: Sequence[str]) -> None:
    """Raises LaunchError if the recipe is absent, before anything is set up."""
    given = words[1] if len(words) > 1 else ""
    if given.endswith(RECIPE):
        require_recipe("recipe", given)


def require_recipe(what: str, given: str) -> Path:
    """The file of a recipe that is named. Raises LaunchError, after `what`, if it is absent."""
    recipe = find_recipe(given)
    if not recipe.is_file():
        fix = "Check the path; the pack's own are in sama_core/training/recipes."
        got = f"no file {given}" if not recipe.is_dir() else f"{given}, a folder"
        raise LaunchError(needed(what, got, "a TOML file of settings", fix))
    return recipe


def run(words: Sequence[str], places: Places, stages: Stages) -> None:
    """Runs `sama_core.training` with `words`; what it prints is shown, its bar as a stage.

    At Ctrl-C the worker is asked once to save and end; a second one ends it at once.
    """
    shown = _Shown(stages, places.log("train"))
    process = subprocess.Popen(
        [str(places.python), "-P", "-m", "sama_core.training", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=clean_env(PYTHONPATH=str(places.root)),
        encoding="utf-8",
        errors="replace",
        start_new_session=OWN_GROUP,
    )
    try:
        stopped = _follow(process, shown)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        shown.close()
    if stopped and process.returncode:
        stages.say(shown.last)
        raise LaunchError(STOPPED)
    if process.returncode:
        said = shown.last or f"it ended with exit code {process.returncode}"
        raise LaunchError(f"{said}\n  Whole log: {shown.path}")


def _follow(process: subprocess.Popen, shown: "_Shown") -> bool:
    """Shows what the worker prints until it ends; returns whether it was asked to stop."""
    streams = [(process.stdout, False), (process.stderr, True)]
    readers = [threading.Thread(target=shown.read, args=one, daemon=True) for one in streams]
    stopped = False
    try:
        for reader in readers:
            reader.start()
        process.wait()
    except KeyboardInterrupt:
        stopped = True
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT if OWN_GROUP else signal.SIGTERM)
        shown.stages.update("stopping")
        for reader in readers:
            if not reader.ident:  # it was stopped before that one had begun
                reader.start()
        process.wait()
    for reader in readers:
        reader.join()
    return stopped


class _Shown:
    """What the worker prints: lines as they are, bars as a stage, all of it in a log."""

    def __init__(self, stages: Stages, path: Path):
        self.stages, self.path, self.last = stages, path, ""
        self._log = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()

    def read(self, stream: IO[str], is_error: bool) -> None:
        """Show every line of one of the worker's streams."""
        with stream:
            for line in _split(stream):
                with self._lock:
                    if not self._log.closed:
                        self._show(line, is_error)

    def _show(self, line: str, is_error: bool) -> None:
        bar = BAR.search(line)
        if bar:
            name, done, total, rest = bar.groups()
            self.stages.start(name or TRAIN)
            self.stages.step(int(done), int(total), rest or "")
            return
        self._log.write(f"{line}\n")
        if is_error and line.strip():
            # A message may go on in lines that are set in.
            goes_on = line.startswith("  ") and self.last
            self.last = f"{self.last}\n{line}" if goes_on else line.strip()
        if not is_error:
            self.stages.say(line)

    def close(self) -> None:
        """End the log."""
        with self._lock:
            self._log.close()


def _split(stream: IO[str]) -> Iterator[str]:
    """Lines of a stream; a bar ends its own with a carriage return, which universal newlines
    reads as a line's end."""
    for line in stream:
        if line.strip():
            yield line.rstrip()
