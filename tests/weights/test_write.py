"""Files written whole or not at all, and what stands in their way."""

import pytest

from sama_core.errors import SamaError
from sama_core.weights.write import whole_file


def test_a_folder_is_refused_by_its_own_name_before_anything_is_written(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.mkdir()
    with pytest.raises(SamaError) as said, whole_file(path):
        raise AssertionError("nothing is written")
    assert isinstance(said.value, OSError) and said.value.filename == str(path)
    assert str(said.value) == (
        f"{path}: got a folder of that name, which is kept, needs a free name. "
        "Move that folder away, and start again."
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_folder_gives_way(tmp_path):
    there, path = tmp_path / "there", tmp_path / "link"
    there.mkdir()
    path.symlink_to(there, target_is_directory=True)
    with whole_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and there.is_dir()
