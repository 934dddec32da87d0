"""`benchmarks/clip_io.py` on small clips; the memory that a range of a long 1080p clip takes."""

import json
import os

import av
import numpy as np
import pytest

from benchmarks import clip_io as bench
from benchmarks import sample_clip
from sama_core.clip import ClipRange, FileSource


def test_the_clip_is_as_long_as_asked(tmp_path):
    sample_clip.make_clip(tmp_path / "clip.mp4", 96, 64, 6)
    facts = FileSource(str(tmp_path / "clip.mp4")).facts()
    assert (facts.width, facts.height, facts.fps, facts.frame_count) == (96, 64, 24, 144)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert abs(container.duration / av.time_base - 6) < 0.1
    numbers = [
        round(picture.time * 24)
        for picture in bench.read_pictures(tmp_path / "clip.mp4", ClipRange(70, 5))
    ]
    assert numbers == [70, 71, 72, 73, 74]


def test_every_figure_is_taken(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "run_case", lambda case, path, wanted: {"frames": wanted.frames})
    asked = [
        "--width",
        "96",
        "--height",
        "64",
        "--seconds",
        "4",
        "--start",
        "30",
        "--frames",
        "5",
        "--repeats",
        "1",
        "--busy",
    ]
    assert bench.main([*asked, "--json", str(tmp_path / "out.json")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert set(result["memory"]) == set(bench.MEMORY_CASES)
    for load in ("plain", "busy"):
        series = result[load]
        for name in ("one processor", "all processors"):
            ratios = series[name]["fit_per_decode"]
            assert set(ratios) == {"crop to bucket", "stretch"} and min(ratios.values()) > 0
            assert series[name]["fit_frames_per_second"] > 0
        assert series["one processor"]["processors"] == 1
        assert series["save_per_transcode"] > 0
        assert set(series["fit_gain_of_all_processors"]) == {"crop to bucket", "stretch"}


def moving_grain(width, height):
    """Quickly made pictures that are not quickly decoded."""
    pixels = np.random.default_rng(0).integers(
        90, 110, (height // 8, width // 8, 3), dtype=np.uint8
    )
    pixels = np.kron(pixels, np.ones((8, 8, 1), np.uint8))
    for number in range(48):
        picture = av.VideoFrame.from_ndarray(np.roll(pixels, 8 * number, axis=1), format="rgb24")
        picture.pts = number
        yield picture.reformat(format="yuv420p")


@pytest.mark.skipif(
    not os.path.exists("/proc/self/clear_refs"), reason="peak memory is read from Linux' /proc"
)
def test_81_frames_of_a_minute_of_1080p_add_less_than_300_mb(tmp_path, monkeypatch):
    """On top of the frames themselves, which are 388 MB as float32 of 832x480."""
    monkeypatch.setattr(sample_clip, "draw_pattern", moving_grain)
    sample_clip.make_clip(tmp_path / "clip.mp4", 1920, 1080, 60)
    taken = bench.run_case("fit", tmp_path / "clip.mp4", ClipRange(700, 81))
    assert taken["result_mb"] == pytest.approx(388.2, abs=0.1)
    assert taken["added_mb"] < 300


@pytest.mark.skipif(
    not os.path.exists("/proc/self/clear_refs"), reason="peak memory is read from Linux' /proc"
)
def test_saving_takes_no_more_memory_for_a_longer_clip(tmp_path):
    """81 restored frames of 640x360 would be 224 MB."""
    sample_clip.make_clip(tmp_path / "clip.mp4", 640, 360, 6)
    taken = bench.run_case("save three times as long", tmp_path / "clip.mp4", ClipRange(10, 27))
    assert taken["frames"] == 81 and taken["added_mb"] < 100
