"""Training with an alignment: its settings, the projector's rate, checkpoints, processes, files."""

import math
from dataclasses import asdict, replace

import pytest
import torch

from sama_core.training.alignment import ARMS, AlignConfig, SaliencyConfig
from sama_core.training.banner import describe
from sama_core.training.config import TrainConfig, load_config
from sama_core.training.objective import TrainBatch
from sama_core.training.optim.optimisation import build_optimizers, projector_rate_at
from sama_core.training.outputs import StateError, load_state, save_state
from sama_core.training.recipe import ConfigError, refuse_changes

from .test_trainer import SHARDED, kill_when, lines_in, losses, run_program, steady
from .tiny_run import TEACHER_WIDTH, NoiseData, tiny_config, tiny_trainee, tiny_trainer

SARA = {"method": "sara_named", "warmup": 2, "rate": 0.01}
ALIGN = 'align={"method":"sara_named","warmup":2,"rate":0.01}'
FLOW = 'align={"method":"sam2videox","warmup":2}'
PROJECTOR = [f"aligner.projectors.0.layers.{layer}.{part}" for layer in (0, 2, 4) for part in
             ("weight", "bias")]  # fmt: skip


# --- settings ------------------------------------------------------------------------------------


def recipe(folder, text: str):
    path = folder / "recipe.toml"
    lines = 'stage = 1\ndata = "rows.jsonl"\nmodel = "sama"\noutput = "out"\nsteps = 4\n'
    path.write_text(f"{lines}batch_size = 2\n{text}", encoding="utf-8")
    return path


def test_a_table_of_settings(tmp_path):
    found = load_config(recipe(tmp_path, '[align]\nrelation = "flow"\ndistance = "kl"\nk = 0.25\n'))
    assert found.align == AlignConfig(relation="flow", distance="kl", k=0.25)
    assert load_config(recipe(tmp_path, "")).align is None


def test_a_method_by_name_and_what_differs_from_it(tmp_path):
    path = recipe(tmp_path, '[align]\nmethod = "sara_xor"\nsigma = [0.25, 1.0]\n')
    assert load_config(path).align == replace(ARMS["sara_xor"], sigma=(0.25, 1.0))
    found = load_config(path, **{"align.weight": 0.1, "align.method": "trd"}).align
    assert found == replace(ARMS["trd"], sigma=(0.25, 1.0), weight=0.1)
    assert load_config(path, **{"align.method": "sft"}).align is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('method = "sarah"', "align.method: got 'sarah'.*There are: sft, repa"),
        ("wait = 1", "unknown settings wait"),
        ('relation = "flow"\ndistance = "abs"', "align.distance.*'abs'.*'kl' or 'square'"),
        ("weight = 0", "align.weight.*more than 0"),
        ("cell = 48", "align.cell.*48.*divisor of 64 and 64"),
    ],
)
def test_settings_that_are_refused(tmp_path, table, message):
    with pytest.raises(ConfigError, match=message):
        load_config(recipe(tmp_path, f"[align]\n{table}\n"))


def test_a_block_that_the_model_has_not(tmp_path):
    config = tiny_config(tmp_path, align={**SARA, "block": 3})
    with pytest.raises(ConfigError, match=r"align.block.*3.*1 to 2"):
        tiny_trainee(config)


def test_changes_are_named_one_by_one(tmp_path):
    config = tiny_config(tmp_path, align=SARA)
    saved = asdict(config)
    refuse_changes(saved, config, TrainConfig.FREE_TO_CHANGE)
    # How a saliency is trained is not what a run with it computes.
    several = replace(config, saliency=SaliencyConfig(steps=3))
    refuse_changes(saved, several, TrainConfig.FREE_TO_CHANGE)
    refuse_changes(asdict(several), config, TrainConfig.FREE_TO_CHANGE)
    del saved["align"]["border"]  # a setting that is newer than the checkpoint
    moved = replace(config, align=replace(config.align, weight=0.1, features="elsewhere"))
    with pytest.raises(ConfigError, match=r"changed settings: align.weight 0.5 → 0.1, needs"):
        refuse_changes(saved, moved, TrainConfig.FREE_TO_CHANGE)
    with pytest.raises(ConfigError, match=r"changed settings: align \{.*\} → None"):
        refuse_changes(saved, replace(config, align=None), TrainConfig.FREE_TO_CHANGE)
    del saved["align"]
    with pytest.raises(ConfigError, match=r"changed settings: align None → \{"):
        refuse_changes(saved, config, TrainConfig.FREE_TO_CHANGE)


# --- the projector's weights ---------------------------------------------------------------------


