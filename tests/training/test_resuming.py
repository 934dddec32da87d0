"""What a checkpoint holds, what may change when a run goes on, and which checkpoints are kept."""

from types import SimpleNamespace

import pytest
import torch

from sama_core.training import trainer as trainer_module
from sama_core.training import trainer_state
from sama_core.training.checkpoints import Checkpoints, load_parts
from sama_core.training.objective import SamaObjective
from sama_core.training.outputs import StateError, load_state, save_state
from sama_core.training.recipe import ConfigError
from sama_core.training.trainer import Trainer

from .test_trainer import losses, steady
from .tiny_run import NoiseData, tiny_config, tiny_trainee, tiny_trainer


def trainer_on(config, **digests) -> Trainer:
    trainee = tiny_trainee(config)
    objective = SamaObjective(config, trainee.aligner)
    return Trainer(config, trainee, NoiseData(config.batch_size), objective, digests)


# --- a LoRA's checkpoint --------------------------------------------------------------------------


def test_a_loras_checkpoint_holds_the_lora_alone(tmp_path):
    """What is frozen is neither in it nor needed by it; resumed, the run is what it would be."""
    settings = {"lora_rank": 2, "steps": 6, "checkpoint_every": 3, "learning_rate": 1e-2}
    tiny_trainer(tiny_config(tmp_path / "alone", **settings)).run()
    tiny_trainer(tiny_config(tmp_path / "two", **{**settings, "steps": 3})).run()
    state = load_state(tmp_path / "two")
    names = {name for part in ("model", "ema") for name in state[part]}
    assert names and all(".lora_A." in name or ".lora_B." in name for name in names)
    assert set(state["optimizers"][0]["state"]) == set(state["model"])
    frozen = sum(weight.numel() for weight in tiny_trainee(tiny_config(tmp_path)).parameters())
    assert (tmp_path / "two" / "state.pt").stat().st_size < 4 * frozen
    tiny_trainer(tiny_config(tmp_path / "two", **settings)).run()
    assert steady(tmp_path / "two") == steady(tmp_path / "alone")
    one, two = (load_state(tmp_path / name)["ema"] for name in ("alone", "two"))
    assert all(value.abs().sum() > 0 for value in one.values()), "nothing was learnt"
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_checkpoint_of_before_that_holds_frozen_weights_too(tmp_path):
    """Version 0.2.0 kept them; they are read past."""
    config = tiny_config(tmp_path, lora_rank=2, steps=2)
    tiny_trainer(config).run()
    state, whole = load_state(tmp_path), tiny_trainee(config).state_dict()
    state["model"] = {**whole, **state["model"]}
    del state["digests"], state["smooth"]
    save_state(tmp_path, state)
    trainer = tiny_trainer(config)
    assert trainer.step == 2
    assert all(torch.equal(v, state["ema"][name]) for name, v in trainer.average().items())


# --- what may change ------------------------------------------------------------------------------


def test_steps_rates_and_logging_may_change(tmp_path, capsys):
    """More steps at another rate: the rate counts from there on, and the banner says so."""
    tiny_trainer(tiny_config(tmp_path, steps=4, warmup=0)).run()
    before = load_state(tmp_path)["model"]
    capsys.readouterr()
    changed = {"steps": 6, "learning_rate": 0.0005, "log_every": 5, "clip_norm": 0.5}
    trainer = tiny_trainer(tiny_config(tmp_path, **changed, warmup=0))
    assert trainer.step == 4
    trainer.run()
    assert [line["step"] for line in steady(tmp_path)] == [0, 1, 2, 3, 5]
    told = capsys.readouterr().out
    assert "4 of 6 are done; the run goes on with steps 4 → 6; learning_rate 0.001 → 0.0005" in told
    name = "dit.blocks.0.ffn.0.weight"
    moved = (load_state(tmp_path)["model"][name] - before[name]).abs().max().item()
    assert 0 < moved < 2 * 0.0005 * 1.5
    assert trainer.optimisation.optimizers[0].param_groups[0]["lr"] == 0.0005


@pytest.mark.parametrize(("before", "now"), [(0.0, 0.01), (0.01, 0.0)])
def test_muon_neither_comes_nor_goes(tmp_path, before, now):
    """Its rate may change: the optimiser of a matrix may not."""
    tiny_trainer(tiny_config(tmp_path, steps=1, muon_rate=before)).run()
    with pytest.raises(ConfigError, match=rf"resume: got muon_rate {before:g} → {now:g}, needs"):
        tiny_trainer(tiny_config(tmp_path, steps=2, muon_rate=now))


def test_smoothed_loss_goes_on(tmp_path):
    settings = {"steps": 6, "checkpoint_every": 3}
    tiny_trainer(tiny_config(tmp_path / "alone", **settings)).run()
    tiny_trainer(tiny_config(tmp_path / "two", **{**settings, "steps": 3})).run()
    tiny_trainer(tiny_config(tmp_path / "two", **settings)).run()
    assert losses(tmp_path / "two", "smooth") == losses(tmp_path / "alone", "smooth")


def test_changed_data_is_noticed(tmp_path):
    trainer_on(tiny_config(tmp_path, steps=2), rows="a", model="m").run()
    assert trainer_on(tiny_config(tmp_path, steps=2), rows="a", model="m").step == 2
    with pytest.raises(
        ConfigError, match=r"resume: got changed rows, needs .* set new_rows to true"
    ):
        trainer_on(tiny_config(tmp_path, steps=2), rows="b", model="m")
    going = trainer_on(tiny_config(tmp_path, steps=2, new_rows=True), rows="b", model="m")
    assert going.step == 2 and "other rows" in going.state.changed
    with pytest.raises(ConfigError, match="resume: got changed model"):
        trainer_on(tiny_config(tmp_path, steps=2, new_rows=True), rows="a", model="other")


