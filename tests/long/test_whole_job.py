"""The folder of one edit of a whole video, where two processes make the same edit at once."""

import sys
from threading import Timer

import pytest
import torch

from sama_core.long.whole_job import WholeJob

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")


@pytest.fixture
def job(tmp_path) -> WholeJob:
    """With one segment, one piece, and the result."""
    made = WholeJob(tmp_path / ("0a" * 20))
    made.keep_latent(0, torch.zeros(1, 4))
    made.piece(0).write_bytes(b"piece")
    made.result.write_bytes(b"whole")
    return made


def is_whole(job: WholeJob) -> bool:
    return job.has_latent(0) and job.has_piece(0) and job.result.is_file()


def test_nothing_is_removed_that_another_one_still_needs(job):
    with job.kept_on_failure(found_again=True):
        assert job.is_in_use()
        job.tidy()
        assert is_whole(job)
    assert not job.is_in_use() and is_whole(job)
    job.tidy()
    assert not job.has_latent(0) and not job.has_piece(0) and job.result.is_file()


def test_two_may_work_on_it_and_the_last_one_tidies_up(job):
    with job.kept_on_failure(found_again=True):
        with job.kept_on_failure(found_again=True):
            assert job.is_in_use()
        assert job.is_in_use()
    assert not job.is_in_use()


def test_one_that_breaks_off_removes_nothing_of_another_one(job):
    with job.kept_on_failure(found_again=True):
        with pytest.raises(RuntimeError), job.kept_on_failure(found_again=False):
            raise RuntimeError
        assert is_whole(job)
    with pytest.raises(RuntimeError), job.kept_on_failure(found_again=False):
        raise RuntimeError
    assert not job.folder.exists()


def test_who_looks_does_not_keep_another_one_from_its_lock(job):
    """A look takes the lock alone for a moment; an edit may begin just then."""
    import fcntl

    look = (job.folder / "in_use").open("ab")
    fcntl.flock(look, fcntl.LOCK_EX)
    timer = Timer(0.2, look.close)
    timer.start()
    with job.kept_on_failure(found_again=True):
        timer.join()
        assert job.is_in_use()


def test_a_folder_without_the_file_is_in_nobodys_use(tmp_path):
    assert not WholeJob(tmp_path / "absent").is_in_use()
