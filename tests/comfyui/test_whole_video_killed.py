"""A server that is killed three times while it edits 40 s of video: as it samples, as it decodes,
and before the result is saved. The fourth run's file is that of a run that nothing broke off.
"""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.whole_video import JOBS, edit_graph, read_packets

from ..harness.server import ComfyServer, running_server
from ..harness.write_clip import write_clip

SIDE, FPS, SECONDS, RATE = 128, 24, 40, 44_100
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


def kill(server: ComfyServer, reached: Callable[[Path], bool]) -> None:
    """Kill the server as soon as its jobs' folder looks so."""
    until = time.monotonic() + 400
    while not reached(server.base / JOBS):
        assert server.process.alive() and time.monotonic() < until, server.log[-3000:]
        time.sleep(0.002)
    server.process.process.kill()
    server.process.process.wait()


def count(pattern: str) -> Callable[[Path], int]:
    return lambda folder: sum(1 for _ in folder.glob(f"*/{pattern}"))


SEGMENTS, PIECES, RESULTS = count("segments/0*"), count("pieces/0*"), count("edit.mp4")


def saved(server: ComfyServer, prefix: str) -> Path:
    (path,) = (server.base / "output").glob(f"{prefix}_0*.mp4")
    return path


def test_killed_three_times_and_finished(home):
    with running_server(home) as server:
        entry = server.run(graph("unbroken", keep=False), timeout=400)
        assert entry["status"]["status_str"] == "success", entry["status"]
        expected = saved(server, "unbroken")
        assert RESULTS(server.base / JOBS) == 0, "cleared when it was saved"
        server.client.queue(graph("broken", keep=True))
        kill(server, lambda jobs: SEGMENTS(jobs) >= 3)
    jobs = home / "base" / JOBS
    assert 3 <= SEGMENTS(jobs) < 9 and PIECES(jobs) == 0
    with running_server(home) as server:
        server.client.queue(graph("broken", keep=True))
        kill(server, lambda jobs: PIECES(jobs) >= 3)
    assert SEGMENTS(jobs) == 9 and 3 <= PIECES(jobs) < 8 and RESULTS(jobs) == 0
    with running_server(home) as server:
        server.client.queue(graph("broken", keep=True))
        kill(server, lambda jobs: RESULTS(jobs) == 1)
        assert "encoding the source took" not in server.log, "nothing was sampled again"
    with running_server(home) as server:
        entry = server.run(graph("broken", keep=False), timeout=400)
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
    assert not jobs.exists() or not list(jobs.iterdir())
