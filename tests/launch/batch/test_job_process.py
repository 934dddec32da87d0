"""The process that reads pictures: its answers, its death in a job, and its end in the middle."""

import io
import os
import threading
from fractions import Fraction

import pytest

from sama_core.launch.batch import job_process
from sama_core.launch.batch.job_process import Closed, JobProcess
from sama_core.launch.progress import LaunchError

from ...harness.moving_shapes import moving_shapes
from ...harness.write_clip import write_clip

NEEDS_FIFO = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")


@pytest.fixture
def pictures(places):
    process = JobProcess(places)
    yield process
    process.close()


@pytest.fixture
def stuck(tmp_path) -> str:
    """A file that nobody can finish reading."""
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    return str(path)


def test_one_process_answers_job_after_job(pictures, tmp_path):
    write_clip(tmp_path / "a.mp4", moving_shapes(5, 64, 48), Fraction(12))
    (tmp_path / "b.mp4").write_text("no video")
    size = pictures.run("size", str(tmp_path / "a.mp4"))
    number = pictures._process.pid
    assert (size["width"], size["height"], size["frames"]) == (64, 48, 5)
    with pytest.raises(LaunchError, match=r"not a video"):
        pictures.run("size", str(tmp_path / "b.mp4"))
    with pytest.raises(
        LaunchError, match=r"^frame b\.mp4: got a file that cannot be read as a pic"
    ):
        pictures.run("join", [str(tmp_path / "b.mp4")], "24", str(tmp_path / "c.nut"))
    assert pictures._process.pid == number


def test_what_a_library_prints_is_no_answer(pictures):
    """As C code does, past Python's own streams."""
    said = io.StringIO('warning\n[1]\n{"done": 1}\n{"answer": {"width": 64}}\n{"answer": 2}\n')
    assert pictures._read_answer(said) == {"answer": {"width": 64}}
    assert pictures._log.read_text() == 'warning\n[1]\n{"done": 1}\n'
    assert pictures._read_answer(io.StringIO('{"answer": 2}')) is None, "half a line"


def test_many_frames_may_take_their_time(pictures, monkeypatch):
    """One of 3840x2160 in 16 bits takes three seconds of a processor."""
    limits = []

    class Ended(Exception):
        pass

    def note(seconds, end):
        limits.append(seconds)
        raise Ended

    monkeypatch.setattr(job_process, "Timer", note)
    for given in (["a.mp4"], [["a.exr"] * 1000, "24", "a.nut"]):
        with pytest.raises(Ended):
            pictures.run("join", *given)
    assert limits == [600, 30_600]


@NEEDS_FIFO
def test_a_job_that_never_ends_is_ended_and_the_next_one_runs(
    pictures, stuck, tmp_path, monkeypatch
):
    monkeypatch.setattr(job_process, "SECONDS", 0.3)
    with pytest.raises(LaunchError, match=r"^size: the process for pictures ended"):
        pictures.run("size", stuck)
    monkeypatch.undo()
    write_clip(tmp_path / "a.mp4", moving_shapes(1, 64, 48), Fraction(12))
    assert pictures.run("size", str(tmp_path / "a.mp4"))["width"] == 64


@NEEDS_FIFO
def test_the_end_of_the_batch_does_not_wait_for_a_job(pictures, stuck):
    ends = []

    def ask():
        try:
            pictures.run("size", stuck)
        except Closed:
            ends.append("closed")

    thread = threading.Thread(target=ask)
    thread.start()
    while pictures._process is None and thread.is_alive():
        thread.join(0.01)
    pictures.close()
    thread.join(120)
    assert ends == ["closed"]
    with pytest.raises(Closed):
        pictures.run("size", stuck)
