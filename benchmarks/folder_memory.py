"""What a list of clips takes of a server's memory: all clips in one run, or one clip a run.

    python -m benchmarks.folder_memory --json folder_memory.json

SAMA Clip Folder → SAMA Source Video → SAMA Finish Video → Save Video on a real ComfyUI, every clip
fitted pixel by pixel, nothing edited. `peak` is the server's largest resident memory during the
runs, above what it held before them; `frames` is what the fitted frames of one clip are. A fresh
server for each case.

in one run    count 0: the list has all clips
one a run     count 1, and start 0, 1, 2 …, queued one after the other
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from benchmarks.comfyui import find, running_server
from benchmarks.edit import GivenPython
from benchmarks.report import check_folder, describe_run, finish
from benchmarks.sample_clip import make_clip
from benchmarks.soak.clients import Editor
from benchmarks.soak.watch import Place
from sama_core.launch.setup.comfyui_source import ComfyUI

WIDTH, HEIGHT, SECONDS, FRAMES = 480, 272, 4, 81
CLIPS = (1, 2, 4, 8)


def folder_graph(start: int, count: int) -> dict:
    """The graph of a part of the folder."""
    part = {"folder": "shots", "start": start, "count": count, "subfolders": False}
    source = {"frames": FRAMES, "start": 0, "stride": 1, "area": 0, "fps": 24.0, "fit": "keep size"}
    save = {"video": ["3", 0], "filename_prefix": ["1", 1], "format": "auto", "codec": "auto"}
    return {
        "1": {"class_type": "SAMAClipFolder", "inputs": part},
        "2": {"class_type": "SAMASourceVideo", "inputs": {"video": ["1", 0], **source}},
        "3": {
            "class_type": "SAMAFinishVideo",
            "inputs": {"frames": ["2", 0], "clip_info": ["2", 1], "audio": ["2", 2]},
        },
        "4": {"class_type": "SaveVideo", "inputs": save},
    }


def measure(comfyui: ComfyUI, clips: int, parts: list[tuple[int, int]]) -> dict:
    """Bytes that the runs of these parts, `(start, count)`, take of a server with so many clips."""
    with tempfile.TemporaryDirectory() as folder:
        places = GivenPython(folder=Path(folder))
        shots = places.base / "input" / "shots"
        shots.mkdir(parents=True)
        make_clip(shots / "0.mp4", WIDTH, HEIGHT, SECONDS)
        for number in range(1, clips):
            shutil.copyfile(shots / "0.mp4", shots / f"{number}.mp4")
        with running_server(places, comfyui) as server:
            place = Place(server.url, server.process.pid, places.base)
            editor, before = Editor(place, Path(folder)), place.memory()["rss"]
            for part in parts:
                entry = editor.wait(editor.client.queue(folder_graph(*part)))
                if entry["status"]["status_str"] != "success":
                    raise RuntimeError(entry["status"])
            saved = len(list((places.base / "output").glob("*.mp4")))
            return {"saved": saved, "peak": place.memory()["peak"] - before}


def main(arguments: list[str] | None = None) -> None:
    """Measure all cases and finish the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comfyui", metavar="DIR", help="as run.py finds it by default")
    parser.add_argument("--json", type=Path, help="write the result there too")
    asked = parser.parse_args(arguments)
    check_folder("--json", asked.json)
    comfyui = find(asked.comfyui)
    frames = FRAMES * WIDTH * HEIGHT * 3 * 4
    ran = describe_run("av", clip=[FRAMES, WIDTH, HEIGHT], frames=frames)
    one_run = {str(count): measure(comfyui, count, [(0, 0)]) for count in CLIPS}
    one_each = measure(comfyui, CLIPS[-1], [(number, 1) for number in range(CLIPS[-1])])
    finish({"ran": ran, "in one run": one_run, "one a run": {CLIPS[-1]: one_each}}, asked.json)


if __name__ == "__main__":
    main()
