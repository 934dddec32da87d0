"""A small untrained SAMA in ComfyUI's model folders, and graphs on it."""

import shutil
from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip
from .graphs import CLIP_FILE, SMALL_AREA, Edit, SmallModels
from .identity_bench import Bench, write_loras

WAN_SETTINGS = '{"transformer": {"num_heads": 2, "text_dim": 64, "freq_dim": 64}}'


@pytest.fixture(scope="session")
def small(comfyui) -> SmallModels:
    """The untrained SAMA, the same weights without SAMA's tensors (a plain Wan), and a 9-frame
    clip.
    """
    from sama_core.weights.names import SAMA_KEYS

    from ..harness.untrained import write_untrained

    names = write_untrained(comfyui.base / "models")
    folder = comfyui.models("diffusion_models")
    weights = load_file(folder / names["diffusion_models"])
    wan = {key: value for key, value in weights.items() if key not in SAMA_KEYS}
    save_file(wan, folder / "wan_small.safetensors", metadata={"config": WAN_SETTINGS})
    write_clip(comfyui.base / "input" / CLIP_FILE, moving_shapes(9, 48, 32), Fraction(12))
    return SmallModels(
        names["diffusion_models"], names["text_encoders"], names["vae"], "wan_small.safetensors"
    )


@pytest.fixture
def store(comfyui):
    """The real store of this ComfyUI, empty before and after, with no whole videos beside it."""
    from sama_core.comfyui.long_edit import segment_store
    from sama_core.comfyui.whole_video import jobs_folder

    shutil.rmtree(jobs_folder(), ignore_errors=True)
    segment_store().clear()
    yield segment_store()
    segment_store().clear()


@pytest.fixture
def sampled_segments(monkeypatch, comfyui) -> list[int]:
    """The frames of every segment that is really sampled, in order."""
    from sama_core.comfyui.edit import EditRun

    counted, original = [], EditRun.sample

    def count(run, clip, *given):
        if given:  # noise and seed: SAMA Edit and SAMA Anchor Preview leave both to the settings
            counted.append(len(clip.frames))
        return original(run, clip, *given)

    monkeypatch.setattr(EditRun, "sample", count)
    return counted


@pytest.fixture
def edit(comfyui, small, monkeypatch) -> Edit:
    """A graph that edits 5 frames of 32x32 with the small model.

    No text counts frames, as after the first two seconds of a stage, however long one takes.
    """
    from sama_core.comfyui import node_progress

    monkeypatch.setattr(node_progress, "COUNTED_EVERY", float("inf"))
    return Edit(comfyui, small, area=SMALL_AREA)


@pytest.fixture(scope="session")
def sampled(comfyui, small) -> dict[str, torch.Tensor]:
    """The latent of a plain euler run, three steps, cfg 5, seed 1, that other runs are compared
    with.
    """
    return Edit(comfyui, small, area=SMALL_AREA).sample()


@pytest.fixture(scope="module")
def bench(comfyui, small) -> Bench:
    """The small model, on which tests of identities sample and ask for keys."""
    write_loras(comfyui.models("loras"))
    return Bench(comfyui, small)


@pytest.fixture(scope="module")
def plain(bench) -> tuple[str, torch.Tensor]:
    """Key and latent of the bench's own model."""
    return bench.run(bench.model)
