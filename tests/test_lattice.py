"""A second lattice goes the way of Wan 2.1's: through clips, masks, tiles, segments, training, plan
and model, with no factor of Wan 2.1 left in between.

`WAN_22` has other channels and cells, `SLOW` has another factor in time and no patches.
"""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

import sama_core
from sama_core.clip import ClipRange, Fit, ImageSource, fit_clip
from sama_core.clip.placement import place
from sama_core.encoders.latent_space import LatentSpace, Tiles, blend_tiles
from sama_core.errors import CheckpointError, GeometryError
from sama_core.geometry import WAN_21, WAN_22, ClipShape, LatentShape, Lattice, lattice_of
from sama_core.long import Segment, plan_segments
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.plan.planning import _fewer_frames, _smaller_areas
from sama_core.plan.request import Request, fitted_clip
from sama_core.region import FittedClip, fit_mask, latent_mask
from sama_core.training.alignment import Projector
from sama_core.training.alignment.saliency import reduce_mask
from sama_core.training.config import TrainConfig
from sama_core.training.pretext import PRETEXTS, pretexts_for
from sama_core.training.pretext.operators import resample_indices
from sama_core.training.recipe import ConfigError, refuse_bad
from sama_core.training.rows.frozen_encoders import FrozenEncoders
from sama_core.weights.checkpoint import model_shapes

SLOW = Lattice(channels=8, spatial=16, temporal=8, patch=(1, 1, 1))
SMALL = {
    "dim": 32, "num_heads": 2, "ffn_dim": 48, "num_layers": 1, "text_dim": 8, "freq_dim": 16,
    "in_dim": 48, "out_dim": 48, "semantic_dim": 12, "semantic_hidden": 16, "semantic_tokens": 5,
}  # fmt: skip


def test_the_lattice_of_a_model_follows_from_its_channels_and_patch():
    assert Lattice(16, 8, 4, (1, 2, 2)) == WAN_21 == lattice_of(16)
    assert Lattice(48, 16, 4, (1, 2, 2)) == WAN_22 == lattice_of(48)
    assert lattice_of(6, (1, 1, 4)) == Lattice(6, 8, 4, (1, 1, 4))
    assert (WAN_21.side_multiple, WAN_22.side_multiple, SLOW.side_multiple) == (16, 32, 16)
    assert (WAN_22.frame_rule, SLOW.frame_rule) == ("4k+1", "8k+1")


@pytest.mark.parametrize("frames, latents", [(1, 1), (9, 2), (17, 3), (81, 11)])
def test_frames_and_latent_frames(frames, latents):
    assert SLOW.takes_count(frames) and not SLOW.takes_count(frames + 4)
    assert SLOW.latents_of(frames) == latents and SLOW.frames_of(latents) == frames


# --- clips and masks ---------------------------------------------------------------------------


def test_a_clip_is_fitted_and_padded_for_the_lattice():
    kept = place(100, 60, fit=Fit.KEEP, lattice=WAN_22)
    assert (kept.width, kept.height) == (128, 64)
    source = ImageSource(torch.rand(3, 40, 70, 3), 24)
    frames, info = fit_clip(source, ClipRange(), fit=Fit.KEEP, lattice=SLOW)
    assert frames.shape == (9, 48, 80, 3) and info.padded_count == 9
    frames, _ = fit_clip(source, ClipRange(), fit=Fit.KEEP, lattice=WAN_22)
    assert frames.shape == (5, 64, 96, 3)


def test_a_region_mask_becomes_cells_of_the_lattice():
    mask = torch.zeros(5, 32, 64)
    mask[3, 17, 33] = 1
    cells = latent_mask(mask, WAN_22)
    assert cells.shape == (1, 1, 2, 2, 4) and cells.nonzero().tolist() == [[0, 0, 1, 1, 2]]
    slow = latent_mask(torch.cat([mask, torch.zeros(4, 32, 64)]), SLOW)
    assert slow.shape == (1, 1, 2, 2, 4) and slow.nonzero().tolist() == [[0, 0, 1, 1, 2]]
    with pytest.raises(GeometryError, match=r"48x32, .* multiples of 32\. Use 64x32"):
        latent_mask(torch.ones(5, 32, 48), WAN_22)


