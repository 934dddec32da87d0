"""`run.py plan`: what an edit will need and whether it fits, before any download."""

import json
import re
from argparse import ArgumentTypeError, Namespace
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

from ...errors import SamaError, needed
from ...geometry import DEFAULT_AREA
from ...model.config import DitConfig
from ...plan.in_minutes import check_minutes, plan_minutes
from ...plan.minutes_text import report_minutes
from ...plan.planning import make_plan
from ...plan.request import Request, default_size, encoder_sizes
from ...plan.seconds import USER_FOLDER, read_calibrations
from ...plan.summary import report
from ...plan.trade_offs import Wish
from ...plan.weight_bytes import RELEASED, RELEASED_CONFIG, Weights
from ...plan.whole_clip import AskedClip, ask_at_once, ask_in_segments
from ...released_files import release_of
from ..clip_jobs import check_clip, clip_facts
from ..places import Places
from ..progress import LaunchError, Stages
from ..setup.environment import Environment
from ..setup.messages import last_message
from ..setup.processes import Commands, answer
from .convert import FOLDER, find_file
from .edit import area_pixels
from .models import look_in
from .plan_commands import list_commands
from .planned_machine import this_machine
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
        if options.minutes is not None:
            raise LaunchError(
                needed(
                    "--minutes",
                    "--train beside it",
                    "one of the two",
                    "--minutes is for an edit; the plan of a training says its time.",
                )
            )
        stages.say(plan_training(options, places, stages))
        return 0
    files = model_files(options, places)
    video = check_clip(options.video) if options.video is not None else None
    try:
        if options.minutes is not None:
            check_minutes(options.minutes, "--minutes")
        if options.calibrate:
            measure(options, places, stages)
        asked, request = read_asked(options, files, video, places, stages)
        text = _plan_text(asked, request, options, video, places)
    except LaunchError:
        raise
    except SamaError as refused:
        raise LaunchError(str(refused)) from refused
    stages.say(text if files else f"{NO_FILE}\n{text}")
    return 0


def _plan_text(
    asked: AskedClip, request: Request, options: Namespace, video: Path | None, places: Places
) -> str:
    """The plan of the edit, or with `--minutes` of the best one that is finished in time."""
    machine, measured = this_machine(options), read_calibrations(user_folder(places))
    if options.minutes is None:
        return report(make_plan(request, machine, measured))
    wish = Wish.of(request, asked.frames, asked.size, not options.no_step_lora)
    made = plan_minutes(wish, options.minutes, machine, measured)
    return "\n".join([report_minutes(made), *list_commands(made, video)])


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


def read_asked(
    options: Namespace, files: list[Path], video: Path | None, places: Places, stages: Stages
) -> tuple[AskedClip, Request]:
    """The edit that the options describe, as `edit` would make it; only files' headers are read.

    With `--minutes` a long clip is edited in segments.
    """
    config, weights, area = RELEASED_CONFIG, RELEASED, None
    if files or video:
        require_packages(options, places, stages)
    if files:
        config, weights, area = model_facts(files, places)
    release = release_of(config.text_dim)
    steps, cfg, _ = release.sampling.fill(options.steps, options.cfg)
    frames, size, fit_to, more = _read_source(video, options, release.frames, area, places)
    ask = ask_at_once if options.minutes is None else ask_in_segments
    asked = ask(frames, size, fit_to, config.lattice)
    request = Request(
        asked.clip,
        config,
        weights,
        storage=options.weight_dtype,
        remarks=asked.remarks + more,
        **encoder_sizes(config),
        steps=steps,
        cfg=cfg,
    )
    return asked, request


def _read_source(
    video: Path | None, options: Namespace, usual: int, area: int | None, places: Places
) -> tuple[int, tuple[int, int], int | None, tuple[str, ...]]:
    """Frames, width and height of what is edited, the area it is fitted to, and remarks.

    `usual` is the number of frames where nothing says it; `area`, in pixels, is the model's own.
    """
    if video is None:
        frames = usual if options.frames is None else options.frames
        given = options.area
        return frames, given if isinstance(given, tuple) else default_size(given or area), None, ()
    facts = clip_facts(video, places)
    remarks: tuple[str, ...] = ()
    if options.frames is None and not facts["frames"]:
        remarks += (f"The file does not say how many frames it has; {usual} are assumed.",)
    size, rate = (facts["width"], facts["height"]), float(Fraction(facts["fps"]))
    return (
        _frames(options.frames, facts["frames"], usual),
        size,
        _pixels(options.area) or area or DEFAULT_AREA,
        (*remarks, f"Clip: {size[0]}x{size[1]}, {rate:g} fps."),
    )


def model_facts(files: list[Path], places: Places) -> tuple[DitConfig, Weights, int | None]:
    """Sizes and weights of the named file, and the area it was made for.

    Raises LaunchError with the loader's message if it is no SAMA model.
    """
    command: list[str | Path] = [places.python, "-m", "sama_core.plan.read_model", *files]
    said = answer(command, "--model", cwd=places.root, log=places.log("plan"))
    facts = last_message(said, "--model")
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