def test_the_projectors_rate():
    """Up in 150 steps, then by a cosine from 5e-4 to 1e-5 (SAM2VideoX App. A)."""
    rates = AlignConfig()
    found = [projector_rate_at(step, 1150, rates) for step in (0, 74, 149, 150, 650, 1150)]
    middle = 1e-5 + 4.9e-4 * 0.5 * (1 + math.cos(math.pi / 2))
    assert found == pytest.approx([5e-4 / 150, 2.5e-4, 5e-4, 5e-4, middle, 1e-5])
    assert projector_rate_at(0, 10, replace(rates, warmup=0)) == 5e-4


def test_the_projector_has_a_group_of_its_own(tmp_path):
    config = tiny_config(tmp_path, align=SARA, muon_rate=0.02)
    trainee = tiny_trainee(config)
    names = {id(weight): name for name, weight in trainee.named_parameters()}
    adamw, muon = build_optimizers(trainee.named_parameters(), config)
    _, projector = adamw.param_groups
    assert [names[id(weight)] for weight in projector["params"]] == PROJECTOR
    assert projector["lr"] == 0.01
    assert not any(
        names[id(weight)].startswith("aligner") for weight in muon.param_groups[0]["params"]
    )


def test_rates_of_a_run(tmp_path):
    trainer = tiny_trainer(tiny_config(tmp_path, align=SARA, warmup=4, steps=6))
    found = []
    for step in range(6):
        trainer.step = step
        trainer.train_step()
        found.append([group["lr"] for group in trainer.optimisation.optimizers[0].param_groups])
    assert [rest for rest, _ in found] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])
    assert [rate for _, rate in found][:3] == pytest.approx([0.005, 0.01, 0.01])
    assert [rate for _, rate in found][3:] == sorted((rate for _, rate in found[3:]), reverse=True)


@pytest.mark.parametrize("settings", [{"lora_rank": 2}, {"trained_parts": "blocks.1."}])
def test_the_projector_is_trained_beside_frozen_weights(tmp_path, settings):
    trainer = tiny_trainer(tiny_config(tmp_path, align=SARA, steps=3, **settings))
    before = {name: value.clone() for name, value in trainer.trainee.state_dict().items()}
    trainer.run()
    moved = {
        name
        for name, value in trainer.trainee.state_dict().items()
        if not torch.equal(value, before[name])
    }
    trained = "lora_" if "lora_rank" in settings else "blocks.1."
    assert set(PROJECTOR) <= moved
    assert {name for name in moved if trained not in name} == set(PROJECTOR)
    assert any(trained in name for name in moved)


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"lora_rank": 2}, False),
        ({"lora_rank": 2, "lora_targets": "blocks.1"}, True),
        ({"trained_parts": "blocks.1. head."}, True),
        ({"trained_parts": "time_embedding."}, False),
    ],
)
def test_the_banner_says_where_an_alignment_reaches_no_trained_weight(tmp_path, settings, idle):
    """Behind the first of two blocks: its gradient goes back from there."""
    trainer = tiny_trainer(tiny_config(tmp_path, align=SARA, **settings))
    assert ("WITHOUT EFFECT" in describe(trainer)["aligned"]) is idle
    aligned = trainer.objective(
        trainer.trainee, trainer.batches.batch(0, slice(0, 4)), trainer._generators(slice(0, 4))
    ).added["align"]
    aligned.sum().backward()
    weights = trainer.trainee.dit.parameters()
    assert all(weight.grad is None for weight in weights) is idle


# --- losses --------------------------------------------------------------------------------------


def first_losses(folder, **settings) -> dict[str, float]:
    return tiny_trainer(tiny_config(folder, **settings)).train_step()


def test_an_alignment_leaves_the_other_losses_as_they_are(tmp_path):
    """To the bit: it draws nothing from the samples' random streams."""
    alone = first_losses(tmp_path / "alone")
    aligned = first_losses(tmp_path / "aligned", align=SARA)
    assert (aligned["flow"], aligned["semantic"]) == (alone["flow"], alone["semantic"])
    assert aligned["align"] > 0.01
    assert aligned["total"] == pytest.approx(alone["total"] + 0.5 * aligned["align"], rel=1e-6)


def test_the_loss_falls(tmp_path):
    """A teacher with one feature for all cells: half of the loss is gone in 30 steps."""
    one = torch.randn(TEACHER_WIDTH, generator=torch.Generator().manual_seed(0))
    shown = one.expand(1, 2, 2, TEACHER_WIDTH)

    class Shown(NoiseData):
        def batch(self, step: int, part: slice) -> TrainBatch:
            batch = super().batch(step, part)
            count = len(batch.names)
            return replace(batch, teacher={"features": shown.expand(count, *shown.shape)})

    config = tiny_config(tmp_path, steps=30, align={**SARA, "method": "repa"})
    trainer = tiny_trainer(config)
    trainer.batches = Shown(config.batch_size)
    trainer.run()
    found = losses(tmp_path, "align")
    assert sum(found[-5:]) < 0.5 * sum(found[:5])