@pytest.mark.parametrize(
    ("setting", "digest", "what"),
    [
        ("vae", "vae", "VAE"),
        ("data", "rows", "set of rows"),
        ("model", "model", "model"),
        ("model", "first weights", "model"),
        ("semantic_encoder", "semantic_encoder", "semantic encoder"),
    ],
)
def test_what_lies_elsewhere_may_be_the_same(tmp_path, setting, digest, what):
    """A moved file goes on, and is told; another one is refused by name. So is one of which the
    checkpoint, of an earlier version, says nothing.
    """
    before, now = ({"steps": 2, setting: f"{folder}/file"} for folder in ("old", "new"))
    trainer_on(tiny_config(tmp_path, **before), **{digest: "a"}).run()
    going = trainer_on(tiny_config(tmp_path, **now), **{digest: "a"})
    assert going.step == 2 and f"{setting} 'old/file' → 'new/file'" in going.state.changed
    words = rf"resume: got {setting} 'old/file' → 'new/file', another {what}, needs the {what} of"
    with pytest.raises(ConfigError, match=words):
        trainer_on(tiny_config(tmp_path, **now), **{digest: "b"})
    state = load_state(tmp_path)
    del state["digests"]
    save_state(tmp_path, state)
    with pytest.raises(ConfigError, match=rf"changed settings: {setting} 'old/file' → 'new/file'"):
        trainer_on(tiny_config(tmp_path, **now), **{digest: "a"})


def test_other_rows_in_another_file_are_allowed_too(tmp_path):
    trainer_on(tiny_config(tmp_path, steps=2, data="a.jsonl"), rows="a").run()
    other = tiny_config(tmp_path, steps=2, data="b.jsonl", new_rows=True)
    assert trainer_on(other, rows="b").step == 2


# --- numbered checkpoints -------------------------------------------------------------------------


def test_the_last_numbered_checkpoints_are_kept_with_their_weights(tmp_path):
    trainer = tiny_trainer(tiny_config(tmp_path, steps=8, checkpoint_every=2, keep_checkpoints=2))
    written = []

    def write(averaged, step, folder):
        torch.save(averaged, folder / "weights.pt")
        written.append(step)

    trainer.writer = write
    trainer.run()
    assert written == [2, 4, 6, 8]
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000006", "step-00000008"]
    for name, step in zip(kept, (6, 8), strict=True):
        folder = tmp_path / "checkpoints" / name
        assert sorted(path.name for path in folder.iterdir()) == ["state.pt", "weights.pt"]
        assert load_state(folder)["step"] == step
    newest, same = (tmp_path / "state.pt").stat(), (folder / "state.pt").stat()
    assert newest.st_ino == same.st_ino, "the newest takes its room twice"


def test_only_the_process_that_writes_copies_what_is_written(tmp_path, monkeypatch):
    """Of eight on one computer the others would take seven times its room in RAM."""
    trainer = tiny_trainer(tiny_config(tmp_path, keep_checkpoints=1))
    copied = []
    for module in (trainer_module, trainer_state):
        monkeypatch.setattr(module, "whole", copied.append)
    other = SimpleNamespace(is_main_process=False, wait_for_everyone=lambda: None)
    trainer.accelerator, trainer.writer = other, lambda *_: pytest.fail("another one wrote")
    trainer.save()
    assert not copied and not list(tmp_path.iterdir())


def test_going_back_to_a_numbered_checkpoint(tmp_path):
    """Its state.pt in the place of the newest: the steps after it are made again, alike."""
    settings = {"steps": 6, "checkpoint_every": 2, "keep_checkpoints": 3}
    tiny_trainer(tiny_config(tmp_path, **settings)).run()
    before = steady(tmp_path)
    Checkpoints(tmp_path).folder_of(2).joinpath("state.pt").rename(tmp_path / "state.pt")
    trainer = tiny_trainer(tiny_config(tmp_path, **settings))
    assert trainer.step == 2
    trainer.run()
    assert steady(tmp_path) == before


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", "facts.json"])
def test_a_damaged_checkpoint_of_a_sharded_run(tmp_path, name):
    files = Checkpoints(tmp_path)
    files.write_parts({"step": 3}, {"weight": torch.ones(4)}, True)
    path = files.folder_of(3)
    (path / name).write_bytes(b"x")
    with pytest.raises(StateError, match=r"unreadable .*Error\).*Remove step-00000003 to go on"):
        load_parts(files.newest()["path"], {"weight": torch.zeros(4)})


def test_a_checkpoint_of_a_sharded_run_that_cannot_be_written(tmp_path):
    files = Checkpoints(tmp_path)
    files.folder_of(4).parent.mkdir()
    files.folder_of(4).write_text("a file in its place")
    with pytest.raises(StateError, match=r"could not be written \(.*step-00000004.*Free disk"):
        files.write_parts({"step": 4}, {"weight": torch.ones(4)}, True)


@pytest.mark.parametrize("keep", [0, 2])
def test_half_a_checkpoint_is_none_that_is_kept(tmp_path, keep):
    """A run is killed while it writes step 600, goes on from 500, and is stopped at 537."""
    files = Checkpoints(tmp_path, keep)
    files.write_parts({"step": 500}, {"weight": torch.ones(4)}, True)
    files.folder_of(600).mkdir()
    (files.folder_of(600) / "__0_0.distcp").write_bytes(b"half")
    files.write_parts({"step": 537}, {"weight": torch.ones(4)}, True)
    files.prune(sharded=True, step=537)
    assert files.newest()["step"] == 537
    assert files.folder_of(500).exists() == (keep == 2)