def test_a_fitted_clip_has_the_latent_of_its_lattice():
    clip = FittedClip.check(torch.rand(17, 32, 64, 3), torch.ones(1, 32, 64), WAN_22)
    assert clip.latent == LatentShape(5, 2, 4, WAN_22)
    assert clip.part(slice(0, 9)).latent == LatentShape(3, 2, 4, WAN_22)
    with pytest.raises(GeometryError, match=r"got 13, needs 8k\+1 frames .* Use 17 frames"):
        FittedClip.check(torch.rand(13, 32, 64, 3), lattice=SLOW)
    assert fit_mask(torch.ones(3, 16, 16), 9, 16, 16, lattice=SLOW).shape == (9, 16, 16)


# --- latents -----------------------------------------------------------------------------------


def test_tiles_of_a_vae_of_sixteen_pixels_a_cell():
    pixels = torch.rand(1, 48, 2, 96, 128)

    def pool(tile):
        return functional.avg_pool3d(tile, (1, 16, 16))

    def enlarge(tile):
        return functional.interpolate(tile, scale_factor=(1, 16, 16))

    tiles = Tiles((4, 4), (2, 3))
    latent = blend_tiles(pool, pixels, tiles, encode=True, lattice=WAN_22)
    assert latent.shape == (1, 48, 2, 6, 8)
    torch.testing.assert_close(latent, pool(pixels))
    decoded = blend_tiles(enlarge, latent, tiles, encode=False, lattice=WAN_22)
    assert decoded.shape == pixels.shape
    torch.testing.assert_close(decoded, enlarge(latent))


def test_segments_of_a_long_clip():
    assert plan_segments(9, 5, 1, WAN_22) == [
        Segment(0, 5, WAN_22), Segment(3, 5, WAN_22), Segment(4, 5, WAN_22),
    ]  # fmt: skip
    assert [segment.frames for segment in plan_segments(9, 5, 1, SLOW)] == [
        slice(0, 33), slice(24, 57), slice(32, 65),
    ]  # fmt: skip
    wrong = "got 17 frames with an overlap of 16, .* overlap of 8 or more, .* 9 frames longer .* 25"
    with pytest.raises(GeometryError, match=wrong):
        plan_segments(9, 3, 2, SLOW)


# --- training ----------------------------------------------------------------------------------


def test_pretexts_keep_a_length_that_the_vae_takes():
    assert resample_indices(49, lattice=SLOW).tolist() == list(range(0, 34, 2))
    clip = torch.arange(26.0).view(26, 1, 1, 1)
    slow, usual = (
        table["speed_perturbation"].perturb(clip, torch.Generator()).flatten().tolist()
        for table in (pretexts_for(SLOW), PRETEXTS)
    )
    assert slow == [*range(0, 17, 2), *[16] * 17]
    assert usual == [*range(0, 25, 2), *[24] * 13]
    assert resample_indices(25, lattice=SLOW).tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert pretexts_for(SLOW).keys() == PRETEXTS.keys()


def test_a_recipe_is_checked_by_the_model_that_it_names():
    config = TrainConfig(1, "data", "model", "output", 1, 1, frames=13, height=48, width=64)
    refuse_bad(config.clip_checks())
    with pytest.raises(ConfigError, match="64x48, needs multiples of 32"):
        refuse_bad(config.clip_checks(WAN_22))
    with pytest.raises(ConfigError, match=r"frames: got 13, needs 8k\+1"):
        refuse_bad(config.clip_checks(SLOW))


def test_a_vae_of_other_channels_is_refused_before_training():
    encoders = SimpleNamespace(space=SimpleNamespace(lattice=LatentSpace.lattice))
    FrozenEncoders.check_latents(encoders, WAN_21)
    with pytest.raises(CheckpointError, match="16 channels, needs the model's 48 channels"):
        FrozenEncoders.check_latents(encoders, WAN_22)


def test_alignment_follows_the_factor_in_time():
    project = Projector(12, 6, (2, 3), (2, 3), tracking=True, widths=(16, 8, 8), lattice=SLOW)
    assert project(torch.rand(1, 2 * 2 * 3, 12), (2, 2, 3)).shape == (1, 9, 2, 3, 6)
    mask = torch.zeros(1, 9, 4, 4)
    mask[:, 0] = 1
    assert reduce_mask(mask, (2, 1, 1), SLOW).flatten().tolist() == [1, 0]