def test_checkpointed_activations_give_the_same_losses(tmp_path):
    plain = first_losses(tmp_path / "plain", align=SARA)
    assert first_losses(tmp_path / "saving", align=SARA, gradient_checkpointing=True) == plain


def test_own_path_keeps_the_hidden_states_of_the_pass_that_is_trained(tmp_path):
    found = first_losses(tmp_path, align=SARA, own_path_share=0.5)
    assert found["align"] > 0.01


def test_pictures_have_no_flow_and_touch_the_projector_all_the_same(tmp_path):
    trainer = tiny_trainer(tiny_config(tmp_path, align={"method": "sam2videox"}))
    generators = trainer._generators(slice(0, 4))
    found = trainer.objective(trainer.trainee, trainer.batches.batch(0, slice(0, 4)), generators)
    assert found.added["align"].tolist() == [0, 0, 0, 0]
    found.total.sum().backward()
    weights = list(trainer.trainee.aligner.parameters())
    assert weights and all(weight.grad is not None for weight in weights)


# --- checkpoints and processes -------------------------------------------------------------------


def test_killed_and_resumed(tmp_path):
    """Bit for bit a run that was left alone, projector and its average too."""
    settings = ["steps=8", "checkpoint_every=3", "weights=true", "muon_rate=0.02", ALIGN]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    run_program(alone, *settings)
    kill_when(lambda: lines_in(killed) >= 5, killed, *settings, "stall_in_save=2")
    assert load_state(killed)["step"] == 3
    run_program(killed, *settings)
    assert steady(killed) == steady(alone)
    expected, found = (torch.load(folder / "averaged.pt") for folder in (alone, killed))
    assert set(PROJECTOR) <= set(expected)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize("align", [ALIGN, FLOW])
def test_two_processes_give_the_losses_of_one(tmp_path, align):
    """Within 1e-5; also where a step has no pair of frames, so that nothing is compared."""
    settings = ["steps=6", "checkpoint_every=3", "muon_rate=0.02", "own_path_share=0.5", align]
    run_program(tmp_path / "one", *settings)
    run_program(tmp_path / "two", *settings, processes=2)
    for name in ("total", "align"):
        expected = losses(tmp_path / "one", name)
        assert losses(tmp_path / "two", name) == pytest.approx(expected, abs=1e-5)


def test_sharded_weights_give_the_losses_of_whole_ones(tmp_path):
    settings = ["steps=4", "checkpoint_every=2", "weights=true", ALIGN.replace("0.01", "0.001")]
    run_program(tmp_path / "one", *settings)
    run_program(tmp_path / "two", *settings, "stop_at=2", processes=2, program=SHARDED)
    run_program(tmp_path / "two", *settings, processes=2, program=SHARDED)
    assert losses(tmp_path / "two", "align") == pytest.approx(
        losses(tmp_path / "one", "align"), abs=1e-5
    )
    one, two = (torch.load(tmp_path / name / "averaged.pt") for name in ("one", "two"))
    assert max((one[name] - two[name]).abs().max().item() for name in PROJECTOR) < 1e-4


@pytest.mark.parametrize("shape", [None, (2, 2)])
def test_a_checkpoint_without_this_projector_is_refused(tmp_path, shape):
    """A LoRA's, for one, whose projector was taken out, or is another teacher's."""
    settings = {"align": SARA, "lora_rank": 2, "steps": 4, "checkpoint_every": 2}
    tiny_trainer(tiny_config(tmp_path, **settings)).run()
    state = load_state(tmp_path)
    name = PROJECTOR[-2]
    if shape is None:
        for key in PROJECTOR:
            del state["model"][key]
    else:
        state["model"][name] = torch.ones(shape)
    save_state(tmp_path, state)
    words = f"{name} of shape" if shape else "no aligner.projectors.0.layers.0.weight"
    with pytest.raises(StateError, match=f"checkpoint: got {words}.*needs the projector of"):
        tiny_trainer(tiny_config(tmp_path, **settings))


def test_a_lora_begun_without_an_alignment_does_not_go_on_with_one(tmp_path):
    settings = {"lora_rank": 2, "steps": 4, "checkpoint_every": 2}
    sizes = {"height": 32, "width": 32}
    tiny_trainer(tiny_config(tmp_path, **settings, **sizes)).run()
    with pytest.raises(ConfigError, match="changed settings: align None → "):
        tiny_trainer(tiny_config(tmp_path, **settings, align=SARA))
