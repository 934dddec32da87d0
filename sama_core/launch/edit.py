"""`run.py edit`: one clip, one instruction, one mp4."""

import json
import os
import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..errors import needed
from .client import QUEUE_PATH, Client, Refused
from .commands import answer
from .environment import Environment
from .failure import LaunchError
from .follow import LOAD, SAVE, Follower, saved_file
from .models import choose_trio
from .output import choose_target, write_new
from .places import Places
from .progress import Stages
from .runtime import ComfyUI
from .server import Server, job_folder, job_options, prepare_base, server_options
from .untrained import NOTICE, model_folders, provide_models
from .workflow import class_types, load_workflow, refusal, set_inputs, set_models

SET_UP, START = "set-up", "start ComfyUI"
ALL_FRAMES = 0
RELEASE_FRAMES = 81
DEFAULT_INSTRUCTION = "Make it look like a pencil drawing."


@dataclass(frozen=True)
class Place:
    """A ComfyUI to edit on; `server` is its process if this command started it."""

    client: Client
    server: Server | None = None


def edit(options: Namespace, places: Places, stages: Stages) -> int:
    """Edits one clip and prints where the result is and how long each stage took."""
    check_options(options)
    clip = check_clip(options.video) if options.video else None
    target = choose_target(options.out, clip or demo_clip_path(places))
    stages.start(SET_UP)
    if options.server:
        Client(options.server).check()
    comfyui = None if options.server and clip else Environment(places, stages).ready(options.comfyui)
    if clip is None:
        clip = make_demo_clip(places, stages)
    elif places.python.is_file():
        describe_clip(clip, options, places, stages)
    running = someone_elses(options.server) if options.server else started(comfyui, places, stages)
    with running as place:
        result = run_edit(place, clip, target, options, places, stages)
    stages.finish()
    stages.say(f"\nDone: {result}\n\n{stages.table()}")
    return 0


def run_edit(place: Place, clip: Path, target: Path, options: Namespace, places: Places, stages: Stages) -> Path:
    """Uploads, queues, follows and fetches; the clip is on disk whole when this returns."""
    client = place.client
    stages.start(LOAD, "sending the clip")
    graph = edit_graph(client, clip, options, places, stages)
    socket = client.listen()
    prompt_id = None
    try:
        prompt_id = client.queue(graph)
        entry = Follower(client, socket, graph, stages, place.server).wait(prompt_id)
    except Refused as error:
        if error.path != QUEUE_PATH:
            raise
        raise LaunchError(refusal(graph, error.body)) from error
    except KeyboardInterrupt:
        if prompt_id and place.server is None:
            client.cancel(prompt_id)
        raise
    finally:
        socket.close()
    stages.start(SAVE, "fetching the result")
    return write_new(target, client.fetch(saved_file(entry, graph)))


def edit_graph(client: Client, clip: Path, options: Namespace, places: Places, stages: Stages) -> dict:
    """The edit workflow for this clip, these options and the files the server has; the clip is uploaded."""
    graph = load_workflow(places.root)
    require_nodes(client, graph)
    trio = choose_trio(client.choices("SAMALoadModel", "model_name"),
                       client.choices("SAMALoadTextEncoder", "text_encoder_name"),
                       client.choices("SAMALoadVAE", "vae_name"))
    if trio.untrained:
        stages.say(NOTICE)
    set_models(graph, trio)
    set_inputs(graph, "LoadVideo", file=client.upload(clip))
    set_inputs(graph, "SAMASourceVideo", frames=options.frames or ALL_FRAMES, area=options.area)
    set_inputs(graph, "SAMAEdit", instruction=options.instruction, seed=options.seed, steps=options.steps,
               cfg=options.cfg)
    return graph


@contextmanager
def someone_elses(url: str) -> Iterator[Place]:
    """The artist's running ComfyUI; it goes on running afterwards."""
    yield Place(Client(url))


