"""SAMA Compare's player in a real browser: are all frames presented, and do both clips keep step?

    python -m benchmarks.compare_player --json compare_player.json

Needs ComfyUI, playwright and Chromium, as the browser tests do; without a graphics card Chromium
decodes and draws on the processor. Two clips of moving colours, whose every frame carries its
number, are compared by the node, and the player loops the film in a node on the canvas, in each of
its views. For every picture that the browser presents, the numbers are read back from what the
player drew.

presented   pictures presented / pictures due in that time. Due is the time that was played, by the
            browser's clock, times the rate
apart       the greatest distance, in frames, between what the source and what the edit showed
shown late  the greatest distance between the frame the player names and the one it shows

Idle cores matter: `load` is the machine's load average before and after.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from benchmarks.report import check_folder, check_least, describe_run, finish

WIDTH, HEIGHT, COUNT, RATE = 832, 480, 81, 16
SQUARE = 32
"""Pixels of a square that stands for a bit of a frame's number."""
BITS = 8
EDIT = 100
"""The number of the edit's first frame."""
VIEWS = ("wipe", "side", "difference", "flip")
SEED = 0
GRAPH = {
    "1": {"class_type": "LoadVideo", "inputs": {"file": "source.mp4"}},
    "2": {"class_type": "LoadVideo", "inputs": {"file": "edit.mp4"}},
    "3": {
        "class_type": "SAMACompare",
        "inputs": {
            "edit": ["2", 0],
            "source": ["1", 0],
            "layout": "side by side",
            "position": 0.5,
            "fps": 0.0,
        },
    },
}
FIND = """async () => {
    const loaded = performance.getEntriesByType("resource").map(entry => entry.name)
    const module = loaded.find(name => name.endsWith("/compare/player.js"))
    window.players = (await import(module)).players
}"""
PLAY = """async ([view, seconds, square, bits]) => {
    const [player] = players, { film } = player, { whole } = player.picture
    player.setMode(view)
    const look = document.createElement("canvas")
    look.width = square * bits
    look.height = 1
    const pen = look.getContext("2d", { willReadFrequently: true })
    const read = side => {
        const [left, top] = film.placeOf(side)
        pen.drawImage(whole, left, top + square / 2, look.width, 1, 0, 0, look.width, 1)
        const { data } = pen.getImageData(0, 0, look.width, 1)
        let number = 0
        for (let bit = 0; bit < bits; bit += 1)
            number = 2 * number + (data[4 * (bit * square + square / 2)] > 128)
        return number
    }
    const seen = []
    const draw = player.draw.bind(player)
    player.draw = () => {
        draw()
        if (film.playing) seen.push([performance.now(), film.index, read("source"), read("edit")])
    }
    film.play()
    await new Promise(done => setTimeout(done, 1000))
    const before = film.video.getVideoPlaybackQuality()
    seen.length = 0
    const begun = performance.now()
    await new Promise(done => setTimeout(done, 1000 * seconds))
    const played = (performance.now() - begun) / 1000
    const after = film.video.getVideoPlaybackQuality()
    const taken = seen.slice()
    film.pause()
    delete player.draw
    return { played, taken, dropped: after.droppedVideoFrames - before.droppedVideoFrames }
}"""


def write_numbered(path: Path, first: int) -> None:
    """A film of moving colours; the squares in its top row are the bits of each frame's number."""
    generator = np.random.default_rng(SEED)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    phases = generator.uniform(0, 2 * np.pi, 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": "14"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(COUNT):
            waves = [
                np.sin(columns / 40 + rows / 60 + number / 5 + phase) * 60 + 128 for phase in phases
            ]
            picture = np.stack(waves, -1).astype(np.uint8)
            bits = [first + number >> place & 1 for place in range(BITS - 1, -1, -1)]
            picture[:SQUARE, : SQUARE * BITS] = np.repeat(bits, SQUARE)[None, :, None] * 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def judge(run: dict) -> dict:
    """What one view's pictures say; `run` is what `PLAY` gives."""
    frames = [taken[1] for taken in run["taken"]]
    changes = sum(one != other for one, other in pairwise(frames))
    return {
        "seconds": round(run["played"], 2),
        "presented": round(changes / (run["played"] * RATE), 4),
        "apart": max(abs(edit - EDIT - source) for _, _, source, edit in run["taken"]),
        "shown_late": max(
            min((frame - source) % COUNT, (source - frame) % COUNT)
            for _, frame, source, _ in run["taken"]
        ),
        "dropped_by_the_browser": run["dropped"],
    }


@contextmanager
def open_player(nodes_2: bool, folder: Path) -> Iterator[object]:
    """The canvas with a player that shows its film."""
    from tests.harness.browser import browsing, open_canvas
    from tests.harness.server import running_server

    with running_server(folder) as server:
        write_numbered(server.base / "input" / "source.mp4", 0)
        write_numbered(server.base / "input" / "edit.mp4", EDIT)
        with browsing(server) as browser, open_canvas(browser, server, nodes_2) as canvas:
            canvas.open_api(GRAPH)
            canvas.queue_and_wait()
            canvas.evaluate(FIND)
            canvas.wait_until("() => [...players][0].film?.ready")
            canvas.fit()
            yield canvas


def measure(asked: argparse.Namespace) -> dict:
    """Play every view, in either style of nodes."""
    load, found, browser = os.getloadavg(), {}, ""
    for style, nodes_2 in (("classic", False), ("nodes 2.0", True)):
        with tempfile.TemporaryDirectory() as folder, open_player(nodes_2, Path(folder)) as canvas:
            browser = canvas.page.context.browser.version
            found[style] = {
                view: judge(
                    canvas.evaluate(
                        PLAY,
                        [view, asked.seconds, SQUARE, BITS],
                        f"{asked.seconds} s of {view}",
                        asked.seconds + 60,
                    )
                )
                for view in asked.views
            }
    packages = ("playwright", "comfyui-frontend-package", "av")
    return {
        "ran": describe_run(
            *packages,
            seed=SEED,
            seconds=asked.seconds,
            clip={"width": WIDTH, "height": HEIGHT, "frames": COUNT, "fps": RATE},
            chromium=browser,
            load={"before": load, "after": os.getloadavg()},
        ),
        "views": found,
    }


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="of every view; default 60")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=["wipe"], help="default wipe")
    parser.add_argument("--json", type=Path, help="also write the report here")
    asked = parser.parse_args(arguments)
    check_least(asked, seconds=1)
    check_folder("--json", asked.json)
    finish(measure(asked), asked.json)


if __name__ == "__main__":
    main(sys.argv[1:])
