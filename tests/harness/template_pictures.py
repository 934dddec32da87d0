"""Makes the pictures of the shipped workflows: source and edit, out of a run of each.

    python -m tests.harness.template_pictures [simple_edit …]

Run from the repository root; without names, all of them. The graphs run as scripts would queue
them. Those for SAMA-14B run on SAMA-Shapes, and their pictures say so.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from sama_core.launch.commands.serve import provide_clips

from .before_after import GAP, place_side_by_side, read_frames
from .canvas_export import API, LAYOUTS, read
from .imports import REPO_ROOT
from .server import ComfyServer, TestPlaces, running_server
from .standing_in import small_graph, write_lora

QUALITY = 75
WIDTH = 800
LONG, SHOWN = 17, 4
"""Of a clip with more frames than LONG, SHOWN are in the picture, else the middle one."""
READERS = ("SAMASourceVideo", "SAMAEditWholeVideo")
"""Nodes that take the clip which is edited."""
SMALL_PRINT = "run on SAMA-Shapes"


def picture(server: ComfyServer, prompt: dict) -> Image.Image:
    """Source and edit of a run: side by side, or above each other where there are several."""
    entry = server.run(prompt, timeout=600)
    assert entry["status"]["status_str"] == "success", entry["status"]
    (made,) = (
        server.base / item["type"] / item["subfolder"] / item["filename"]
        for output in entry["outputs"].values()
        for item in output.get("images", [])
        if prompt_saves(prompt, item["filename"])
    )
    if made.suffix == ".png":
        return Image.open(made).convert("RGB")
    (read,) = (node for node in prompt.values() if node["class_type"] in READERS)
    clip = prompt[read["inputs"]["video"][0]]["inputs"]["file"]
    before, after = (read_frames(path)[0] for path in (server.base / "input" / clip, made))
    if len(after) <= LONG:
        return place_side_by_side(before[len(after) // 2], after[len(after) // 2])
    chosen = [round(part * (len(after) - 1) / (SHOWN - 1)) for part in range(SHOWN)]
    return grid([[frames[number] for number in chosen] for frames in (before, after)])


def prompt_saves(prompt: dict, name: str) -> bool:
    """Whether a file is the graph's result: its video, or for a preview of frames its sheet."""
    videos = any(node["class_type"] == "SaveVideo" for node in prompt.values())
    return name.endswith(".mp4" if videos else ".png")


def grid(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows, with white gaps."""
    width, height = (side + GAP for side in rows[0][0].size)
    sheet = Image.new("RGB", (len(rows[0]) * width - GAP, len(rows) * height - GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(image, (x * width, y * height))
    return sheet


def save(image: Image.Image, path: Path, small_print: bool) -> None:
    """Write a .jpg of WIDTH pixels, with a line of small print at the bottom if it is to be."""
    image = image.resize(
        (WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS
    )
    if small_print:
        font = ImageFont.load_default(18)
        pen = ImageDraw.Draw(image)
        box = pen.textbbox((8, image.height - 30), SMALL_PRINT, font=font)
        pen.rectangle((0, box[1] - 6, box[2] + 8, image.height), fill="white")
        pen.text((8, image.height - 30), SMALL_PRINT, font=font, fill="black")
    image.save(path, quality=QUALITY, optimize=True, progressive=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="API graphs, without .json; all if none is given")
    names = parser.parse_args().names or sorted(path.stem for path in API.glob("*.json"))
    try:
        with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
            provide_clips(TestPlaces(folder=Path(folder)))
            write_lora(server.base / "models")
            for name in names:
                prompt = read(API, name)
                target = REPO_ROOT / "workflows" / f"{read(LAYOUTS, name)['title']}.jpg"
                save(picture(server, small_graph(prompt)), target, prompt != small_graph(prompt))
                print(f"{target}: {json.dumps(target.stat().st_size)} bytes", flush=True)
    except pytest.exit.Exception as stop:
        sys.exit(stop.msg)


if __name__ == "__main__":
    main()
