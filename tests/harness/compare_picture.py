"""Makes the picture of SAMA Compare in the docs: the node after a real edit, in two of its views.

    python -m tests.harness.compare_picture docs/compare.jpg

Run from the repository root. The edit is the one in `workflows/api/simple_edit.json`.
"""

import argparse
import io
import json
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from sama_core import embedded

from .browser import Canvas, browsing, open_canvas
from .imports import REPO_ROOT
from .server import running_server

GRAPH = REPO_ROOT / "workflows" / "api" / "simple_edit.json"
VIEWS = ("Wipe", "Difference")
FRAME = 4
GAP = 10
QUALITY = 88
PLAYER = ".sama-compare"
SHOWS = """frame => document.querySelector(".sama-compare-readout")?.textContent
    .startsWith(`frame ${frame} /`)"""

NEAR = """() => {
    const node = app.graph.nodes.find(node => node.comfyClass === "SAMACompare")
    node.setSize([480, 620])
    app.canvas.ds.scale = 1.2
    app.canvas.ds.offset = [100 - node.pos[0], 60 - node.pos[1]]
    app.canvas.setDirty(true, true)
}"""


def take_views(canvas: Canvas) -> list[Image.Image]:
    """The player in each of the VIEWS, at the same frame."""
    canvas.wait_until(SHOWS, 0, "the film in the player")
    canvas.evaluate(NEAR)
    canvas.page.locator(f"{PLAYER}-stage").focus()
    for _ in range(FRAME):
        canvas.page.keyboard.press("ArrowRight")
    canvas.wait_until(SHOWS, FRAME)
    taken = []
    for view in VIEWS:
        canvas.page.get_by_role("button", name=f"Show as: {view}").click()
        canvas.page.mouse.move(0, 0)
        picture = canvas.page.locator(PLAYER).screenshot()
        taken.append(Image.open(io.BytesIO(picture)).convert("RGB"))
    return taken


def join(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size in a row."""
    width, height = pictures[0].size
    row = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for number, picture in enumerate(pictures):
        row.paste(picture, (number * (width + GAP), 0))
    return row


def main() -> None:
    """Run the edit, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    target = parser.parse_args().picture
    prompt = {
        key: node
        for key, node in json.loads(GRAPH.read_text(encoding="utf-8")).items()
        if node["class_type"] != "SaveVideo"
    }
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        shutil.copyfile(embedded.CLIP, server.base / "input" / embedded.CLIP.name)
        with browsing(server) as browser, open_canvas(browser, server, nodes_2=True) as canvas:
            canvas.open_api(prompt)
            canvas.queue_and_wait()
            join(take_views(canvas)).save(target, quality=QUALITY)


if __name__ == "__main__":
    main()
