"""A real server kills itself twice during a long edit; the third run finishes the clip from its
store.

The clip is 8 s of 640x360 at 24000/1001 frames per second with sound, made here; the model is the
pack's own.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from sama_core import embedded

from ..harness.dying_server import ask, run_until_dead
from ..harness.server import running_server
from ..harness.write_clip import write_clip

WIDTH, HEIGHT, SECONDS = 640, 360, 8
FPS = Fraction(24000, 1001)
COUNT = int(SECONDS * FPS)
RATE = 44_100
SEGMENTS = 9
KILLS_AT = (2, 5)
"""Kept segments at which the server kills itself."""


def picture(number: int) -> np.ndarray:
    """A light square that wanders over a dark ground."""
    frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    left, top = 60 + (number * 3) % 400, 50 + number % 200
    frame[top : top + 100, left : left + 100] = (60, 90, 230)
    return frame


def sound() -> dict:
    times = torch.arange(int(COUNT / FPS * RATE)) / RATE
    return {
        "waveform": torch.stack([(times * 440 * 6.2832).sin(), (times * 660 * 6.2832).sin()])[None]
        * 0.3,
        "sample_rate": RATE,
    }


def graph() -> dict:
    return {
        "1": {
            "class_type": "SAMALoadModel",
            "inputs": {"model_name": embedded.DIT.name, "weight_dtype": "default"},
        },
        "2": {
            "class_type": "SAMALoadTextEncoder",
            "inputs": {"text_encoder_name": embedded.TEXT_ENCODER.name},
        },
        "3": {"class_type": "SAMALoadVAE", "inputs": {"vae_name": embedded.VAE.name}},
        "4": {"class_type": "LoadVideo", "inputs": {"file": "long.mp4"}},
        "5": {
            "class_type": "SAMASourceVideo",
            "inputs": {
                "video": ["4", 0],
                "model": ["1", 0],
                "frames": 0,
                "start": 0,
                "stride": 1,
                "area": 0,
                "fps": 24.0,
            },
        },
        "6": {
            "class_type": "SAMALongEdit",
            "inputs": {
                "model": ["1", 0],
                "clip": ["2", 0],
                "vae": ["3", 0],
                "frames": ["5", 0],
                "instruction": "make the square red",
                "seed": 1,
                "steps": 2,
                "cfg": 1.0,
                "shift": 5.0,
                "sampler_name": "euler",
                "segment_frames": 33,
                "overlap_frames": 12,
                "anchor_colours": True,
                "keep_segments": True,
                "edit_tag": True,
                "tiling": "automatic",
            },
        },
        "7": {
            "class_type": "SAMAFinishVideo",
            "inputs": {"frames": ["6", 0], "clip_info": ["5", 1], "audio": ["5", 2]},
        },
        "8": {
            "class_type": "SaveVideo",
            "inputs": {
                "video": ["7", 0],
                "filename_prefix": "video/long",
                "format": "auto",
                "codec": "auto",
            },
        },
    }


def kept(base: Path) -> set[str]:
    return {path.name for path in base.rglob("sama_segments/*.safetensors")}


def killed_at(folder: Path, count: int) -> tuple[set[str], str]:
    """Run the graph on a server that kills itself → what is kept then, and the server's log."""
    ask(folder / "base")
    with running_server(folder) as server:
        run_until_dead(server, graph(), "sama_segments/*.safetensors", count)
        return kept(server.base), server.log


def facts(path: Path) -> dict:
    """Size, rate, frame times and sound of a file."""
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        times = sorted(
            packet.pts * packet.time_base
            for packet in container.demux(video)
            if packet.pts is not None
        )
        return {
            "size": (video.codec_context.width, video.codec_context.height),
            "rate": video.average_rate,
            "times": [time - times[0] for time in times],
            "layout": audio.codec_context.layout.name,
            "sample_rate": audio.codec_context.sample_rate,
            "sound": packets(path),
        }


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [
            bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size
        ]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    source = folder / "base" / "input" / "long.mp4"
    source.parent.mkdir(parents=True)
    write_clip(source, (picture(number) for number in range(COUNT)), FPS, sound())
    return folder


def test_killed_twice_and_finished(home):
    seen, _ = killed_at(home, KILLS_AT[0])
    assert len(seen) == KILLS_AT[0] < SEGMENTS
    more, log = killed_at(home, KILLS_AT[1])
    assert seen < more and len(more) == KILLS_AT[1] < SEGMENTS
    assert log.count("was kept") == len(seen)
    ask(home / "base")
    with running_server(home) as server:
        result = server.run(graph(), timeout=900)
        assert result["status"]["status_str"] == "success", result["status"]
        assert server.log.count("was kept") == len(more)
        assert more < kept(server.base) and len(kept(server.base)) == SEGMENTS
        made = result["outputs"]["8"]
        output = server.base / "output" / "video" / _file_name(made)
    source, edited = facts(home / "base" / "input" / "long.mp4"), facts(output)
    assert edited["size"] == (WIDTH, HEIGHT) and edited["rate"] == FPS
    assert len(edited["times"]) == COUNT and edited["times"] == source["times"]
    assert (edited["layout"], edited["sample_rate"]) == (source["layout"], source["sample_rate"])
    assert edited["sound"] == source["sound"]


def _file_name(outputs: dict) -> str:
    return next(
        item["filename"] for items in outputs.values() for item in items if isinstance(item, dict)
    )


def test_nothing_half_written_is_left(home):
    assert not list(home.rglob("*.part"))
    assert not [path for path in (home / "base" / "output").rglob(".*") if path.is_file()]
