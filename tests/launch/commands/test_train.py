"""`run.py train`: the recipe goes to the environment's Python, its progress and its words come
back."""

import os
import signal
import sys
import threading
import time

import pytest

from sama_core.launch.cli import main
from sama_core.launch.commands.train import BAR, with_task
from sama_core.launch.setup.environment import Environment

from ...training.rows_files import BLUE, RED, clip, jsonl, pair, recipe, settings

WAITS = """
import pathlib, signal, sys, time
def save(number, frame):
    print("saved at step 7", flush=True)
    sys.exit(int(sys.argv[1]))
signal.signal(signal.SIGINT, save)
print("begun", flush=True)
pathlib.Path("begun").touch()
time.sleep(60)
"""
"""A training that saves when it is asked to stop."""


@pytest.fixture(autouse=True)
def set_up(monkeypatch, tmp_path):
    """What set-up was asked for, without doing it; the command is given in the test's folder."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(
        Environment, "ready", lambda self, folder=None, **options: asked.append(options)
    )
    return asked


def test_a_recipe_is_trained_from_the_folder_of_the_command(places, tmp_path, set_up, capfd):
    clip(tmp_path / "a.mp4", RED)
    clip(tmp_path / "b.mp4", BLUE)
    rows = jsonl(tmp_path / "pairs.jsonl", [pair("a.mp4", "b.mp4", "make it blue")])
    recipe(tmp_path / "mine.toml", settings(rows, tmp_path / "out", steps=9, batch_size=1))
    assert main(["train", "mine.toml", "steps=2", "lora_rank=2", "output=there"], places) == 0
    shown = capfd.readouterr().out
    assert set_up == [{"training": True}]
    assert "2/2" in shown and "loss=" in shown and "there/" in shown and " MB" in shown
    assert (tmp_path / "there" / "log.jsonl").read_text().count("\n") == 2


def test_what_is_wrong_is_told_in_the_trainers_words(places, tmp_path, set_up, capfd):
    recipe(tmp_path / "mine.toml", settings(tmp_path / "rows.jsonl", tmp_path, steps=2))
    assert main(["train", "mine.toml", "stpes=3"], places) == 1
    said = capfd.readouterr().err
    assert "unknown settings stpes" in said and "Whole log: " in said and "Traceback" not in said


def test_an_absent_recipe_is_told_before_set_up(places, set_up, capfd):
    assert main(["train", "mine.toml"], places) == 1
    assert "recipe: got no file mine.toml" in capfd.readouterr().err and set_up == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mine.toml", "steps=2"], ["train", "mine.toml", "steps=2"]),
        (["export", "mine.toml"], ["export", "mine.toml"]),
        (["check", "rows.jsonl", "--strict"], ["check", "rows.jsonl", "--strict"]),
        (["folder/mine"], ["train", "folder/mine"]),
    ],
)
def test_tasks_are_passed_through(words, expected):
    assert with_task(words) == expected


def test_a_file_without_a_suffix_is_a_recipe(tmp_path):
    (tmp_path / "mine").touch()
    assert with_task(["mine"]) == ["train", "mine"]


@pytest.mark.parametrize(
    ("line", "name", "count", "rest"),
    [
        ("stage 1:  40%|####  | 4/10 [00:01<00:02,  2.91it/s, loss=0.1234]", "stage 1", "4", True),
        ("stage 1:   0%|      | 0/10 [00:00<?, ?it/s]", "stage 1", "0", False),
        (" 12%|#     | 1/8 [00:00<00:05,  1.3it/s]", None, "1", False),
    ],
)
def test_bars_are_read(line, name, count, rest):
    found = BAR.search(line)
    assert found[1] == name and found[2] == count
    assert found[4] == ("loss=0.1234" if rest else None)


@pytest.mark.skipif(os.name != "posix", reason="a script of sh")
def test_all_lines_of_what_went_wrong_are_shown(places, tmp_path, monkeypatch, capfd):
    """As of a list of what is missing for a training."""
    stub = tmp_path / "python"
    lines = "early\\n2 things are missing:\\n  1. a model\\n  2. a VAE\\n"
    stub.write_text(f"#!/bin/sh\nprintf '{lines}' >&2\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setattr(type(places), "python", stub)
    (tmp_path / "mine.toml").touch()
    assert main(["train", "mine.toml"], places) == 1
    assert "2 things are missing:\n  1. a model\n  2. a VAE\n" in capfd.readouterr().err


@pytest.fixture
def ctrl_c_works():
    """Shells let what they run in the background ignore Ctrl-C, these tests too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stand_in_trainer(places, folder, monkeypatch, code: int) -> None:
    """In the place of the trainer's Python: a training that ends with `code` when it is stopped."""
    worker = folder / "worker.py"
    worker.write_text(WAITS)
    stub = folder / "python"
    stub.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{worker}" {code}\n')
    stub.chmod(0o755)
    monkeypatch.setattr(type(places), "python", stub)
    (folder / "mine.toml").touch()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("code", [130, 0])
def test_a_stop_lets_the_trainer_save(
    ctrl_c_works, places, tmp_path, monkeypatch, capfd, number, code
):
    """One that comes after the last step stops nothing: the training is done, with code 0."""
    stand_in_trainer(places, tmp_path, monkeypatch, code)

    def press() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=press, daemon=True).start()
    assert main(["train", "mine.toml"], places) == bool(code)
    shown = capfd.readouterr()
    assert "saved at step 7" in shown.out
    told = "The same command continues from the last checkpoint" in shown.err
    assert told == bool(code)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_stop_before_the_worker_is_listened_to(
    ctrl_c_works, places, tmp_path, monkeypatch, capfd
):
    """It is asked to save as at any other time, and what it says is shown."""
    stand_in_trainer(places, tmp_path, monkeypatch, 0)

    class Pressed(threading.Thread):
        left = 1

        def start(self) -> None:
            if self._target.__name__ == "read" and Pressed.left:
                Pressed.left -= 1
                while not (tmp_path / "begun").exists():
                    time.sleep(0.01)
                raise KeyboardInterrupt
            super().start()

    monkeypatch.setattr(threading, "Thread", Pressed)
    assert main(["train", "mine.toml"], places) == 0
    assert "saved at step 7" in capfd.readouterr().out
