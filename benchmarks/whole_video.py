"""What SAMA Edit Whole Video takes of a server's memory at two lengths of one clip, and that a long
one which is killed three times comes out whole.

    python -m benchmarks.whole_video --case small    256x256, 10 s and 10 min
    python -m benchmarks.whole_video --case large    1920x1080, 10 s and 2 min

SAMA-Shapes at 1024 pixels of working area, two steps, cfg 1, on a real ComfyUI on the CPU; the clip
has 24 frames a second and sound. `peak` is the server's largest resident memory above what it held
before the edit; a fresh server for each length. The longer one is then edited again, and its server
killed as it samples, as it decodes, and before the result is saved. `same` says that the file is
that of the run that was not killed, `whole` that times and sound are the source's.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av

from benchmarks.comfyui import find, running_server
from benchmarks.edit import GivenPython
from benchmarks.report import check_folder, describe_run, finish
from benchmarks.sample_clip import make_clip
from benchmarks.soak.clients import Editor
from benchmarks.soak.watch import Place
from sama_core import embedded
from sama_core.launch.setup.comfyui_source import ComfyUI

CASES = {"small": (256, 256, (10, 600)), "large": (1920, 1080, (10, 120))}
"""Name → width, height, the two lengths in seconds."""
STEPS, SEGMENT, AREA, SEED = 2, 81, 32 * 32, 1
LIMIT = 6 * 3600
"""Seconds that an edit may take."""
JOBS = "user/sama_whole_videos"
KILLS = {
    "sampling": lambda jobs: len(list(jobs.glob("*/segments/0*"))) >= 2,
    "decoding": lambda jobs: len(list(jobs.glob("*/pieces/0*"))) >= 2,
    "saving": lambda jobs: bool(list(jobs.glob("*/edit.mp4"))),
}
"""When the server is killed: what its jobs' folder looks like."""


def edit_graph(keep: bool, prefix: str = "whole", **changes: object) -> dict:
    """Load Video → SAMA Edit Whole Video → Save Video; `changes` are of the edit's inputs."""

    def node(kind: str, **inputs: object) -> dict:
        return {"class_type": kind, "inputs": inputs}

    settings = {
        "instruction": "make the circle red", "seed": SEED, "steps": STEPS, "cfg": 1.0,
        "shift": 5.0, "sampler_name": "euler", "segment_frames": SEGMENT, "overlap_frames": 16,
        "anchor_colours": True, "frames": 0, "start": 0, "stride": 1, "area": AREA,
        "edit_tag": True, "tiling": "automatic", "crf": 17.0, "keep_segments": keep,
    }  # fmt: skip
    parts = {"model": ["1", 0], "clip": ["2", 0], "vae": ["3", 0], "video": ["4", 0]}
    save = {"filename_prefix": prefix, "format": "auto", "codec": "auto"}
    return {
        "1": node("SAMALoadModel", model_name=embedded.DIT.name, weight_dtype="default"),
        "2": node("SAMALoadTextEncoder", text_encoder_name=embedded.TEXT_ENCODER.name),
        "3": node("SAMALoadVAE", vae_name=embedded.VAE.name),
        "4": node("LoadVideo", file="clip.mp4"),
        "5": node("SAMAEditWholeVideo", **parts, **settings | changes),
        "6": node("SaveVideo", video=["5", 0], **save),
    }


class Home:
    """A folder with a clip, on which servers are started."""

    def __init__(self, comfyui: ComfyUI, folder: Path, width: int, height: int, seconds: int):
        self.comfyui, self.folder = comfyui, folder
        self.places = GivenPython(folder=folder)
        self.source = self.places.base / "input" / "clip.mp4"
        self.source.parent.mkdir(parents=True)
        make_clip(self.source, width, height, seconds)

    def edit(self, keep: bool = False) -> tuple[Path, dict]:
        """Edit on a fresh server → the saved file, and what it took."""
        before = set((self.places.base / "output").glob("whole_*"))
        with running_server(self.places, self.comfyui) as server:
            place = Place(server.url, server.process.pid, self.places.base)
            editor, held = Editor(place, self.folder), place.memory()["rss"]
            begun = time.monotonic()
            entry = editor.wait(editor.client.queue(edit_graph(keep)), LIMIT)
            if entry["status"]["status_str"] != "success":
                raise RuntimeError(entry["status"])
            took = {
                "seconds": round(time.monotonic() - begun, 1),
                "peak": place.memory()["peak"] - held,
            }
        (path,) = set((self.places.base / "output").glob("whole_*")) - before
        return path, took

    def kill_when(self, reached: Callable[[Path], bool]) -> None:
        """Start to edit, and kill the server as soon as its jobs' folder looks so."""
        with running_server(self.places, self.comfyui) as server:
            place = Place(server.url, server.process.pid, self.places.base)
            Editor(place, self.folder).client.queue(edit_graph(keep=True))
            while not reached(self.places.base / JOBS):
                if not server.alive():
                    raise RuntimeError("the server ended by itself")
                time.sleep(0.005)
            server.process.kill()
            server.process.wait()


def read_packets(path: Path) -> list[tuple]:
    """Kind, time and length in seconds, and bytes of every packet, sorted."""
    with av.open(str(path)) as container:
        return sorted(
            (
                packet.stream.type,
                packet.pts * packet.time_base,
                packet.duration * packet.time_base,
                bytes(packet),
            )
            for packet in container.demux()
            if packet.size
        )


def measure(comfyui: ComfyUI, width: int, height: int, seconds: int, kill: bool) -> dict:
    """One length: memory and time; whether the file is whole, and the same after three kills."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(comfyui, Path(folder), width, height, seconds)
        path, took = home.edit()
        source, made = read_packets(home.source), read_packets(path)
        took["frames"] = sum(kind == "video" for kind, *_ in source)
        print(f"not killed: {took}", flush=True)
        took["whole"] = [one[:3] for one in made] == [one[:3] for one in source] and [
            one for one in made if one[0] == "audio"
        ] == [one for one in source if one[0] == "audio"]
        if kill:
            for reached in KILLS.values():
                home.kill_when(reached)
            again, rest = home.edit()
            took |= {"same": read_packets(again) == made, "seconds after kills": rest["seconds"]}
        return took


def main(arguments: list[str] | None = None) -> None:
    """Measure both lengths and finish the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, default="small")
    parser.add_argument("--seconds", type=int, nargs=2, help="other lengths than the case's")
    parser.add_argument("--comfyui", metavar="DIR", help="as run.py finds it by default")
    parser.add_argument("--json", type=Path, help="write the result there too")
    asked = parser.parse_args(arguments)
    check_folder("--json", asked.json)
    comfyui = find(asked.comfyui)
    width, height, lengths = CASES[asked.case]
    settings = {"steps": STEPS, "segment": SEGMENT, "area": AREA, "seed": SEED}
    ran = describe_run("av", size=[width, height], **settings)
    short, long = asked.seconds or lengths
    found = {}
    for seconds in (short, long):
        found[f"{seconds} s"] = measure(comfyui, width, height, seconds, kill=seconds == long)
        print(f"{seconds} s: {found[f'{seconds} s']}", flush=True)
    growth = found[f"{long} s"]["peak"] - found[f"{short} s"]["peak"]
    finish({"ran": ran, **found, "growth in MB": round(growth / 1e6, 1)}, asked.json)


if __name__ == "__main__":
    main()
