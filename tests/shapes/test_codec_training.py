"""A very small codec training: linear start, learning, resuming, and a file for ComfyUI."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sama_core.encoders.vae import WanVae, load_wan_vae
from sama_core.encoders.vae_layout import WAN_MEAN, WAN_STD, vae_shapes
from sama_core.scores.fidelity import psnr
from sama_core.shapes.codec.config import CodecConfig
from sama_core.shapes.codec.export import export, fold_affine, fold_standard
from sama_core.shapes.codec.linear_start import linear_start
from sama_core.shapes.codec.train import CodecTrainer, clips_at
from sama_core.training.optim.muon import orthogonalise
from sama_core.training.optim.optimisation import rate_at
from sama_core.training.recipe import ConfigError, read_recipe

from ..harness.golden import assert_close, load_golden
from ..harness.untrained import vae

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "sama_core" / "shapes" / "recipes" / "shapes_codec.toml"


@pytest.fixture(autouse=True)
def one_thread():
    """Bit-exact sums, and no fight over the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings(folder: Path, **changes) -> CodecConfig:
    return CodecConfig(
        **{
            "steps": 12,
            "output": str(folder),
            "width": 4,
            "batch_size": 2,
            "frames": (5,),
            "size": 32,
            "planar": ("decoder",),
            "start_clips": 4,
            "val_clips": 8,
            "val_every": 1000,
            "checkpoint_every": 4,
            "log_every": 1,
            "warmup": 4,
            **changes,
        }
    )


