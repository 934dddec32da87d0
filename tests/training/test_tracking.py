"""Trackers beside the log: TensorBoard where it is installed, and what is said where it is not."""

import importlib.util

import pytest

from sama_core.errors import RuntimeSetupError
from sama_core.training.tracking import check_installed, flatten_settings, names_of

from .test_trainer import losses
from .tiny_run import tiny_config, tiny_trainer


def test_names():
    assert names_of("tensorboard, wandb") == names_of("tensorboard wandb")
    assert names_of("") == []


def test_a_missing_package_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeSetupError, match="no package wandb.*pip install wandb.*log.jsonl"):
        check_installed("wandb")


def test_settings_as_trackers_take_them(tmp_path):
    found = flatten_settings(tiny_config(tmp_path, align={"method": "sara_named"}))
    assert found["learning_rate"] == 0.001 and found["align.relation"] == "pairs"
    assert all(isinstance(value, int | float | str) for value in found.values())


def test_tensorboard_has_the_losses_of_the_log(tmp_path):
    read = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = tiny_trainer(tiny_config(tmp_path, steps=3, track="tensorboard"))
    trainer.run()
    trainer.accelerator.end_training()
    events = read.EventAccumulator(str(tmp_path / "sama"))
    events.Reload()
    assert [one.value for one in events.Scalars("total")] == pytest.approx(losses(tmp_path))