@contextmanager
def started(comfyui: ComfyUI, places: Places, stages: Stages) -> Iterator[Place]:
    """A ComfyUI that runs for this edit alone and is stopped afterwards, whatever happens."""
    prepare_base(places)
    provide_models(places, model_folders(places, comfyui.folder), stages)
    with job_folder(places) as folder:
        stages.start(START)
        arguments = server_options(places, comfyui) + job_options(folder)
        log = places.log(f"comfyui-{folder.name}")
        with Server(places.python, comfyui, arguments, log) as server:
            server.wait_ready(lambda seconds: stages.update(f"{seconds:.0f} s", transient=True))
            yield Place(Client(server.url), server)
        log.unlink(missing_ok=True)


def require_nodes(client: Client, graph: dict) -> None:
    """Raises LaunchError unless the server has every node of the workflow."""
    missing = [name for name in class_types(graph) if client.node(name) is None]
    if any(name.startswith("SAMA") for name in missing):
        raise LaunchError(needed(f"server at {client.url}", f"no node {', '.join(missing)}", "the SAMA pack",
                                 "Install ComfyUI-SAMA there (ComfyUI Manager, or into custom_nodes) and restart it."))
    if missing:
        raise LaunchError(needed(f"server at {client.url}", f"no node {', '.join(missing)}", "ComfyUI 0.30 or newer",
                                 "Update that ComfyUI."))


def check_options(options: Namespace) -> None:
    """Raises LaunchError for values no edit can have, before anything is set up."""
    if not options.instruction.strip():
        raise LaunchError(needed("--instruction", "an empty text", "what to change, in plain words",
                                 'For example --instruction "make the car red".'))
    for name, least in (("steps", 1), ("frames", 1), ("cfg", 0), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise LaunchError(needed(f"--{name}", value, f"{least} or more", f"Give another --{name}."))


def area_pixels(text: str) -> int:
    """`832x480` or a number of pixels as pixels. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text.strip())
    pixels = int(found[1]) * int(found[2] or 1) if found else 0
    if pixels < 32 * 32:
        raise ValueError(text)
    return pixels


def check_clip(given: str) -> Path:
    """The clip's path. Raises LaunchError if there is no such file or nothing in it."""
    clip = Path(os.path.abspath(os.path.expanduser(given)))
    if not clip.is_file():
        got = "a folder" if clip.is_dir() else "no such file"
        raise LaunchError(needed(f"--video {clip}", got, "a video file", "Check the path."))
    if not os.access(clip, os.R_OK) or not clip.stat().st_size:
        got = "an empty file" if os.access(clip, os.R_OK) else "a file that may not be read"
        raise LaunchError(needed(f"--video {clip}", got, "a video file", "Check the file."))
    return clip


def probe(clip: Path, places: Places) -> dict:
    """Size, rate and frame count of a clip. Raises LaunchError if it is no video."""
    return _clip_task("probe", clip, places)


def describe_clip(clip: Path, options: Namespace, places: Places, stages: Stages) -> None:
    """Says what the clip is, and if it is longer than SAMA was released for. Raises LaunchError if it is no video."""
    facts = probe(clip, places)
    stages.say(f"Clip: {describe(facts)}")
    if not options.frames and facts["frames"] > RELEASE_FRAMES:
        stages.say(f"That is more than the {RELEASE_FRAMES} frames SAMA was released for, and all are edited at once; "
                   f"--frames {RELEASE_FRAMES} takes the first ones only.")


def describe(facts: dict) -> str:
    """A clip's facts in one line."""
    frames = f"{facts['frames']} frames, " if facts["frames"] else ""
    return f"{frames}{facts['width']}x{facts['height']}, {float(Fraction(facts['fps'])):g} fps"


def demo_clip_path(places: Places) -> Path:
    return places.runtime / "demo" / "moving_shapes.mp4"


def make_demo_clip(places: Places, stages: Stages) -> Path:
    """Writes the clip of moving shapes."""
    clip = demo_clip_path(places)
    clip.parent.mkdir(parents=True, exist_ok=True)
    stages.say(f"No --video given: made a clip of moving shapes ({describe(_clip_task('shapes', clip, places))}).")
    return clip


def _clip_task(task: str, clip: Path, places: Places) -> dict:
    command = [places.python, "-m", "sama_core.launch.clip_task", task, clip]
    told = answer(command, clip.name, cwd=places.root, log=places.log("clip"))
    return json.loads(told)
