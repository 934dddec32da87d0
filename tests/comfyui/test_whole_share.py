"""Shares of one whole video's edit: the folder that several ComfyUIs have in common."""

import pytest

from sama_core.errors import SamplingError


def test_a_folder_is_known_by_what_was_written_first(comfyui, tmp_path):
    from sama_core.comfyui.whole_share import folder_id

    first = folder_id(tmp_path / "jobs")
    assert folder_id(tmp_path / "jobs") == first != folder_id(tmp_path / "others")


def test_a_folder_that_cannot_be_written_is_named(comfyui, tmp_path):
    from sama_core.comfyui.whole_share import folder_id

    (tmp_path / "file").write_text("")
    with pytest.raises(SamplingError, match=r"file/jobs, Not a directory.*SAMA_SHARED_JOBS"):
        folder_id(tmp_path / "file" / "jobs")
