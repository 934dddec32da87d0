"""The result of a whole video's edit, where another ComfyUI makes the same edit and clears it."""

import gc
import shutil
from types import SimpleNamespace

import pytest

from ..harness.second_process import removes, working_in
from . import test_whole_video as whole
from .test_whole_video import FRAMES

clip = whole.clip


@pytest.fixture
def job(comfyui, clip, tmp_path):
    """With its result."""
    from sama_core.long.whole_job import WholeJob

    made = WholeJob(tmp_path / "jobs" / ("0a" * 20))
    made.begin({})
    shutil.copy(clip, made.result)
    return made


def test_what_is_not_saved_yet_is_nobody_elses_to_clear(job, tmp_path):
    from sama_core.comfyui.whole_result import WholeVideo

    video = WholeVideo(job)
    assert not removes(job.folder) and video.get_frame_count() == FRAMES
    video.save_to(str(tmp_path / "saved.mp4"))
    assert not job.folder.exists() and (tmp_path / "saved.mp4").is_file()


def test_what_nobody_here_refers_to_may_be_cleared(job):
    from sama_core.comfyui.whole_result import WholeVideo

    video = WholeVideo(job, keep=True)
    assert not removes(job.folder) and video.is_there()
    del video
    gc.collect()
    assert removes(job.folder)


def test_who_has_saved_it_leaves_the_clearing_to_the_other_one(job, tmp_path):
    from sama_core.comfyui.whole_result import WholeVideo

    video, again = WholeVideo(job), WholeVideo(job)
    with working_in(job.folder):
        video.save_to(str(tmp_path / "saved.mp4"))
        assert job.result.is_file()
    assert again.get_frame_count() == FRAMES
    assert removes(job.folder), "the other one saves it, too"
    assert video.is_there() and again.is_there()


def test_an_edit_that_was_found_finished_is_not_made_anew_in_its_folder(job):
    from sama_core.comfyui.whole_result import WholeVideo

    shutil.rmtree(job.folder)
    assert WholeVideo(job, keep=True).job is job and not job.folder.exists()


@pytest.mark.parametrize("part", ["segments", "pieces"])
def test_a_share_is_in_use_while_it_is_made(job, part):
    from sama_core.comfyui.whole_share import make_share

    made = []

    def make(numbers):
        assert numbers == range(2, 5) and not removes(job.folder)
        made.append(part)
        job.piece(2).write_bytes(b"piece")

    job.result.unlink()
    edit = SimpleNamespace(
        key=job.folder.name,
        job=job,
        segments=range(8),
        pieces=range(9),
        begin=lambda: job.begin({}),
        sample=make,
        make_pieces=make,
    )
    report = make_share(edit, part, 2, 3)
    assert made == [part] and report["segments"] == 8 and report["pieces"] == 9
    assert removes(job.folder)
