"""The picture of SAMA Drafts in the documentation: the node with its sheet, and one draft picked.

    python -m tests.harness.drafts_picture docs/drafts.jpg

Run from the repository root. ComfyUI's own frontend draws it, with Nodes 2.0.
"""

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from sama_core import embedded

from .browser import browsing, open_canvas
from .imports import REPO_ROOT
from .server import running_server

INSTRUCTIONS = "give the circle a new colour\nchange the background"
CLIP = REPO_ROOT / "workflows" / "moving_shapes.mp4"
NODE, PICKED = "6", 1
SIZE = [640, 1000]
DRAWN = """() => {
    const images = [...document.querySelectorAll(".sama-drafts img")]
    return images.length === 14 && images.every(image => image.naturalWidth)
}"""


def graph() -> dict:
    """Two instructions and six seeds on the clip of the workflows, in API format."""
    parts = {"model": ["1", 0], "clip": ["2", 0], "vae": ["3", 0], "frames": ["5", 0]}
    nodes = {
        "1": ("SAMALoadModel", {"model_name": embedded.DIT.name, "weight_dtype": "default"}),
        "2": ("SAMALoadTextEncoder", {"text_encoder_name": embedded.TEXT_ENCODER.name}),
        "3": ("SAMALoadVAE", {"vae_name": embedded.VAE.name}),
        "4": ("LoadVideo", {"file": CLIP.name}),
        "5": ("SAMASourceVideo", {"video": ["4", 0], "model": ["1", 0], "area": 0}),
        NODE: ("SAMADrafts", {**parts, "instructions": INSTRUCTIONS, "seeds": "1-6"}),
    }
    return {key: {"class_type": kind, "inputs": given} for key, (kind, given) in nodes.items()}


def take(folder: Path) -> bytes:
    """Run the graph on a server of its own, pick a draft, and take the node's picture: PNG."""
    with running_server(folder) as server:
        shutil.copy(CLIP, server.base / "input" / CLIP.name)
        with browsing(server) as browser, open_canvas(browser, server, nodes_2=True) as canvas:
            canvas.page.set_viewport_size({"width": 1100, "height": 1300})
            canvas.open_api(graph(), "drafts")
            canvas.evaluate(
                """([id, size]) => {
                    const node = app.graph.getNodeById(id)
                    node.setSize(size)
                    app.canvas.ds.scale = 1
                    app.canvas.ds.offset = [150 - node.pos[0], 150 - node.pos[1]]
                    app.canvas.setDirty(true, true)
                }""",
                [NODE, SIZE],
            )
            canvas.queue_and_wait()
            canvas.wait_until(DRAWN, what="all drafts")
            canvas.page.locator(".sama-drafts button").nth(PICKED).click()
            canvas.page.mouse.move(1000, 1250)
            canvas.page.wait_for_timeout(2500)  # the message that the job is done goes
            return canvas.page.locator(f'[data-node-id="{NODE}"]').screenshot()


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("picture", type=Path, help="the file to write, .jpg or .png")
    path = options.parse_args(arguments).picture
    with tempfile.TemporaryDirectory(prefix="sama-drafts-") as folder:
        Image.open(io.BytesIO(take(Path(folder)))).convert("RGB").save(path, quality=88)
    print(f"{path}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
