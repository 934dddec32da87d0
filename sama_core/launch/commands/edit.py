"""`run.py edit`: one clip, one instruction, one mp4."""

import re
import uuid
from argparse import Namespace
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ... import embedded
from ...errors import needed
from ...released_files import OWN_CFG, OWN_STEPS, SAMA_14B
from ..clip_jobs import check_clip, clip_facts, describe, run_job
from ..places import PICTURE, Places, check_target, choose_target, shorten_stem, write_new
from ..progress import LaunchError, Stages
from ..server.client import QUEUE_PATH, Client, Refused
from ..server.follow import LOAD, SAVE, Follower, saved_file
from ..server.process import Server, job_folder, job_options, prepare_base, server_options
from ..server.workflow import (
    add_lora,
    class_types,
    listed_trio,
    load_workflow,
    refusal,
    set_inputs,
    set_models,
)
from ..setup.comfyui_source import ComfyUI
from ..setup.environment import Environment

SET_UP, START = "set-up", "start ComfyUI"
"""Names of stages."""
ALL_FRAMES = 0
RESULTS = "video"
"""Folder of the results on the server."""
NOT_IN_NAMES = re.compile(r'[/?<>\\:*|"%\x00-\x1f\x7f]')
"""What file names may not have on some system, and what Save Video would replace."""
DEFAULT_INSTRUCTION, DEFAULT_SEED = "make the circle red", 1
LIMITS = {
    "steps": (1, 1000),
    "frames": (1, 100_000),
    "cfg": (0, 100),
    "seed": (0, 2**64 - 1),
    "area": (32 * 32, 4096 * 4096),
    "lora_strength": (-20, 20),
}
"""Lowest and highest value of each option, as the nodes' inputs have them; NaN is outside."""
FITS = ("crop to bucket", "letterbox", "stretch", "keep size")
"""The choices of SAMA Source Video; its own list, `clip.Fit`, needs numpy."""
OWN = {"steps": OWN_STEPS, "cfg": OWN_CFG}
"""What stands for the model's own."""


@dataclass(frozen=True)
class Place:
    """A ComfyUI to edit on."""

    client: Client
    """The connection to it."""
    server: Server | None = None
    """Its process, if this command started it."""


def edit(options: Namespace, places: Places, stages: Stages) -> int:
    """Edits one clip and prints where the result is and how long each stage took."""
    check_options(options)
    clip = check_clip(options.video) if options.video is not None else embedded.CLIP
    target = choose_target(options.out, clip, options.seed)
    picture = check_target("--picture", options.picture, PICTURE) if options.picture else None
    stages.start(SET_UP)
    if options.server:
        Client(options.server).check()
    running: AbstractContextManager[Place]
    if options.server and not picture:
        running = connect(options.server)
    else:
        comfyui = Environment(places, stages).ready(options.comfyui)
        running = (
            connect(options.server) if options.server else start_server(comfyui, places, stages)
        )
    if places.python.is_file():
        describe_clip(clip, options, places, stages)
    with running as place:
        result = run_edit(place, clip, target, options, places, stages)
    stages.finish()
    stages.say(f"\nDone: {result}")
    if picture:
        stages.say(f"Picture: {run_job('picture', places, clip, result, picture)}")
    stages.say(f"\n{stages.table()}")
    return 0


def run_edit(
    place: Place, clip: Path, target: Path, options: Namespace, places: Places, stages: Stages
) -> Path:
    """Uploads the clip, queues the edit, follows it and fetches the result; returns its path.

    Raises LaunchError if the server refuses or loses the edit, or if saving fails.
    """
    client = place.client
    stages.start(LOAD, "sending the clip")
    graph = make_graph(client, clip, options, places, stages)
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


def make_graph(
    client: Client, clip: Path, options: Namespace, places: Places, stages: Stages
) -> dict:
    """The edit workflow with this clip, these options and the model files of the server.

    Uploads the clip. Raises LaunchError if the server lacks a node or the model files.
    """
    graph = load_workflow(places.root)
    require_nodes(client, graph)
    trio = listed_trio(client)
    if trio.small:
        stages.say(trio.notice())
    set_models(graph, trio)
    if options.lora:
        add_lora(graph, client, options.lora, options.lora_strength)
    set_inputs(graph, "LoadVideo", file=client.upload(clip))
    set_inputs(
        graph,
        "SAMASourceVideo",
        frames=options.frames or ALL_FRAMES,
        area=options.area,
        fit=options.fit,
    )
    set_inputs(graph, "SaveVideo", filename_prefix=unique_name(clip, options.seed))
    set_inputs(
        graph,
        "SAMAEdit",
        instruction=options.instruction,
        seed=options.seed,
        steps=options.steps,
        cfg=options.cfg,
    )
    return graph


def unique_name(clip: Path, seed: int) -> str:
    """Beginning of the result's name on the server: clip and seed, and different for each job.

    With one name for all jobs, a server that has made the same edit before would save nothing and
    name the earlier file, which may be deleted or replaced by now.
    """
    name = NOT_IN_NAMES.sub("_", shorten_stem(clip))
    return f"{RESULTS}/{name} seed {seed} {uuid.uuid4().hex[:12]}"


@contextmanager
def connect(url: str) -> Iterator[Place]:
    """The user's running ComfyUI; it keeps running afterwards."""
    yield Place(Client(url))


@contextmanager
def start_server(comfyui: ComfyUI, places: Places, stages: Stages) -> Iterator[Place]:
    """A ComfyUI that runs only for this edit and is always stopped afterwards."""
    prepare_base(places)
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
        raise LaunchError(
            needed(
                f"server at {client.url}",
                f"no node {', '.join(missing)}",
                "the SAMA pack",
                "Install ComfyUI-SAMA there (ComfyUI Manager, or into custom_nodes) and restart "
                "it.",
            )
        )
    if missing:
        raise LaunchError(
            needed(
                f"server at {client.url}",
                f"no node {', '.join(missing)}",
                "ComfyUI 0.30 or newer",
                "Update that ComfyUI.",
            )
        )


def check_options(options: Namespace) -> None:
    """Raises LaunchError for values that no edit can have, before anything is set up."""
    if not options.instruction.strip():
        raise LaunchError(
            needed(
                "--instruction",
                "an empty text",
                "what to change, in plain words",
                'For example --instruction "make the car red".',
            )
        )
    for name, (least, most) in LIMITS.items():
        value = getattr(options, name)
        if value not in (None, OWN.get(name)) and not least <= value <= most:
            low, high = value < least, value > most
            need = f"{least} or more" if low else f"{most:,} or less" if high else "a number"
            option = f"--{name.replace('_', '-')}"
            raise LaunchError(needed(option, str(value)[:40], need, f"Give another {option}."))


def area_pixels(text: str) -> int:
    """Pixels of an area given as `832x480` or as a number. Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text.strip())
    pixels = int(match[1]) * int(match[2] or 1) if match else 0
    if pixels < 32 * 32:
        raise ValueError(text)
    return pixels


def describe_clip(clip: Path, options: Namespace, places: Places, stages: Stages) -> None:
    """Prints the clip's facts, and a warning if it is longer than SAMA was released for.

    Raises LaunchError if it is no video.
    """
    facts = clip_facts(clip, places)
    stages.say(
        f"Clip: {describe(facts)}"
        + ("" if options.video else ", the one in the pack; give yours with --video")
    )
    if not options.frames and facts["frames"] > SAMA_14B.frames:
        stages.say(
            f"That is more than the {SAMA_14B.frames} frames SAMA was released for, and all are "
            f"edited at once; --frames {SAMA_14B.frames} takes the first ones only."
        )
