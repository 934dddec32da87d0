"""The clips of a soak, the edit that is asked of each, and the check of a result.

SAMA-Shapes, one step at cfg 1. Sizes and lengths change from edit to edit, and one clip has sound.
"""

import shutil
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from benchmarks.own_process import ROOT
from benchmarks.sample_clip import draw_pattern, make_clip
from sama_core.launch.server.workflow import EDITOR, load_workflow, set_inputs

INSTRUCTION = "make the circle red"
RATE = Fraction(12)
SETTINGS = {"steps": 1, "cfg": 1.0}


@dataclass(frozen=True)
class Case:
    """A clip and its edit."""

    frames: int
    """Frames that are edited."""
    width: int
    """Pixels of the clip, as of the result."""
    height: int
    """Pixels of the clip, as of the result."""
    seed: int
    """Of the edit."""
    sound: bool = False
    """Whether the clip has a track, and more frames than are edited."""

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.frames}x{self.width}x{self.height}"

    def clip(self, folder: Path) -> Path:
        """The file of the clip in a folder."""
        return folder / f"{self.name}.mp4"

    def result(self, folder: Path) -> Path:
        """The file of the right result in a folder."""
        return folder / f"{self.name}_right.mp4"


CASES = (
    Case(5, 64, 64, 1),
    Case(17, 128, 72, 2),
    Case(9, 96, 160, 3),
    Case(6, 192, 108, 4, sound=True),
    Case(13, 64, 96, 5),
    Case(1, 256, 144, 6),
)


def write_clips(folder: Path, cases: tuple[Case, ...] = CASES) -> None:
    """The clips of these cases; those that are there are kept."""
    for case in cases:
        target = case.clip(folder)
        if target.exists():
            continue
        partial = target.with_suffix(".part.mp4")
        if case.sound:
            make_clip(partial, case.width, case.height, 2)
        else:
            _write_silent(partial, case)
        partial.replace(target)


def edit_graph(case: Case, file: str, prefix: str) -> dict:
    """The graph of `run.py edit` for a clip that the server has under this name."""
    graph = load_workflow(ROOT)
    set_inputs(graph, "LoadVideo", file=file)
    asked = {"instruction": INSTRUCTION, "seed": case.seed, "frames": case.frames, **SETTINGS}
    set_inputs(graph, EDITOR, **asked)
    set_inputs(graph, "SaveVideo", filename_prefix=prefix)
    return graph


def compare(case: Case, result: Path, right: Path) -> dict:
    """What a result is, and whether it is right: count, size, pixels and sound.

    `farthest` is the largest difference of a pixel's level, of 255; None where shapes differ.
    """
    (frames, sound), (expected, expected_sound) = read_all(result), read_all(right)
    shape_right = frames.shape == (case.frames, case.height, case.width, 3)
    farthest = None
    if frames.shape == expected.shape:
        farthest = int(np.abs(frames.astype(np.int16) - expected).max())
    return {
        "case": case.name,
        "shape": list(frames.shape),
        "farthest": farthest,
        "sound": sound,
        "right": shape_right and farthest == 0 and sound == expected_sound,
    }


def read_all(path: Path) -> tuple[np.ndarray, int]:
    """All frames of a file as (F, H, W, 3) uint8, and the bytes of its sound."""
    with av.open(str(path)) as container:
        frames = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = (
            sum(packet.size for packet in container.demux(audio=0))
            if container.streams.audio
            else 0
        )
    return np.stack(frames), sound


def describe_cases(cases: tuple[Case, ...] = CASES) -> list[dict]:
    """For the result's file."""
    return [asdict(case) for case in cases]


def copy_clip(case: Case, folder: Path, name: str) -> Path:
    """A copy of a case's clip under a name of its own: ComfyUI runs what it has not run before."""
    return Path(shutil.copyfile(case.clip(folder), folder / name))


def _write_silent(path: Path, case: Case) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "14"})
        stream.width, stream.height, stream.pix_fmt = case.width, case.height, "yuv420p"
        for picture in islice(draw_pattern(case.width, case.height), case.frames):
            picture.pts = None
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
