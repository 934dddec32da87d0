"""`run.py plan`: what an edit will need and whether it fits, before any download."""

import json
import os
import platform
import re
import subprocess
import sys
from argparse import ArgumentTypeError, Namespace
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...errors import SamaError, needed
from ...geometry import DEFAULT_AREA, ClipShape, Lattice
from ...model.config import DitConfig
from ...plan.machine import CPU, GIB, MIB, MPS, NVIDIA, Machine, memory, processor, windows_reserve
from ...plan.planning import make_plan
from ...plan.request import Request, default_size, encoder_sizes, fitted_clip
from ...plan.seconds import USER_FOLDER, read_calibrations
from ...plan.summary import report
from ...plan.weight_bytes import RELEASED, RELEASED_CONFIG, Weights
from ...released_files import release_of
from ..clip_jobs import check_clip, clip_facts
from ..places import Places
from ..progress import LaunchError, Stages
from ..setup.environment import Environment
from ..setup.processes import Commands, answer
from .convert import FOLDER, find_file
from .edit import area_pixels
from .models import look_in
from .train import require_recipe

PLAN_RECIPE = "sama_core.training.memory.plan_recipe"
"""The program that plans a training: reading a recipe needs the environment's packages."""
NO_FILE = (
    "No model file named: planning for SAMA-14B as released, by its published sizes. "
    "--model plans for a file."
)


def plan(options: Namespace, places: Places, stages: Stages) -> int:
    """Prints the plan and returns 0, whether the edit fits or not.

    With `--calibrate` the speed of this machine is measured first.
    """
    if options.train:
        stages.say(plan_training(options, places, stages))
        return 0
    files = model_files(options, places)
    video = check_clip(options.video) if options.video is not None else None
    try:
        if options.calibrate:
            measure(options, places, stages)
        request = make_request(options, files, video, places, stages)
        made = make_plan(request, this_machine(options), read_calibrations(user_folder(places)))
    except LaunchError:
        raise
    except SamaError as refused:
        raise LaunchError(str(refused)) from refused
    stages.say(report(made) if files else f"{NO_FILE}\n{report(made)}")
    return 0


def plan_training(options: Namespace, places: Places, stages: Stages) -> str:
    """The plan of a recipe's training. Raises LaunchError for a recipe that is wrong."""
    recipe = require_recipe("--train", options.train[0])
    require_packages(options, places, stages)
    machine = json.dumps(asdict(this_machine(options)))
    command: list[str | Path] = [places.python, "-P", "-m", PLAN_RECIPE, recipe, machine]
    return answer(
        [*command, *options.train[1:]],
        "--train",
        cwd=Path.cwd(),
        log=places.log("plan"),
        PYTHONPATH=str(places.root),
    )


def user_folder(places: Places) -> Path:
    """Folder of the user's own calibrations; the nodes in `run.py serve` use it too."""
    return places.base / "user" / USER_FOLDER


def model_files(options: Namespace, places: Places) -> list[Path]:
    """The files that `--model` and `--base` name; empty without `--model`.

    Raises LaunchError, before any set-up, for files that are absent.
    """
    if not options.model:
        if options.base:
            raise LaunchError(
                needed(
                    "--base",
                    "no SAMA delta file with it",
                    "--model beside it",
                    "Name the delta file with --model.",
                )
            )
        return []
    folders = [
        folder / FOLDER for folder in look_in(Namespace(dir=None, comfyui=options.comfyui), places)
    ]
    base = [find_file("--base", options.base, folders, shards=True)] if options.base else []
    return [find_file("--model", options.model, folders), *base]


def make_request(
    options: Namespace, files: list[Path], video: Path | None, places: Places, stages: Stages
) -> Request:
    """The edit that the options describe, as `edit` would make it; only files' headers are read."""
    config, weights, area = RELEASED_CONFIG, RELEASED, None
    if files or video:
        require_packages(options, places, stages)
    if files:
        config, weights, area = model_facts(files, places)
    release = release_of(config.text_dim)
    usual = release.frames
    steps, cfg, _ = release.sampling.fill(options.steps, options.cfg)
    if video:
        clip, remarks = _read_clip(video, options, usual, area, places, config.lattice)
    else:
        frames = usual if options.frames is None else options.frames
        width, height = (
            options.area if isinstance(options.area, tuple) else default_size(options.area or area)
        )
        clip, remarks = fitted_clip(frames, width, height, lattice=config.lattice)
    return Request(
        clip,
        config,
        weights,
        storage=options.weight_dtype,
        remarks=remarks,
        **encoder_sizes(config),
        steps=steps,
        cfg=cfg,
    )


