"""The edit workflow with one clip, its settings and the server's model files in it."""

import re
import uuid
from argparse import Namespace
from pathlib import Path

from ...errors import needed
from ...version import VERSION
from ..model_choice import Trio
from ..places import Places, shorten_stem
from ..progress import LaunchError, Stages
from .client import Client
from .mask_graph import READER, add_mask, check_mask
from .workflow import (
    EDITOR,
    LOADERS,
    add_lora,
    class_types,
    listed_trio,
    load_workflow,
    set_inputs,
    set_models,
)

ALL_FRAMES = 0
RESULTS = "video"
"""Folder of the results on the server."""
NOT_IN_NAMES = re.compile(r'[/?<>\\:*|"%\x00-\x1f\x7f]')
"""What file names may not have on some system, and what Save Video would replace."""
SOURCE_INPUTS = ("video", "frames", "start", "stride", "area", "fit")
"""Inputs of the editing node that are those of SAMA Source Video."""
ANY_FPS = 24.0
"""For an input that SAMA Source Video does not use for a video."""
PNG_CLASSES = ("GetVideoComponents", "SaveImageAdvanced")
"""ComfyUI's nodes that save frames without loss."""


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
    fill_graph(graph, client, trio, client.upload(clip), clip, options)
    return graph


def fill_graph(
    graph: dict, client: Client, trio: Trio, uploaded: str, clip: Path, options: Namespace
) -> None:
    """Sets the models, the clip's name on the server and the options of one edit; uploads its mask.

    Raises LaunchError if the server lacks the LoRA, or the mask cannot be read.
    """
    set_models(graph, trio)
    set_inputs(graph, LOADERS[0][0], weight_dtype=options.weight_dtype)
    if options.lora:
        add_lora(graph, client, options.lora, options.lora_strength)
    set_inputs(graph, "LoadVideo", file=uploaded)
    if options.mask:
        add_mask(graph, client.upload(check_mask(options.mask)))
    set_inputs(graph, "SaveVideo", filename_prefix=unique_name(clip, options.seed))
    set_inputs(
        graph,
        EDITOR,
        instruction=options.instruction,
        seed=options.seed,
        steps=options.steps,
        cfg=options.cfg,
        frames=options.frames or ALL_FRAMES,
        area=options.area,
        fit=options.fit,
    )


def uploaded_files(graph: dict) -> list[str]:
    """The names of clip and mask on the server."""
    names = {"LoadVideo": "file", READER: "image"}
    return [
        node["inputs"][names[node["class_type"]]]
        for node in graph.values()
        if node["class_type"] in names
    ]


def result_prefix(graph: dict) -> str:
    """What the name of the result begins with, in the server's output folder."""
    saver = next(node for node in graph.values() if node["class_type"] == "SaveVideo")
    return saver["inputs"]["filename_prefix"]


def save_frames(graph: dict) -> None:
    """Puts 16-bit PNG files in the place of the graph's video.

    The frames are the same, made by nodes that hold all of them: a video has fewer bits.
    """
    editor, saver = (
        next(key for key, node in graph.items() if node["class_type"] == kind)
        for kind in (EDITOR, "SaveVideo")
    )
    given = graph[editor]["inputs"]
    fitted = {name: given[name] for name in SOURCE_INPUTS if name in given}
    edit = {name: value for name, value in given.items() if name not in (*fitted, "crf")}
    prefix = graph[saver]["inputs"]["filename_prefix"]
    if "mask" in edit:
        fitted_mask = {"frames": ["source", 0], "clip_info": ["source", 1], "grow": 0, "feather": 0}
        graph["region"] = _node("SAMARegionMask", mask=edit["mask"], **fitted_mask)
        edit["mask"] = ["region", 0]
    graph |= {
        "source": _node("SAMASourceVideo", **fitted, model=given["model"], fps=ANY_FPS),
        editor: _node("SAMALongEdit", **edit | {"frames": ["source", 0], "keep_segments": True}),
        "finish": _node("SAMAFinishVideo", frames=[editor, 0], clip_info=["source", 1]),
        "parts": _node(PNG_CLASSES[0], video=["finish", 0]),
        saver: _node(
            PNG_CLASSES[1],
            images=["parts", 0],
            filename_prefix=prefix,
            format="png",
            **{"format.bit_depth": "16-bit", "format.input_color_space": "sRGB"},
        ),
    }


def _node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def unique_name(clip: Path, seed: int) -> str:
    """Beginning of the result's name on the server: clip and seed, and different for each job.

    With one name for all jobs, a server that has made the same edit before would save nothing and
    name the earlier file, which may be deleted or replaced by now.
    """
    # A name may have bytes that are no text: they come back from no server.
    name = NOT_IN_NAMES.sub("_", shorten_stem(clip).encode("utf-8", "replace").decode())
    return f"{RESULTS}/{name} seed {seed} {uuid.uuid4().hex[:12]}"


def require_nodes(client: Client, graph: dict) -> None:
    """Raises LaunchError unless the server has every node of the workflow."""
    missing = [name for name in class_types(graph) if client.node(name) is None]
    ours = [name for name in class_types(graph) if name.startswith("SAMA")]
    if absent := [name for name in ours if name in missing]:
        here = "Install" if absent == ours else "Update"
        raise LaunchError(
            needed(
                f"server at {client.url}",
                f"no node {', '.join(missing)}",
                "the SAMA pack" if absent == ours else f"the SAMA pack of version {VERSION}",
                f"{here} ComfyUI-SAMA there (ComfyUI Manager, or in custom_nodes) and restart it.",
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


def require_version(client: Client) -> None:
    """Raises LaunchError unless the server's pack has this one's version."""
    pack = client.pack()
    version = pack.get("version") if pack else "a version of before 0.2.0"
    if version != VERSION:
        raise LaunchError(
            needed(
                f"the SAMA pack of the server at {client.url}",
                version,
                f"{VERSION}, as here",
                "Update the older of the two and restart that ComfyUI.",
            )
        )