def lines(folder: Path) -> list[dict]:
    return [
        json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_linear_start_beats_a_random_one():
    """Without a step: a picture, not noise."""
    clips = clips_at(1, 8, 9, 32)
    started, plain = WanVae(8), load_wan_vae(vae(torch.Generator().manual_seed(0), width=8))
    linear_start(started, clips, torch.Generator().manual_seed(0))
    fresh = clips_at(2, 8, 9, 32, "test")
    with torch.inference_mode():
        found, noise = (
            psnr(one.decode(one.encode(fresh)).clamp(-1, 1), fresh, peak=2.0).mean().item()
            for one in (started, plain)
        )
    assert found > 18
    assert found > noise + 8


def test_loss_falls(tmp_path):
    """40 steps take the squared error of held-out clips to less than 0.8 of the linear start's."""
    trainer = CodecTrainer(settings(tmp_path, steps=40, batch_size=4))
    before = trainer.validate()
    after = trainer.run()
    assert 10 ** ((before - after) / 10) < 0.8, (before, after)


def test_resume_equals_an_uninterrupted_run(tmp_path):
    whole = CodecTrainer(settings(tmp_path / "whole"))
    whole.run()
    CodecTrainer(settings(tmp_path / "parts")).run(until=8)
    resumed = CodecTrainer(settings(tmp_path / "parts"))
    assert resumed.step == 8
    resumed.run()
    for name, value in whole.vae.state_dict().items():
        assert torch.equal(value, resumed.vae.state_dict()[name]), name
        assert torch.equal(whole.average[name], resumed.average[name]), name


def test_killed_run_resumes_with_the_same_losses(tmp_path):
    """kill -9 within a step: the steps since the last checkpoint are repeated with equal losses."""
    whole = CodecTrainer(settings(tmp_path / "whole"))
    whole.run()
    folder, recipe = tmp_path / "killed", tmp_path / "recipe.toml"
    values = {**asdict(settings(folder)), "frames": [5], "planar": ["decoder"], "full": []}
    recipe.write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "sama_core.shapes.codec.train", "--config", str(recipe)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (folder / "state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=900
    )
    expected = {line["step"]: line["loss"] for line in lines(tmp_path / "whole") if "loss" in line}
    found = {line["step"]: line["loss"] for line in lines(folder) if "loss" in line}
    assert found == expected


def test_resume_with_other_settings_is_refused(tmp_path):
    CodecTrainer(settings(tmp_path)).run(until=4)
    with pytest.raises(ConfigError, match=r"learning_rate 0\.0005 → 0\.1"):
        CodecTrainer(settings(tmp_path, learning_rate=0.1))


def test_recipe_is_readable_and_misspelt_settings_are_named(tmp_path):
    assert read_recipe(RECIPE, CodecConfig).width == 16
    bad = tmp_path / "bad.toml"
    bad.write_text("steps = 3\nmuon_rat = 1.0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="muon_rat"):
        read_recipe(bad, CodecConfig)
    with pytest.raises(ConfigError, match="frames"):
        settings(tmp_path, frames=(6,))


def test_schedule_follows_steps():
    config = CodecConfig(steps=100, warmup=10, decay_from=0.5)
    assert [rate_at(step, config) for step in (0, 9, 50, 75, 99)] == pytest.approx(
        [0.1, 1, 1, 0.5, 0.02]
    )


def test_where_warm_up_reaches_into_the_decay_the_lesser_rate_is_taken(tmp_path, monkeypatch):
    """So it was when the pack's own codec was trained: a training of then resumes equally."""
    monkeypatch.setattr(CodecTrainer, "_export", lambda *_: None)
    monkeypatch.setattr(CodecTrainer, "validate", lambda *_: 0.0)
    trainer = CodecTrainer(settings(tmp_path, steps=8, warmup=6, decay_from=0.25))
    muon, adamw = trainer.optimisation.optimizers
    largest = [one.param_groups[0]["lr"] for one in (muon, adamw)]
    factors = []
    for step in range(8):
        trainer.run(until=step + 1)
        now = [one.param_groups[0]["lr"] for one in (muon, adamw)]
        assert now[0] / largest[0] == pytest.approx(now[1] / largest[1])
        factors.append(now[1] / largest[1])
    assert factors == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_muon_step_is_nearly_orthogonal():
    matrix = torch.randn(16, 40, generator=torch.Generator().manual_seed(1))
    matrix[:, 5] = 0
    found = orthogonalise(matrix)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert torch.count_nonzero(found[:, 5]) == 0
    assert_close(orthogonalise(matrix.T), found.T, rel_l2=1e-5)


def test_fold_is_exact():
    """Latents are mapped as asked; decoding the mapped latents gives the same clip."""
    one = load_wan_vae(vae(torch.Generator().manual_seed(1), width=4)).double()
    clips = clips_at(3, 2, 5, 32).double()
    scale, shift = torch.linspace(0.5, 3, 16).double(), torch.linspace(-2, 1, 16).double()
    with torch.inference_mode():
        latents = one.encode(clips)
        decoded = one.decode(latents)
        fold_affine(one, scale, shift)
        mapped = latents * scale.view(1, -1, 1, 1, 1) + shift.view(1, -1, 1, 1, 1)
        assert_close(one.encode(clips), mapped, rel_l2=1e-12)
        assert_close(one.decode(mapped), decoded, rel_l2=1e-12)


def test_latent_constants_are_the_official_ones():
    golden = load_golden("vae_small")
    assert torch.equal(torch.tensor(WAN_MEAN), golden["mean"])
    assert torch.equal(torch.tensor(WAN_STD), golden["std"])


def test_export_loads_in_comfyui(comfyui, tmp_path):
    """Official names, float16, normalised latents; ComfyUI's VAE shows the same pictures."""
    import comfy.latent_formats

    from sama_core.comfyui.loaders import load_vae

    ours = WanVae(4)
    clips = clips_at(4, 4, 9, 32)
    linear_start(ours, clips, torch.Generator().manual_seed(0))
    path = tmp_path / "vae.safetensors"
    fold_standard(ours, clips)
    export(ours, path, {"steps": 0})
    assert {name: tuple(value.shape) for name, value in load_file(path).items()} == vae_shapes(4)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["training"]) == {"steps": 0}

    theirs, ours = load_vae(str(path)), load_wan_vae(load_file(path))
    pixels = (clips[:1].movedim(1, -1)[0] + 1) / 2
    latents = theirs.encode(pixels)
    with torch.inference_mode():
        expected = ours.encode(clips[:1])
        assert_close(latents.float(), expected, rel_l2=1e-3)
        shown = theirs.decode(latents)[0].float() * 2 - 1
        assert_close(shown, ours.decode(expected).clamp(-1, 1)[0].movedim(0, -1), rel_l2=1e-2)
        normal = comfy.latent_formats.Wan21().process_in(ours.encode(clips))
    assert normal.mean((0, 2, 3, 4)).abs().max() < 0.02
    # Width 4 has room for 15 components; the channel that is left does not change.
    assert (normal.std((0, 2, 3, 4))[:15] - 1).abs().max() < 0.02


def test_decoder_only_leaves_the_latents_alone(tmp_path):
    """What a DiT was trained on still encodes to the same latents, to float16's rounding."""
    CodecTrainer(settings(tmp_path / "first")).run(until=4)
    first = tmp_path / "first" / "vae.safetensors"
    CodecTrainer(settings(tmp_path / "second", init=str(first), decoder_only=True)).run(until=4)
    before, after = load_file(first), load_file(tmp_path / "second" / "vae.safetensors")
    for name, value in before.items():
        if name.startswith(("encoder.", "conv1.")):
            assert_close(
                after[name].float(), value.float(), max_abs=2e-3 * value.float().abs().max().item()
            )
    assert not torch.equal(before["decoder.conv1.weight"], after["decoder.conv1.weight"])
