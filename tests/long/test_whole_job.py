"""The folder of one edit of a whole video, where two processes make the same edit at once."""

import pytest
import torch

from sama_core.long.whole_job import WholeJob, show_or_clear_jobs

from ..harness.second_process import removes, working_in


@pytest.fixture
def job(tmp_path) -> WholeJob:
    """With one segment, one piece, and the result."""
    made = WholeJob(tmp_path / "jobs" / ("0a" * 20))
    made.keep_latent(0, torch.zeros(1, 4))
    made.piece(0).write_bytes(b"piece")
    made.result.write_bytes(b"whole")
    return made


def is_whole(job: WholeJob) -> bool:
    return job.has_latent(0) and job.has_piece(0) and job.result.is_file()


def test_nothing_is_removed_that_another_one_still_needs(job):
    with working_in(job.folder):
        job.tidy()
        assert not job.remove() and is_whole(job)
    assert is_whole(job)
    job.tidy()
    assert not job.has_latent(0) and not job.has_piece(0) and job.result.is_file()


def test_another_one_removes_nothing_while_an_edit_runs(job):
    with job.kept_on_failure(found_again=True):
        assert not removes(job.folder)
        job.tidy()
        assert not removes(job.folder) and job.result.is_file()
    assert removes(job.folder) and not job.folder.exists()


def test_two_may_work_on_it_and_the_last_one_tidies_up(job):
    with working_in(job.folder):
        with job.kept_on_failure(found_again=True):
            job.tidy()
        assert is_whole(job)
        job.tidy()
        assert is_whole(job), "the other one works on it"
    job.tidy()
    assert job.result.is_file() and not job.has_latent(0) and not job.has_piece(0)


def test_one_that_breaks_off_removes_nothing_of_another_one(job):
    with working_in(job.folder):
        with pytest.raises(RuntimeError), job.kept_on_failure(found_again=False):
            raise RuntimeError
        assert is_whole(job)
    with pytest.raises(RuntimeError), job.kept_on_failure(found_again=False):
        raise RuntimeError
    assert not job.folder.exists()


def test_one_that_has_nothing_finished_leaves_nothing(tmp_path):
    job = WholeJob(tmp_path / ("0b" * 20))
    with pytest.raises(RuntimeError), job.kept_on_failure(found_again=True):
        job.begin({"clip": "a.mp4", "instruction": "make it night"})
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_what_is_moved_out_before_the_rest_is_removed(job, tmp_path):
    place = tmp_path / "saved.mp4"
    with pytest.raises(OSError), job.emptied_after() as alone:
        assert alone
        raise OSError
    assert is_whole(job)
    with job.emptied_after() as alone:
        job.result.rename(place)
    assert alone and place.is_file() and not job.folder.exists()


def test_a_folder_that_cannot_be_made_is_in_nobodys_use(tmp_path):
    (tmp_path / "jobs").write_bytes(b"a file")
    job = WholeJob(tmp_path / "jobs" / ("0a" * 20))
    assert job.use() is None
    with job.kept_on_failure(found_again=True):
        job.tidy()


def test_clearing_keeps_what_another_comfyui_works_on(job):
    other = WholeJob(job.folder.with_name("0b" * 20))
    other.begin({"clip": "street.mp4", "instruction": "make it night"})
    report, cleared = show_or_clear_jobs(job.folder.parent, False, "")
    assert "2 edits of whole videos, not finished or not saved" in report and not cleared
    code = report.rpartition("confirm to ")[2][:4]
    with working_in(other.folder):
        report, cleared = show_or_clear_jobs(job.folder.parent, True, code)
        assert cleared and report.startswith(
            "1 edit of whole videos removed. 1 edit of whole videos kept, which another ComfyUI "
            "works on: street.mp4: make it night ("
        )
        assert other.folder.is_dir() and not job.folder.exists()
