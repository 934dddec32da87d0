"""`run.py models`: the table, and the download."""

import pytest

from sama_core.launch.cli import main
from sama_core.launch.commands import models as models_command
from sama_core.released_files import MODEL_FILES

SAMA, FP8, FP16, VAE = MODEL_FILES


def test_the_command_lists_and_downloads_nothing_unasked(places, capsys, monkeypatch):
    monkeypatch.setattr(
        models_command, "download", lambda *arguments: pytest.fail("downloaded unasked")
    )
    assert main(["models", "--dir", str(places.models)], places) == 0
    printed = capsys.readouterr().out
    assert "until then `edit` uses SAMA-Shapes" in printed and str(places.models) in printed
    assert not places.models.exists()


def test_the_command_downloads_what_is_missing(places, capsys, monkeypatch):
    fetched = []
    monkeypatch.setattr(models_command.Environment, "ready", lambda self, asked: None)
    monkeypatch.setattr(
        models_command,
        "download",
        lambda file, folder, python, stages: fetched.append((file, folder, python)),
    )
    assert main(["models", "--download", "--dir", str(places.models)], places) == 0
    assert fetched == [(file, places.models, places.python) for file in (SAMA, FP8, VAE)]


def test_the_artists_own_comfyui_comes_first(places, tmp_path, monkeypatch):
    own = tmp_path / "ComfyUI"
    (own / "comfy").mkdir(parents=True)
    (own / "main.py").touch()
    (own / "comfyui_version.py").write_text('__version__ = "0.30.0"')
    options = type("Options", (), {"dir": None, "comfyui": str(own)})
    assert models_command.look_in(options, places) == [own / "models", places.models]


def test_a_file_in_the_place_of_the_models_folder(places, tmp_path, capsys):
    (tmp_path / "a.mp4").touch()
    assert main(["models", "--dir", str(tmp_path / "a.mp4")], places) == 1
    assert "a.mp4: got a file, needs a folder" in capsys.readouterr().err