# --- plan and model ----------------------------------------------------------------------------


def test_a_plan_counts_in_the_lattice_of_its_model():
    config = DitConfig(**SMALL)
    clip, remarks = fitted_clip(10, 128, 96, lattice=config.lattice)
    assert clip == ClipShape(13, 96, 128, WAN_22)
    assert remarks == ("10 frames will be padded to 13 (4k+1).",)
    assert fitted_clip(10, 80, 96, lattice=SLOW)[0] == ClipShape(17, 96, 80, SLOW)
    shorter = [text for text, _ in _fewer_frames(Request(ClipShape(25, 64, 64, SLOW), config))]
    assert shorter == ["17 frames", "9 frames", "1 frames"]
    smaller = [each.clip for _, each in _smaller_areas(Request(clip, config))]
    assert smaller and all(each.lattice == WAN_22 for each in smaller)


def test_a_bare_model_of_48_channels_runs():
    model = SamaDiT(DitConfig(**SMALL))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert DitConfig.from_shapes(shapes, 2, 5) == model.config
    assert shapes == {name: tuple(shape) for name, shape in model_shapes(model.config).items()}
    assert model.lattice == WAN_22
    latent = ClipShape(5, 64, 96, model.lattice).latent()
    assert latent == LatentShape(2, 4, 6, WAN_22) and latent.tokens() == 2 * 2 * 3
    video = torch.randn(1, 48, 2, 4, 6)
    with torch.no_grad():
        velocity, semantic = model(
            video, torch.ones(1), torch.randn(1, 4, 8), video, torch.randn(1, 5, 12)
        )
    assert velocity.shape == (1, 48, 2, 4, 6) and semantic.shape == (1, 5, 12)


# --- nowhere else ------------------------------------------------------------------------------

HOMES = {"geometry.py", "released_files.py"}
NAMES = re.compile(r"FACTOR|MULTIPLE|STRIDE|PATCH|TEMPORAL|SPATIAL|CHANNELS|COMPRESSION")
FACTORS = {4, 8, 16, 32}
NO_GEOMETRY = {
    ("clip/picture.py", "round(-clockwise / 90) % 4"): "quarter turns",
    ("convert/layouts.py", "tensor.count % 4"): "padding of a file",
    ("launch/server/websocket.py", "i % 4"): "bytes of a mask",
    ("shapes/learned_saliency.py", "width // 4"): "the width of a layer",
    ("shapes/codec/colour_fit.py", "options.clips // 4"): "a share of the clips",
    ("shapes/codec/linear_start.py", "channels * 3 // 4"): "a share of the codec's own channels",
}
"""Remainders and divisions by such numbers that are not about clips and latents, and why."""


def modules():
    root = Path(sama_core.__path__[0])
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name not in HOMES:
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def literals(node):
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}


def test_no_other_module_has_a_constant_for_a_factor():
    found = [
        f"{name}: {ast.unparse(node)}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and NAMES.search(" ".join(map(ast.unparse, node.targets)))
        and literals(node.value) & (FACTORS | {48})
    ]
    assert found == []


def test_no_other_module_divides_by_a_factor():
    divisions = {
        (name, ast.unparse(node))
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mod | ast.FloorDiv)
        and isinstance(node.right, ast.Constant)
        and node.right.value in FACTORS
    }
    assert divisions == set(NO_GEOMETRY)


SIZES = re.compile(r"frame|latent|height|width|side|pixel|cell|row|column|\b[hw]\b")
NO_SIZE = {
    ("training/alignment/saliency.py", "4 * width"): "the width of a layer",
    ("plan/align_law.py", "4 * (self.slices * self.cells) ** 2"): "operations of a pair",
}


def test_no_other_module_multiplies_sizes_by_a_factor():
    products = {
        (name, ast.unparse(node))
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)
        for factor, size in ((node.left, node.right), (node.right, node.left))
        if isinstance(factor, ast.Constant) and factor.value in FACTORS
        if SIZES.search(ast.unparse(size))
    }
    assert products == set(NO_SIZE)
