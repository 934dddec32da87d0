"""`run.py edit`: one clip, one instruction, one mp4."""

import re
from argparse import Namespace
from contextlib import AbstractContextManager
from pathlib import Path

from ... import embedded
from ...errors import needed
from ...released_files import OWN_CFG, OWN_STEPS, SAMA_14B
from ..changed_file import State, require_unchanged, state_of
from ..clip_jobs import check_clip, clip_facts, describe, run_job
from ..places import PICTURE, Places, check_target, choose_target, write_new
from ..progress import LaunchError, Stages
from ..server.client import Client
from ..server.comfy_place import Place, connect, own_place
from ..server.edit_graph import make_graph, result_prefix, uploaded_files
from ..server.follow import LOAD, SAVE, saved_file
from ..server.mask_graph import check_mask
from ..server.run_graph import run_graph
from ..setup.environment import Environment

SET_UP = "set-up"
"""Name of a stage."""
DEFAULT_INSTRUCTION, DEFAULT_SEED = "make the circle red", 1
LIMITS = {
    "steps": (1, 1000),
    "frames": (1, 10_000_000),
    "cfg": (0, 100),
    "seed": (0, 2**64 - 1),
    "area": (32 * 32, 4096 * 4096),
    "lora_strength": (-20, 20),
}
"""Lowest and highest value of each option, as the nodes' inputs have them; NaN is outside."""
FITS = ("crop to bucket", "letterbox", "stretch", "keep size")
"""The choices of the node; its own list, `clip.Fit`, needs numpy."""
OWN = {"steps": OWN_STEPS, "cfg": OWN_CFG}
"""What stands for the model's own."""


def edit(options: Namespace, places: Places, stages: Stages) -> int:
    """Edits one clip and prints where the result is and how long each stage took."""
    check_options(options)
    if options.mask:
        check_mask(options.mask)
    clip = check_clip(options.video) if options.video is not None else embedded.CLIP
    seen = state_of(clip)
    target = choose_target(options.out, clip, options.seed)
    picture = check_target("--picture", options.picture, PICTURE) if options.picture else None
    stages.start(SET_UP)
    if options.server:
        Client(options.server).check()

    def look() -> None:
        if places.python.is_file():
            describe_clip(clip, options, places, stages)

    running: AbstractContextManager[Place]
    if options.server:
        if picture:
            Environment(places, stages).ready(options.comfyui)
        look()
        running = connect(options.server)
    else:
        comfyui = Environment(places, stages).ready(options.comfyui)
        running = own_place(comfyui, places, stages, options.keep, look)
    result = None
    try:
        with running as place:
            result = run_edit(place, clip, target, options, places, stages, seen)
    except KeyboardInterrupt:
        if result:  # it came while the server ended
            stages.say(f"\nDone: {result}")
        raise
    stages.finish()
    stages.say(f"\nDone: {result}")
    if picture:
        stages.say(f"Picture: {run_job('picture', places, clip, result, picture)}")
    stages.say(f"\n{stages.table()}")
    return 0


def run_edit(
    place: Place,
    clip: Path,
    target: Path,
    options: Namespace,
    places: Places,
    stages: Stages,
    seen: State | None = None,
) -> Path:
    """Uploads the clip, queues the edit, follows it and fetches the result; returns its path.

    Raises LaunchError if the clip is not as it was `seen`, if the server refuses or loses the edit,
    or if saving fails.
    """
    client = place.client
    stages.start(LOAD, "sending the clip")
    graph = make_graph(client, clip, options, places, stages)
    if seen:
        require_unchanged(clip, seen)
    try:
        entry = run_graph(client, graph, stages, place.server)
        stages.start(SAVE, "fetching the result")
        output = saved_file(entry, graph)
        try:
            result = write_new(target, client.fetch(output))
        except LaunchError as failed:
            raise LaunchError(f"{failed}{place.keep_result(output, places.edits)}") from failed
    except KeyboardInterrupt:
        for kept in place.keep_results(result_prefix(graph), places.edits):
            stages.say(f"\n{kept}")
        raise
    for name in uploaded_files(graph):
        place.remove_files(name, [output])
    return result


def check_options(options: Namespace, frames_option: str = "--frames") -> None:
    """Raises LaunchError for values that no edit can have, before anything is set up.

    `frames_option` is what the command calls the number of frames.
    """
    if getattr(options, "keep", False) and options.server:
        raise LaunchError(
            needed(
                "--keep",
                "--server beside it",
                "a ComfyUI that this command starts",
                "Leave one of them out: a server that you name keeps running by itself.",
            )
        )
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
            option = frames_option if name == "frames" else f"--{name.replace('_', '-')}"
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
            f"That is more than the {SAMA_14B.frames} frames SAMA was released for: it is edited "
            f"in overlapping segments. --frames {SAMA_14B.frames} takes the first ones only."
        )
