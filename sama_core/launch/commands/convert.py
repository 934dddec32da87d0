"""`run.py convert`: writes a quantised file of a SAMA model.

The work is done by `sama_core.convert` in the environment's Python.
"""

import json
import os
import subprocess
import time
from argparse import Namespace
from pathlib import Path

from ... import embedded
from ...convert.formats import (
    GGUF,
    check_folder,
    checked_name,
    default_name,
    format_named,
    partial_files,
)
from ...errors import ConversionError, needed
from ..places import Places, clean_env, refuse_absent_folder
from ..progress import LaunchError, Stages, duration, log_tail
from ..setup.environment import Environment
from ..setup.messages import read_message
from ..setup.processes import end_with_block, pip_install
from .models import look_in

FOLDER = "diffusion_models"
TENTHS = 10


def convert(options: Namespace, places: Places, stages: Stages) -> int:
    """Converts one file, or with `--verify` checks one; prints the report and returns 0."""
    folders = [
        folder / FOLDER for folder in look_in(Namespace(dir=None, comfyui=options.comfyui), places)
    ]
    try:
        asked = request(options, places, folders)
    except ConversionError as error:
        raise LaunchError(str(error)) from error
    stages.start("set-up")
    environment = Environment(places, stages)
    environment.ready(options.comfyui)
    if Path(asked.get("target", "")).suffix == GGUF:
        provide_gguf(environment, places, stages)
    stages.start("verify" if options.verify else "convert", Path(asked["path"]).name)
    report = run(asked, places, stages)
    stages.finish()
    stages.say(report)
    return 0


def request(options: Namespace, places: Places, folders: list[Path]) -> dict:
    """The job for `sama_core.convert`.

    Raises LaunchError or ConversionError for files and names that cannot be used.
    """
    source = find_file("FILE", options.file, folders)
    if options.verify:
        return {"path": str(source), "verify": True}
    made = format_named(options.format)
    refuse_absent_folder("--out", options.out or "")
    given = (
        Path(os.path.abspath(os.path.expanduser(options.out)))
        if options.out
        else default_folder(source, places, folders)
    )
    target = given / default_name(source, made) if given.is_dir() else given
    target = target.with_name(checked_name(target.name, made))
    check_folder(target.parent)
    base = str(find_file("--base", options.base, folders, shards=True)) if options.base else None
    return {
        "path": str(source),
        "target": str(target),
        "format": made.name,
        "base": base,
        "overwrite": options.overwrite,
    }


def find_file(option: str, given: str, folders: list[Path], shards: bool = False) -> Path:
    """The file that an `option` names: by its path, or by its name in `folders` or in the pack.

    With `shards` it may also be a folder. Raises LaunchError if it is absent.
    """
    path = Path(os.path.abspath(os.path.expanduser(given)))
    places = [path, *(folder / given for folder in (*folders, embedded.DIT.parent))]
    for place in places:
        if os.path.isfile(place) or (shards and os.path.isdir(place)):
            return place
    raise LaunchError(
        needed(
            f"{option} {given}",
            "a folder" if any(map(os.path.isdir, places)) else "no such file",
            "a SAMA file (.safetensors)",
            f"Give its path, or its name in {', '.join(map(str, folders))}.",
        )
    )


def default_folder(source: Path, places: Places, folders: list[Path]) -> Path:
    """Folder for the result: the source's, or the first of `folders` for the pack's own model."""
    if not source.is_relative_to(places.root / "sama_core"):
        return source.parent
    folders[0].mkdir(parents=True, exist_ok=True)
    return folders[0]


def provide_gguf(environment: Environment, places: Places, stages: Stages) -> None:
    """Installs the library `gguf` if it is absent; only GGUF files need it."""
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('gguf') is None)"
    if subprocess.call([str(places.python), "-c", look], cwd=places.root, env=clean_env()):
        stages.update("installing gguf")
        wanted: list[str | Path] = ["gguf", "-c", environment.constraints]
        environment.commands.run(pip_install(places.python, wanted), "installing gguf")


def run(asked: dict, places: Places, stages: Stages) -> str:
    """Runs `sama_core.convert` to its end, shows how far it is, and returns its report.

    Raises LaunchError with its message if it fails.
    """
    log = places.log("convert")
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [str(places.python), "-m", "sama_core.convert", json.dumps(asked)],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            cwd=places.root,
            env=clean_env(),
            encoding="utf-8",
            errors="backslashreplace",
        )
        with end_with_block(process):
            report = _follow(process, stages)
            code = process.wait()
    if code or not report:
        last = log_tail(log, lines=1).strip() or f"the conversion ended with exit code {code}"
        raise LaunchError(f"{last}\n  {_hint(asked)}Whole log: {log}")
    return report


def _hint(asked: dict) -> str:
    """A sentence about continuing, if a part of the result and its checksums are on disk."""
    journal = partial_files(Path(asked["target"]))[1] if "target" in asked else None
    begun = journal and journal.is_file() and journal.stat().st_size
    return "What is written is kept: the same command continues from there. " if begun else ""


def _follow(process: subprocess.Popen, stages: Stages) -> str:
    """Shows progress until the worker ends; returns its report, empty if there is none. What else
    is printed there is shown as it is.
    """
    report, first, shown = "", None, 0
    for line in process.stdout or ():
        match read_message(line):
            case {"report": str(text)}:
                report = text
            case {"done": int(done), "total": int(total)} if total > 0:
                first = first or (done, time.monotonic())
                tenth = TENTHS * done // total
                stages.update(_progress(done, total, *first), transient=tenth == shown)
                shown = tenth
            case _ if line.strip():
                stages.say(line.rstrip())
    return report


def _progress(done: int, total: int, first: int, since: float) -> str:
    text = f"{done / 1e9:.2f} of {total / 1e9:.2f} GB"
    seconds = time.monotonic() - since
    if done > first and seconds > 1:
        rate = (done - first) / seconds
        text += f" · {rate / 1e6:.0f} MB/s · ETA {duration((total - done) / rate)}"
    return text
