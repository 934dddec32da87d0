"""What the tests of set-up share."""

import pytest

from sama_core.launch.places import Places

from ..stand_ins import make_comfyui


@pytest.fixture
def pack(tmp_path, monkeypatch) -> Places:
    """A pack's folder with the files set-up reads, and a ComfyUI that has been fetched."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    (tmp_path / "constraints.txt").write_text("torch==1\n")
    (tmp_path / "requirements-test.txt").write_text("pytest\n")
    (tmp_path / "requirements-train.txt").write_text("peft\n")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["ftfy"]\n')
    places = Places(root=tmp_path, work=tmp_path)
    make_comfyui(places.comfyui)
    return places
