"""`run.py models`: what is here, what is missing, and the download if it is asked for."""

import json
import os
import re
import subprocess
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from ...errors import needed
from ...released_files import ModelFile
from ..model_choice import table, to_download
from ..places import Places, clean_env
from ..progress import LaunchError, Stages
from ..setup.comfyui_source import find_comfyui
from ..setup.environment import Environment
from ..setup.processes import end_with_block
from ..setup.steps import only_one

STOPPED = "Stopped. What is downloaded is kept; the same command continues from there."
BAR = re.compile(r"(\d+)%\|[^|]*\| *(\S+) \[[^<\]]*<([^,\]]+), *([^\]]+)\]")
"""A progress bar of tqdm: per cent, what is there of the whole, the time left, and the rate."""
TENTH = 10


def models(options: Namespace, places: Places, stages: Stages) -> int:
    """Prints the table of model files; with `--download` fetches the missing ones first."""
    folders = look_in(options, places)
    wanted = to_download(folders)
    if options.download and wanted:
        stages.start("set-up")
        Environment(places, stages).ready(options.comfyui)
        stages.start("download")

        def wait() -> None:
            stages.say("Another download is running; waiting for it to end.")

        with only_one(places.runtime / "download.lock", wait):
            for file in to_download(folders):
                stages.say(f"{file.filename}: {file.size / 1e9:.2f} GB from {file.repo}")
                download(file, folders[0], places.python, stages)
        stages.finish()
    stages.say(table(folders))
    stages.say(f"\nLooked in {', '.join(map(str, folders))}")
    wanted = to_download(folders)
    if wanted:
        total = sum(file.size for file in wanted) / 1e9
        stages.say(
            f"Missing: {', '.join(file.filename for file in wanted)} ({total:.1f} GB). "
            "`python3 run.py models --download` fetches them; until then `edit` uses SAMA-Shapes, "
            "the small model inside the pack, which knows coloured shapes only."
        )
    else:
        stages.say(
            "Everything an edit needs is here. Where several files serve the same purpose, one is "
            "enough."
        )
    return 0


def look_in(options: Namespace, places: Places) -> list[Path]:
    """The models folders to search; downloads go to the first.

    The user's own ComfyUI comes before the fetched one: other programs use its files too. Raises
    LaunchError for a file in the place of a folder.
    """
    if options.dir:
        given = Path(os.path.abspath(os.path.expanduser(options.dir)))
        if os.path.lexists(given) and not os.path.isdir(given):
            fix = "Give ComfyUI's models folder."
            raise LaunchError(needed(f"--dir {given}", "a file", "a folder", fix))
        return [given]
    comfyui = find_comfyui(places, options.comfyui)
    if comfyui is None or comfyui.folder == places.comfyui:
        return [places.models]
    return [comfyui.folder / "models", places.models]


def download(file: ModelFile, models_dir: Path, python: Path, stages: Stages) -> None:
    """Fetches one file to its place and continues what an earlier run has begun.

    Raises LaunchError, with the reason, if it fails or is stopped.
    """
    target = file.place(models_dir)
    spec = {
        "repo": file.repo,
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "target": str(target),
    }
    worker = Path(__file__).parents[1] / "setup" / "hub_download.py"
    process = subprocess.Popen(
        [str(python), "-I", str(worker), json.dumps(spec)],
        stderr=subprocess.PIPE,
        # Without the second one the library shows nothing where no terminal is.
        env=clean_env(HF_HUB_DISABLE_TELEMETRY="1", TQDM_POSITION="-1"),
        encoding="utf-8",
        errors="replace",
        # It inherits the lock: if this process is killed, the next download waits for this one.
        close_fds=False,
    )
    try:
        with end_with_block(process):
            last = _show_all(process.stderr or (), stages)
            process.wait()
    except KeyboardInterrupt:
        raise LaunchError(STOPPED) from None
    if process.returncode:
        raise LaunchError(
            last
            or f"{file.filename}: the download ended with exit code {process.returncode}. Run the "
            "same command again: it continues where it stopped."
        )


def _show_all(lines: Iterable[str], stages: Stages) -> str:
    """Shows the download's progress and its other lines as they come; returns the last of these.

    Where lines cannot be rewritten, each tenth is shown.
    """
    last, shown = "", 0
    for line in lines:
        if bar := BAR.search(line):
            percent, part, left, rate = bar.groups()
            tenth = int(percent) // TENTH
            stages.update(f"{percent}% · {part} · {rate} · ETA {left}", transient=tenth == shown)
            shown = tenth
        elif line.strip() and "%|" not in line:
            last = line.strip()
            stages.say(last)
    return last