def _read_clip(
    video: Path,
    options: Namespace,
    usual: int,
    area: int | None,
    places: Places,
    lattice: Lattice,
) -> tuple[ClipShape, tuple[str, ...]]:
    """The clip that the model will get of `video`, and remarks.

    `usual` is the number of frames where the file does not say; `area`, in pixels, and `lattice`
    are the model's own.
    """
    facts = clip_facts(video, places)
    clip, remarks = fitted_clip(
        _frames(options.frames, facts["frames"], usual),
        facts["width"],
        facts["height"],
        area=_pixels(options.area) or area or DEFAULT_AREA,
        lattice=lattice,
    )
    if options.frames is None and not facts["frames"]:
        remarks += (f"The file does not say how many frames it has; {usual} are assumed.",)
    rate = float(Fraction(facts["fps"]))
    return clip, (*remarks, f"Clip: {facts['width']}x{facts['height']}, {rate:g} fps.")


def model_facts(files: list[Path], places: Places) -> tuple[DitConfig, Weights, int | None]:
    """Sizes and weights of the named file, and the area it was made for.

    Raises LaunchError with the loader's message if it is no SAMA model.
    """
    command: list[str | Path] = [places.python, "-m", "sama_core.plan.read_model", *files]
    facts = json.loads(answer(command, "--model", cwd=places.root, log=places.log("plan")))
    return DitConfig(**facts["config"]), Weights(**facts["weights"]), facts["area"]


def measure(options: Namespace, places: Places, stages: Stages) -> None:
    """Times the model on this machine and saves the result for later plans."""
    require_packages(options, places, stages)
    stages.start("calibrate")
    commands = Commands(
        places.log("calibrate"), lambda seconds: stages.update(f"{seconds:.0f} s", transient=True)
    )
    commands.run(
        [places.python, "-m", "sama_core.plan.calibrate", user_folder(places)],
        "calibrating",
        cwd=places.root,
    )
    stages.finish()


def require_packages(options: Namespace, places: Places, stages: Stages) -> None:
    """Makes `.venv` if it is absent: reading model and video files needs its packages."""
    if not places.python.is_file():
        stages.start("set-up")
        Environment(places, stages).ready(options.comfyui)
        stages.finish()


def this_machine(options: Namespace) -> Machine:
    """The machine here, or the one that `--vram`, `--card` and `--ram` describe."""
    return replace(_card(options), **_ram(options))


def _card(options: Namespace) -> Machine:
    """The card, without the computer's memory."""
    if options.vram is not None:
        given = _bytes("--vram", options.vram)
        return Machine(
            NVIDIA, options.card, given, given, assumed_vram=True, reserved=_reserve(given)
        )
    here = nvidia_card()
    if here is not None:
        name, free, total = here
        return Machine(NVIDIA, options.card or name, free, total, reserved=_reserve(total))
    if options.card:
        raise LaunchError(
            needed(
                "--card",
                "no memory size with it",
                "--vram beside it",
                "For example --card 'RTX 4090' --vram 24.",
            )
        )
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return Machine(MPS) if apple else Machine(CPU, processor())


def _ram(options: Namespace) -> dict[str, Any]:
    """The fields of `Machine` about the computer's memory."""
    if options.ram is not None:
        given = _bytes("--ram", options.ram)
        return {"free_ram": given, "total_ram": given, "assumed_ram": True}
    free, total = memory()
    return {"free_ram": free, "total_ram": total}


def nvidia_card() -> tuple[str, int, int] | None:
    """Name, free and total bytes of the first NVIDIA card; None without card or driver."""
    query = [
        "nvidia-smi",
        "--query-gpu=name,memory.free,memory.total",
        "--format=csv,noheader,nounits",
    ]
    try:
        listed = subprocess.run(
            query, check=True, capture_output=True, timeout=30, encoding="utf-8"
        )
        name, free, total = listed.stdout.splitlines()[0].rsplit(",", 2)
        return name.strip(), int(free) * MIB, int(total) * MIB
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _reserve(total: int) -> int:
    return windows_reserve(total) if os.name == "nt" else Machine().reserved


def _bytes(option: str, gib: float) -> int:
    if not 0 <= gib < 1e6:
        raise LaunchError(needed(option, gib, "a size in GB", f"For example {option} 12."))
    return int(gib * GIB)


def _frames(asked: int | None, there: int, usual: int) -> int:
    """Number of frames to edit: the first `asked` ones of those that are `there`, or all.

    0 `there` means that the file does not say; then it is `asked`, or the `usual` number.
    """
    if asked is None:
        return there or usual
    return min(asked, there) if there else asked


def area_or_size(text: str) -> int | tuple[int, int]:
    """A size for `832x480`, pixels for a number. Raises ArgumentTypeError for anything else."""
    try:
        pixels = area_pixels(text)
    except ValueError:
        raise ArgumentTypeError(
            f"got {text}, needs WxH such as 832x480, or a number of pixels from 1024 on"
        ) from None
    sides = [int(number) for number in re.findall(r"\d+", text)]
    return (sides[0], sides[1]) if len(sides) == 2 else pixels


def _pixels(area: int | tuple[int, int] | None) -> int | None:
    return area[0] * area[1] if isinstance(area, tuple) else area
