"""The training loop end to end: learning, killing and resuming, two processes, and everything that
can go wrong.
"""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.training import outputs as state_module
from sama_core.training.meter import MEASURED, Meter
from sama_core.training.outputs import (
    VALIDATION_FILE,
    StateError,
    TrainLog,
    load_state,
    save_state,
)
from sama_core.training.recipe import ConfigError
from sama_core.training.trainer import DivergedError

from .processes import environment, python
from .stalled_run import LONGEST
from .tiny_run import NoiseData, tiny_config, tiny_trainee, tiny_trainer

PROGRAM = Path(__file__).with_name("tiny_run.py")
SHARDED = Path(__file__).with_name("sharded_run.py")


def logged(folder: Path) -> list[dict]:
    return [
        json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def steady(folder: Path) -> list[dict]:
    """The lines of the log without what is never the same twice."""
    return [
        {name: value for name, value in line.items() if name not in MEASURED}
        for line in logged(folder)
    ]


def losses(folder: Path, name: str = "total") -> list[float]:
    return [line[name] for line in logged(folder)]


def held_out(folder: Path) -> list[dict]:
    return TrainLog.read(folder / VALIDATION_FILE)


def command(folder: Path, *settings: str, processes: int = 1, program: Path = PROGRAM) -> list[str]:
    return [*python(processes), str(program), str(folder), *settings]


def run_program(folder: Path, *settings: str, processes: int = 1, program: Path = PROGRAM) -> None:
    done = subprocess.run(
        command(folder, *settings, processes=processes, program=program),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def kill_when(reached, folder: Path, *settings: str) -> None:
    """Start the program and SIGKILL it as soon as `reached()`."""
    running = subprocess.Popen(
        command(folder, *settings),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + LONGEST
        while not reached():
            assert running.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < until, "the run did not get that far"
            time.sleep(0.005)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def lines_in(folder: Path) -> int:
    path = folder / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


# --- learning ----------------------------------------------------------------------------------


def test_loss_falls(tmp_path):
    """The flow loss of the last 20 of 200 steps is less than half of the first 20's."""
    tiny_trainer(
        tiny_config(
            tmp_path,
            steps=200,
            batch_size=8,
            learning_rate=2e-3,
            muon_rate=0.02,
            checkpoint_every=200,
        )
    ).run()
    flow = losses(tmp_path, "flow")
    assert len(flow) == 200
    assert sum(flow[-20:]) < 0.5 * sum(flow[:20])
    assert sum(losses(tmp_path, "semantic")[-25:]) < sum(losses(tmp_path, "semantic")[:25])
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_log_line(tmp_path):
    """Every `log_every` steps and the last: all losses by name, the factor on the rate, the norm of
    the gradients, and what is measured."""
    tiny_trainer(tiny_config(tmp_path, steps=6, log_every=4)).run()
    assert [line["step"] for line in logged(tmp_path)] == [0, 4, 5]
    assert set(logged(tmp_path)[0]) == {
        *("step", "flow", "semantic", "total", "rate", "smooth", "grad_norm"),
        *MEASURED,
    }
    assert all(
        line["total"] == pytest.approx(line["flow"] + 0.1 * line["semantic"])
        for line in logged(tmp_path)
    )
    first, *_, last = logged(tmp_path)
    assert first["rate"] == 0.5
    assert first["smooth"] == first["total"] and first["grad_norm"] > 0
    assert first["seconds"] > 0 and first["memory_gib"] > 0
    assert first["left_s"] == pytest.approx(5 * first["seconds"], abs=0.1)
    assert last["left_s"] == 0


def test_smoothed_loss():
    """Of losses 1 and 3, the younger counting 1 / 0.98 as much: (0.98 · 1 + 3) / 1.98."""
    meter = Meter()
    assert meter.smooth(1.0) == pytest.approx(1.0)
    assert meter.smooth(3.0) == pytest.approx(3.98 / 1.98)
    resumed = Meter()
    resumed.state = meter.state
    assert resumed.smooth(2.0) == meter.smooth(2.0)


# --- killed and resumed ------------------------------------------------------------------------


def test_kill_at_any_moment_and_resume(tmp_path):
    """AdamW and Muon. Killed before the first checkpoint, between two, and halfway through writing
    one: bit-identical to a run that was left alone, losses and averaged weights."""
    settings = ["steps=11", "checkpoint_every=3", "weights=true", "muon_rate=0.02"]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    run_program(alone, *settings)

    kill_when(lambda: lines_in(killed) >= 1, killed, *settings, "stall_in_save=1")
    assert not (killed / "state.pt").exists()
    kill_when(lambda: lines_in(killed) >= 5, killed, *settings, "stall_in_save=3")
    assert load_state(killed)["step"] in (3, 6)
    kill_when(
        lambda: any(killed.glob(".state.pt.*.part")) and lines_in(killed) >= 9,
        killed,
        *settings,
        "stall_in_save=2",
    )
    assert load_state(killed)["step"] in (6, 9)
    with open(killed / "log.jsonl", "a", encoding="utf-8") as log:
        log.write('{"step": 9, "total": 1')  # what a kill while writing leaves

    run_program(killed, *settings)
    assert [line["step"] for line in logged(killed)] == list(range(11))
    assert steady(killed) == steady(alone)
    expected, found = torch.load(alone / "averaged.pt"), torch.load(killed / "averaged.pt")
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    final, resumed = load_state(alone)["model"], load_state(killed)["model"]
    assert all(torch.equal(value, resumed[name]) for name, value in final.items())


def test_finished_run_does_nothing(tmp_path):
    tiny_trainer(tiny_config(tmp_path)).run()
    before = logged(tmp_path)
    trainer = tiny_trainer(tiny_config(tmp_path))
    trainer.run()
    assert trainer.step == 8 and logged(tmp_path) == before


def test_resume_with_changed_settings_is_refused(tmp_path):
    tiny_trainer(tiny_config(tmp_path)).run()
    with pytest.raises(ConfigError, match=r"ema 0.9 → 0.95; shift 5.0 → 3.0.*new output folder"):
        tiny_trainer(tiny_config(tmp_path, shift=3.0, ema=0.95))


def test_resume_may_change_how_often_it_saves(tmp_path):
    tiny_trainer(tiny_config(tmp_path)).run()
    assert tiny_trainer(tiny_config(tmp_path, checkpoint_every=2, log_every=3)).step == 8


def test_resume_of_a_checkpoint_that_holds_settings_of_shapes(tmp_path):
    """Version 0.1.0 saved them with every training."""
    tiny_trainer(tiny_config(tmp_path)).run()
    state = load_state(tmp_path)
    state["config"] |= {"edits": "recolour", "text_length": 40, "init": "", "pixel_weight": 0.0}
    save_state(tmp_path, state)
    assert tiny_trainer(tiny_config(tmp_path)).step == 8
    with pytest.raises(ConfigError, match="changed settings: ema 0.9 → 0.95, needs"):
        tiny_trainer(tiny_config(tmp_path, ema=0.95))


def test_damaged_checkpoint(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(StateError, match="state.pt.*unreadable.*Move state.pt away"):
        tiny_trainer(tiny_config(tmp_path))


# --- processes and accumulation ----------------------------------------------------------------


def test_two_processes_give_the_losses_of_one(tmp_path):
    """gloo on the CPU, 6 steps, AdamW and Muon, half of the samples on the model's own path: within
    1e-5. One process can resume what two began.
    """
    settings = {"steps": 6, "checkpoint_every": 3, "muon_rate": 0.02, "own_path_share": 0.5}
    told = [f"{name}={value}" for name, value in settings.items()]
    run_program(tmp_path / "one", *told)
    run_program(tmp_path / "two", *told, processes=2)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert losses(tmp_path / "two", "semantic") == pytest.approx(
        losses(tmp_path / "one", "semantic"), abs=1e-5
    )
    one, two = load_state(tmp_path / "one"), load_state(tmp_path / "two")
    assert one["model"].keys() == two["model"].keys() and one["ema"].keys() == two["ema"].keys()
    assert tiny_trainer(tiny_config(tmp_path / "two", **settings)).step == 6


def test_fsdp2_gives_the_losses_of_one_process(tmp_path):
    """FSDP2 over two processes (gloo, CPU), in two parts a step, stopped at step 3 of 6 and
    resumed: the losses and averaged weights of one process with whole weights. A held-out row is
    measured by the averages every second step, and the next step computes with the weights again.

    sharded_run.py looks at every step: all weights are sharded, and so are the gradients between
    the parts. Each process wrote its own part of the checkpoint; one process loads it.
    """
    settings = ["steps=6", "checkpoint_every=3", "muon_rate=0.02", "weights=true", "accumulation=2"]
    settings += ['validation={"rows":1,"every":2,"sigmas":[0.5]}']
    run_program(tmp_path / "one", *settings)
    two = tmp_path / "two"
    run_program(two, *settings, "stop_at=3", processes=2, program=SHARDED)
    first = two / "checkpoints" / "step-00000003"
    assert sorted(path.name for path in first.iterdir()) == [
        *(".metadata", "__0_0.distcp", "__1_0.distcp", "facts.json")
    ]
    run_program(two, *settings, processes=2, program=SHARDED)
    assert [path.name for path in (two / "checkpoints").iterdir()] == ["step-00000006"]
    assert not (two / "state.pt").exists()
    assert losses(two) == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    for name in ("semantic", "grad_norm"):
        assert losses(two, name) == pytest.approx(losses(tmp_path / "one", name), abs=1e-5)
    for expected, measured in zip(held_out(tmp_path / "one"), held_out(two), strict=True):
        assert measured == pytest.approx(expected, abs=1e-5)
    one, found = (
        torch.load(tmp_path / name / "averaged.pt", weights_only=True) for name in ("one", "two")
    )
    assert one.keys() == found.keys()
    assert max((one[name] - found[name]).abs().max().item() for name in one) < 1e-4
    alone = tiny_trainer(
        tiny_config(two, steps=6, checkpoint_every=3, muon_rate=0.02, accumulation=2)
    )
    assert alone.step == 6
    averages = alone.average()
    assert all(torch.equal(value, averages[name]) for name, value in found.items())


def test_accumulation_equals_one_pass(tmp_path):
    for name, parts in (("one", 1), ("two", 2)):
        tiny_trainer(tiny_config(tmp_path / name, accumulation=parts, steps=5)).run()
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-6)


def test_batch_that_cannot_be_divided(tmp_path):
    with pytest.raises(ConfigError, match="accumulation: got 3, needs a divisor of batch_size 4"):
        tiny_config(tmp_path, accumulation=3)


# --- bad endings -------------------------------------------------------------------------------


def test_nan_stops_names_the_sample_and_keeps_the_checkpoint(tmp_path):
    trainer = tiny_trainer(tiny_config(tmp_path), poison=6)
    with pytest.raises(
        DivergedError, match="loss at step 6: got not a number for step 6 sample 1, needs"
    ):
        trainer.run()
    assert load_state(tmp_path)["step"] == 4
    assert [line["step"] for line in logged(tmp_path)] == list(range(6))
    assert all(torch.isfinite(value).all() for value in load_state(tmp_path)["model"].values())


def test_infinite_gradient_stops_before_the_weights(tmp_path):
    trainer = tiny_trainer(tiny_config(tmp_path))
    weight = trainer.trainee.dit.head.head.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = trainer.trainee.dit.blocks[0].ffn[0].weight.detach().clone()
    with pytest.raises(DivergedError, match="gradients at step 0"):
        trainer.run()
    assert torch.equal(before, trainer.trainee.dit.blocks[0].ffn[0].weight)


def test_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    """A real write error, from a limit on the size of files."""
    resource = pytest.importorskip("resource")
    trainer = tiny_trainer(tiny_config(tmp_path))
    save = state_module.save_state

    def limited(folder, content):
        if content["step"] < 8:
            return save(folder, content)
        before, handler = (
            resource.getrlimit(resource.RLIMIT_FSIZE),
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
        )
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            save(folder, content)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    monkeypatch.setattr("sama_core.training.checkpoints.save_state", limited)
    with pytest.raises(StateError, match="could not be written.*previous checkpoint is intact"):
        trainer.run()
    assert load_state(tmp_path)["step"] == 4
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))


# --- precision and memory ----------------------------------------------------------------------


def test_bf16_trains(tmp_path, forget_precision):
    trainer = tiny_trainer(tiny_config(tmp_path / "half", precision="bf16", steps=3))
    trainer.run()
    assert {value.dtype for value in trainer.average().values()} == {torch.float32}
    forget_precision()
    tiny_trainer(tiny_config(tmp_path / "whole", steps=3)).run()
    half, whole = losses(tmp_path / "half"), losses(tmp_path / "whole")
    assert half != whole
    assert half == pytest.approx(whole, rel=0.02)


def gradients(config) -> dict[str, torch.Tensor]:
    trainee, batch = tiny_trainee(config), NoiseData(2).batch(0, slice(0, 2))
    generator = torch.Generator().manual_seed(0)
    for name, weight in trainee.named_parameters():
        if "head" in name:  # starts at zero, and would hide every other gradient
            weight.data.normal_(std=0.1, generator=generator)
    video, semantic = trainee(
        batch.target_latents,
        torch.tensor([500.0, 900]),
        batch.text,
        batch.source_latents,
        batch.semantic,
    )
    (video.square().mean() + semantic.square().mean()).backward()
    return {
        name.replace("_checkpoint_wrapped_module.", ""): weight.grad
        for name, weight in trainee.named_parameters()
    }


def test_gradient_checkpointing_changes_no_gradient(tmp_path):
    plain, saving = (
        gradients(tiny_config(tmp_path, gradient_checkpointing=on)) for on in (False, True)
    )
    assert plain.keys() == saving.keys() and all(value.abs().sum() > 0 for value in plain.values())
    assert all(torch.equal(value, saving[name]) for name, value in plain.items())


def test_gradient_checkpointing_saves_weights_under_their_own_names(tmp_path):
    plain = tiny_trainer(tiny_config(tmp_path / "plain", steps=2))
    plain.run()
    saving = tiny_trainer(tiny_config(tmp_path / "saving", steps=2, gradient_checkpointing=True))
    saving.run()
    assert losses(tmp_path / "plain") == losses(tmp_path / "saving")
    expected, found = plain.average(), saving.average()
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_without_semantic_anchoring(tmp_path):
    """The semantic parts are frozen and the semantic loss is 0."""
    trainer = tiny_trainer(tiny_config(tmp_path, semantic_weight=0.0, steps=2))
    trainer.run()
    assert losses(tmp_path, "semantic") == [0.0, 0.0]
    assert not any(
        "semantic_head" in name or "siglip" in name for name in trainer.optimisation.average.shadows
    )


def test_only_the_named_parts_are_trained(tmp_path):
    """All else stays bit for bit as it was, and neither optimiser nor average holds it."""
    config = tiny_config(tmp_path, trained_parts="blocks.1. head.", steps=3)
    before = {name: value.clone() for name, value in tiny_trainee(config).state_dict().items()}
    trainer = tiny_trainer(config)
    trainer.run()
    after = trainer.average()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    named = {name for name in before if name.startswith(("dit.blocks.1.", "dit.head."))}
    assert changed == named == set(trainer.optimisation.average.shadows)
    assert sum(
        len(group["params"]) for group in trainer.optimisation.optimizers[0].param_groups
    ) == len(named)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"trained_parts": "blocks.1. blocks.7."},
            r"trained_parts.*blocks\.7\..*blocks\.0\., blocks\.1\., .*head\.",
        ),
        ({"trained_parts": "head.", "lora_rank": 4}, "trained_parts.*empty with a lora_rank"),
        (
            {"trained_parts": "semantic_head.", "semantic_weight": 0.0},
            r"trained_parts: got semantic_head\., needs one that is trained",
        ),
    ],
)
def test_parts_that_cannot_be_trained_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        tiny_trainee(tiny_config(tmp_path, **settings))


def test_a_batch_source_error_is_not_swallowed(tmp_path):
    trainer = tiny_trainer(tiny_config(tmp_path))
    trainer.batches.batch = lambda step, part: (_ for _ in ()).throw(SamaError("no such clip"))
    with pytest.raises(SamaError, match="no such clip"):
        trainer.run()
