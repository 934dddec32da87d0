"""What the tests of several commands share."""

import pytest

from sama_core.launch.commands import serve as serve_module
from sama_core.launch.model_choice import Trio
from sama_core.launch.setup.comfyui_source import ComfyUI
from sama_core.launch.setup.environment import Environment
from sama_core.released_files import MODEL_FILES

from ..stand_ins import ANSWERING


@pytest.fixture
def no_set_up(monkeypatch, tmp_path):
    """Set-up is done; ComfyUI is a stand-in that only answers."""
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text(ANSWERING.format(line="started"))
    monkeypatch.setattr(
        Environment, "ready", lambda self, asked=None, tests=False: ComfyUI(folder, fetched=True)
    )
    shapes = Trio("sama_shapes.safetensors", "b", "c", lacking=(MODEL_FILES[0].where(),))
    monkeypatch.setattr(serve_module, "listed_trio", lambda client: shapes)
    return folder
