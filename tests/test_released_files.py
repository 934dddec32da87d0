"""A release is one value: geometry, model and plan of another one follow from it alone."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sama_core
from sama_core import embedded
from sama_core.errors import InputError
from sama_core.geometry import ClipShape, LatentShape, Lattice, pad_frame_count
from sama_core.model import schedule
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.model.memory_law import sequence_tokens
from sama_core.plan.request import Request, forward_flops
from sama_core.plan.weight_bytes import RELEASED, RELEASED_CONFIG
from sama_core.released_files import (
    DIFFUSION_MODEL,
    SAMA_14B,
    SAMA_SHAPES,
    Release,
    default_file,
    release_of,
)
from sama_core.weights.checkpoint import model_shapes
from sama_core.weights.header import read_header

WIDE = Lattice(channels=48, spatial=16, temporal=4, patch=(1, 2, 2))
ANOTHER = Release(
    "another",
    {**SAMA_14B.sizes, "dim": 3072, "num_heads": 24, "num_layers": 30, "in_dim": 48, "out_dim": 48},
    WIDE,
    steps=30,
    cfg=4.0,
    shift=5.0,
    frames=121,
    area=704 * 1280,
)


def test_sama_14b():
    assert (SAMA_14B.steps, SAMA_14B.cfg, SAMA_14B.shift) == (50, 5.0, 5.0)
    assert (SAMA_14B.frames, SAMA_14B.area) == (81, 480 * 832)
    assert SAMA_14B.lattice == Lattice(16, 8, 4, (1, 2, 2))
    defaults = (schedule.DEFAULT_STEPS, schedule.DEFAULT_CFG, schedule.DEFAULT_SHIFT)
    assert defaults == (SAMA_14B.steps, SAMA_14B.cfg, SAMA_14B.shift)
    assert DitConfig(**SAMA_14B.sizes) == RELEASED_CONFIG
    assert RELEASED.stored == default_file(DIFFUSION_MODEL).size == 28_601_809_776


def test_steps_0_and_cfg_minus_1_are_the_models_own():
    assert SAMA_14B.sampling.fill() == (50, 5.0, "50 steps and cfg 5 for SAMA-14B")
    assert SAMA_SHAPES.sampling.fill() == (10, 1.3, "10 steps and cfg 1.3 for SAMA-Shapes")
    assert SAMA_SHAPES.sampling.fill(3) == (3, 1.3, "cfg 1.3 for SAMA-Shapes")
    assert SAMA_SHAPES.sampling.fill(0, 0.0) == (10, 0.0, "10 steps for SAMA-Shapes")
    assert SAMA_SHAPES.sampling.fill(50, 5.0) == (50, 5.0, "")


@pytest.mark.parametrize(
    ("steps", "cfg", "sentence"),
    [
        (-1, 1.0, "steps: got -1, needs 0 or more. 0 takes the model's own number of steps."),
        (1, -0.5, "cfg: got -0.5, needs 0 or more, or -1. -1 takes the model's own cfg."),
        (1, -2.0, "cfg: got -2.0, needs 0 or more, or -1."),
        (1, float("nan"), "cfg: got nan, needs 0 or more, or -1."),
        (1, float("inf"), "cfg: got inf, needs 0 or more, or -1."),
    ],
)
def test_numbers_that_no_run_can_have(steps, cfg, sentence):
    with pytest.raises(InputError) as error:
        SAMA_14B.sampling.fill(steps, cfg)
    assert str(error.value).startswith(sentence)


def test_a_model_is_known_by_the_width_of_its_text():
    """A fine-tuned one, too; with any small text encoder it is SAMA-Shapes' kin."""
    assert release_of(4096) is SAMA_14B
    assert release_of(128) is release_of(64) is SAMA_SHAPES


def test_sama_shapes_is_what_its_file_says():
    header = read_header(embedded.DIT)
    found = DitConfig.from_shapes(header.shapes, SAMA_SHAPES.sizes["num_heads"])
    assert found == DitConfig(**SAMA_SHAPES.sizes)
    assert SAMA_SHAPES.weights == embedded.DIT and SAMA_SHAPES.area == 64 * 64


def test_clips_and_latents_of_another_release():
    clip = ClipShape(121, 704, 1280, WIDE)
    latent = clip.latent()
    assert latent == LatentShape(31, 44, 80, WIDE) and latent.clip() == clip
    assert latent.grid() == (31, 22, 40) and WIDE.side_multiple == 32
    assert pad_frame_count(118, WIDE) == 121
    long = dataclasses.replace(WIDE, temporal=8)
    assert pad_frame_count(3, long) == 9 and ClipShape(9, 32, 32, long).latent().frames == 2


def test_model_and_plan_of_another_release():
    config = DitConfig(**ANOTHER.sizes, patch=ANOTHER.lattice.patch)
    assert DitConfig.from_shapes(model_shapes(config)) == config
    assert config.lattice.channels == 48
    latent = ClipShape(ANOTHER.frames, 704, 1280, WIDE).latent()
    assert sequence_tokens(config, latent) == 2 * 31 * 22 * 40 + 65
    assert forward_flops(config, latent).total > 0
    assert Request(ClipShape(5, 64, 64, WIDE), config).clip.latent().tokens() == 2 * 2 * 2


def test_a_model_of_other_channels_and_patches_runs():
    sizes = {
        "dim": 32, "num_heads": 2, "ffn_dim": 48, "num_layers": 1, "text_dim": 8, "freq_dim": 16,
        "in_dim": 6, "out_dim": 6, "semantic_dim": 12, "semantic_hidden": 16, "semantic_tokens": 5,
    }  # fmt: skip
    model = SamaDiT(DitConfig(**sizes, patch=(1, 1, 4)))
    latents = torch.randn(1, 6, 2, 3, 8)
    with torch.no_grad():
        video, semantic = model(
            latents, torch.ones(1), torch.randn(1, 4, 8), latents, torch.randn(1, 5, 12)
        )
    assert video.shape == latents.shape and semantic.shape == (1, 5, 12)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert DitConfig.from_shapes(shapes, num_heads=2, semantic_tokens=5) == model.config


def test_importing_the_package_imports_no_torch_and_every_public_name_resolves():
    program = "import sama_core, sys; print('torch' in sys.modules)"
    root = Path(sama_core.__path__[0]).parent
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"
    names = {
        "SamaDiT", "DitConfig", "LoadReport", "load_state_dict_report", "flow_sigmas", "denoise",
        "choose_bucket", "pad_frame_count", "clean_instruction",
    }  # fmt: skip
    assert set(sama_core.__all__) == names
    assert all(getattr(sama_core, name).__name__ == name for name in names)


def test_dir_lists_the_public_names_without_importing_torch():
    program = "import sama_core, sys; print(*dir(sama_core)); print('torch' in sys.modules)"
    root = Path(sama_core.__path__[0]).parent
    listed, torch_imported = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {*sama_core.__all__, "__all__", "__doc__"} <= set(listed.split())
    assert torch_imported == "False"
