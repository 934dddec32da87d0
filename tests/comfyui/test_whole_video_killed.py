"""A server that is killed three times while it edits 20 s of video: as it samples, as it decodes,
and before the result is saved. The fourth run's file is that of a run that nothing broke off.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.whole_video import JOBS, edit_graph, read_packets

from ..harness.dying_server import ask, run_until_dead
from ..harness.server import ComfyServer, running_server
from ..harness.write_clip import write_clip

SIDE, FPS, SECONDS, RATE = 128, 24, 20, 44_100
COUNT = FPS * SECONDS


def picture(number: int) -> np.ndarray:
    """A circle that wanders over a light ground."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    x, y = 64 + 40 * np.cos(number / 30), 64 + 40 * np.sin(number / 47)
    frame = np.full((SIDE, SIDE, 3), 200, np.uint8)
    frame[(rows - y) ** 2 + (columns - x) ** 2 < 400] = (40, 60, 220)
    return frame


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    source = folder / "base" / "input" / "clip.mp4"
    source.parent.mkdir(parents=True)
    times = torch.arange(SECONDS * RATE) / RATE
    waves = torch.stack([(times * 440 * 6.2832).sin(), (times * 660 * 6.2832).sin()])[None] / 3
    sound = {"waveform": waves, "sample_rate": RATE}
    write_clip(source, map(picture, range(COUNT)), Fraction(FPS), sound)
    return folder


def graph(prefix: str, keep: bool) -> dict:
    return edit_graph(keep, prefix, steps=1, segment_frames=129)


def edit_until(server: ComfyServer, pattern: str, count: int) -> None:
    """Edit until the server has killed itself, with `count` files of `pattern` in its job."""
    run_until_dead(server, graph("broken", keep=True), pattern, count)


def kept(home: Path) -> tuple[int, int, int]:
    """How many segments and pieces jobs have, and how many results."""
    patterns = ("segments/0*", "pieces/0*", "edit.mp4")
    return tuple(len(list((home / "base" / JOBS).glob(f"*/{one}"))) for one in patterns)


def saved(server: ComfyServer, prefix: str) -> Path:
    (path,) = (server.base / "output").glob(f"{prefix}_0*.mp4")
    return path


def test_killed_three_times_and_finished(home):
    """Of five segments and four pieces."""
    ask(home / "base")
    with running_server(home) as server:
        entry = server.run(graph("unbroken", keep=False))
        assert entry["status"]["status_str"] == "success", entry["status"]
        expected = saved(server, "unbroken")
        assert kept(home) == (0, 0, 0), "cleared when it was saved"
        edit_until(server, "segments/0*", 3)
    assert kept(home) == (3, 0, 0)
    with running_server(home) as server:
        edit_until(server, "pieces/0*", 2)
    assert kept(home) == (5, 2, 0)
    with running_server(home) as server:
        edit_until(server, "edit.mp4", 1)
        assert "encoding the source took" not in server.log, "nothing was sampled again"
    assert kept(home)[2] == 1
    ask(home / "base")
    with running_server(home) as server:
        entry = server.run(graph("broken", keep=False))
        assert entry["status"]["status_str"] == "success", entry["status"]
        assert "decoding took" not in server.log, "the result was there"
        found = saved(server, "broken")
    source = read_packets(home / "base" / "input" / "clip.mp4")
    assert read_packets(found) == read_packets(expected)
    assert [one[:3] for one in read_packets(found)] == [one[:3] for one in source]
    assert [one for one in read_packets(found) if one[0] == "audio"] == [
        one for one in source if one[0] == "audio"
    ]
    assert sum(one[0] == "video" for one in source) == COUNT
    results = set((home / "base" / "output").glob("[!.]*"))
    assert results == {expected, found}, "what a killed save had begun has a hidden name"
    jobs = home / "base" / JOBS
    assert not jobs.exists() or not list(jobs.iterdir())
