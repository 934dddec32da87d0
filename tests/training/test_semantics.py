"""Semantic targets: token layout, both encoders, and what they refuse.

No downloads: SigLIP is tiny and random.
"""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sama_core.errors import RuntimeSetupError, SamaError
from sama_core.training.rows.frozen_encoders import load_semantics
from sama_core.training.semantics import PixelEncoder, SiglipEncoder, anchor_frame
from sama_core.training.semantics.encoder import siglip_pixels
from sama_core.training.semantics.pixel_encoder import (
    STATISTICS,
    calibration_frames,
    cell_statistics,
)

from ..harness.comfy_home import declare_torchvision_schemas
from ..harness.imports import REPO_ROOT
from .alignment.test_teachers import tiny_dino

RED, BLUE, GREY = (0.9, 0.1, 0.1), (0.1, 0.2, 0.9), (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def pixels() -> PixelEncoder:
    return PixelEncoder()


def vision(image_size: int = 48, patch_size: int = 4, head: bool = True):
    """A SigLIP vision model of 12 x 12 patches, 24 wide, with random weights."""
    declare_torchvision_schemas()  # transformers imports torchvision
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(0)
    config = SiglipVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=image_size,
        patch_size=patch_size,
    )
    config.vision_use_head = head
    return SiglipVisionModel(config)


@pytest.fixture(scope="module")
def siglip() -> SiglipEncoder:
    return SiglipEncoder(vision())


@pytest.fixture(params=["pixels", "siglip"])
def encoder(request):
    return request.getfixturevalue(request.param)


def square(
    colour: tuple[float, float, float],
    side: int = 64,
    top: int = 24,
    left: int = 24,
    size: int = 16,
) -> Tensor:
    """(1, H, W, 3): one square on grey."""
    frame = torch.tensor(GREY).expand(1, side, side, 3).clone()
    frame[:, top : top + size, left : left + size] = torch.tensor(colour)
    return frame


def disc(colour: tuple[float, float, float], side: int = 64, radius: float = 9.0) -> Tensor:
    """(1, H, W, 3): one disc in the middle, about as large as the square."""
    at = torch.arange(side) + 0.5 - side / 2
    inside = (at[:, None].square() + at.square()) < radius**2
    return torch.where(inside[..., None], torch.tensor(colour), torch.tensor(GREY))[None]


# --- both encoders -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (33, 17), (8, 8), (480, 832)])
def test_65_tokens_of_any_frame_size(encoder, size):
    tokens = encoder.encode(torch.rand(2, *size, 3, generator=torch.Generator().manual_seed(0)))
    assert tokens.shape == (2, 65, encoder.width)
    assert tokens.dtype == torch.float32 and tokens.isfinite().all() and not tokens.requires_grad


def test_a_token_sees_its_own_cell_row_by_row(pixels):
    """A patch in row 2, column 5 of the 8 x 8 cells is token 21; the global token sees it too."""
    grey, marked = square(GREY), square(RED, top=2 * 8, left=5 * 8, size=8)
    changed = (pixels.encode(marked) - pixels.encode(grey)).abs().amax(-1)[0] > 1e-5
    assert changed.nonzero().flatten().tolist() == [21, 64]


def test_siglip_tokens_lie_row_by_row(siglip):
    """Against the patches themselves: token 8·row + column is the mean of the patches that its cell
    touches.
    """
    frame = torch.rand(1, 48, 48, 3, generator=torch.Generator().manual_seed(1))
    patches = (
        siglip.vision(pixel_values=siglip_pixels(frame, 48))
        .last_hidden_state[0]
        .unflatten(0, (12, 12))
    )
    tokens = siglip.encode(frame)[0]
    torch.testing.assert_close(tokens[0], patches[0:2, 0:2].mean((0, 1)))
    torch.testing.assert_close(tokens[8 * 2 + 5], patches[3:5, 7:9].mean((0, 1)))
    torch.testing.assert_close(tokens[63], patches[10:12, 10:12].mean((0, 1)))


def test_tokens_do_not_depend_on_the_batch_or_the_global_generator(encoder):
    frames = torch.rand(3, 32, 32, 3, generator=torch.Generator().manual_seed(2))
    state = torch.get_rng_state()
    together = encoder.encode(frames)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(
        torch.cat([encoder.encode(frame[None]) for frame in frames]), together
    )
    assert torch.equal(encoder.encode(frames), together)


def test_encoders_have_nothing_to_train(encoder):
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not any(
        module.training
        for module in torch.nn.Sequential(encoder).train().modules()
        if isinstance(module, SiglipEncoder) or "Siglip" in type(module).__name__
    )


def test_a_nan_stays_in_its_own_frame(encoder):
    frames = torch.rand(3, 32, 32, 3, generator=torch.Generator().manual_seed(3))
    frames[1, 4, 5, 0] = torch.nan
    tokens = encoder.encode(frames)
    assert tokens[1].isnan().any() and tokens[[0, 2]].isfinite().all()


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(64, 64, 3),
        torch.zeros(1, 3, 64, 64),
        torch.zeros(1, 64, 64, 3, dtype=torch.uint8),
        torch.zeros(1, 5, 64, 64, 3),
    ],
)
def test_other_frames_are_refused(encoder, bad):
    with pytest.raises(
        SamaError, match=r"needs \(B, H, W, 3\) floating point in 0..1. Divide 8-bit frames by 255"
    ):
        encoder.encode(bad)


def test_wrong_teacher_width(pixels, siglip):
    pixels.check_width(48)
    message = (
        "semantic encoder: got PixelEncoder with tokens 48 wide, needs the model's 1152. "
        "Choose the encoder the model was made for"
    )
    with pytest.raises(SamaError, match=message):
        pixels.check_width(1152)
    with pytest.raises(
        SamaError, match="SiglipEncoder with tokens 24 wide, needs the model's 1152"
    ):
        siglip.check_width(1152)


def test_anchor_is_frame_0():
    clip = torch.rand(2, 5, 8, 8, 3)
    assert torch.equal(anchor_frame(clip), clip[:, 0])
    with pytest.raises(SamaError, match="Add the batch axis"):
        anchor_frame(clip[0])


def test_importing_the_package_is_light():
    """Neither torch nor transformers for the map; no transformers for the encoders."""
    lines = (
        "import sys; import sama_core.training; assert 'torch' not in sys.modules; "
        "import sama_core.training.semantics; assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", lines], cwd=REPO_ROOT, check=True)


# --- the pixel encoder -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 32, 48, 64])
def test_pixel_width_is_chosen_and_narrow_ones_are_parts_of_wide_ones(width):
    frame = calibration_frames(4, seed=1)
    narrow, wide = PixelEncoder(width).encode(frame), PixelEncoder(64).encode(frame)
    assert narrow.shape == (4, 65, width)
    torch.testing.assert_close(narrow, wide[..., :width])


@pytest.mark.parametrize("width", [0, 65, 1152])
def test_pixel_width_has_limits(width):
    with pytest.raises(SamaError, match=f"width of the pixel encoder: got {width}, needs 1 to 64"):
        PixelEncoder(width)


def test_channels_have_about_unit_variance(pixels):
    """Exactly where it was calibrated; within a quarter on other pictures of the kind."""
    for seed, slack in ((None, 1e-4), (5, 0.25)):
        tokens = pixels.encode(
            calibration_frames() if seed is None else calibration_frames(seed=seed)
        )
        for part in (tokens[:, :64].flatten(0, 1), tokens[:, 64]):
            assert (part.std(0) - 1).abs().max() < slack
            assert part.mean(0).abs().max() < max(slack, 1e-4)


def test_own_frames_calibrate_exactly():
    frames = torch.rand(40, 32, 32, 3, generator=torch.Generator().manual_seed(4)) ** 2
    tokens = PixelEncoder(32, frames).encode(frames)
    torch.testing.assert_close(tokens[:, :64].flatten(0, 1).std(0), torch.ones(32))
    torch.testing.assert_close(tokens[:, 64].std(0), torch.ones(32))


def test_two_pixel_encoders_are_equal_and_can_be_saved(pixels):
    again = PixelEncoder()
    assert all(
        torch.equal(again.state_dict()[name], value) for name, value in pixels.state_dict().items()
    )
    again.load_state_dict(PixelEncoder(48, torch.rand(4, 16, 16, 3)).state_dict())
    again.load_state_dict(pixels.state_dict())
    assert torch.equal(again.encode(square(RED)), pixels.encode(square(RED)))


def test_statistics_of_a_plain_cell_are_its_colours():
    """By hand for (0.9, 0.1, 0.1): brightness 1.1/3, red - green 0.4, blue - yellow -0.2, no
    foreground, no detail.
    """
    plain = cell_statistics(torch.tensor(RED).expand(1, 32, 32, 3), 8)
    assert plain.shape == (1, 64, STATISTICS)
    torch.testing.assert_close(
        plain[0, :, :4], torch.tensor([1.1 / 3, 0.4, -0.2, 0.0]).expand(64, 4)
    )
    assert plain[..., 4:].abs().max() < 1e-4


def test_statistics_of_a_foreground_cell():
    """A red square that fills cells, on grey: 1 - exp(-½·(3·0.4²)/0.25²) foreground there and none
    elsewhere.
    """
    foreground = cell_statistics(square(RED), 8)[0, :, 3].view(8, 8)
    inside = torch.zeros(8, 8)
    inside[3:5, 3:5] = 1 - torch.exp(torch.tensor(-0.5 * 3 * 0.16 / 0.0625))
    torch.testing.assert_close(foreground, inside)


def test_colour_and_shape_are_told_apart(pixels):
    """Recolouring changes the object's cells only; another shape of the same colour changes its
    edge cells.
    """
    red, blue, round_ = (
        pixels.encode(frame)[0, :64] for frame in (square(RED), square(BLUE), disc(RED))
    )
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[3:5, 3:5] = True
    recoloured = (red - blue).norm(dim=-1)
    assert recoloured[inside.flatten()].min() > 1 and recoloured[~inside.flatten()].max() < 1e-4
    assert (red - round_).norm(dim=-1)[inside.flatten()].min() > 1


# --- SigLIP ------------------------------------------------------------------------------------


def test_siglip_global_token_is_the_pooler_or_the_mean(siglip):
    frame = torch.rand(2, 48, 48, 3, generator=torch.Generator().manual_seed(6))
    seen = siglip.vision(pixel_values=siglip_pixels(frame, 48))
    torch.testing.assert_close(siglip.encode(frame)[:, 64], seen.pooler_output)
    mean = SiglipEncoder(siglip.vision, "mean")
    torch.testing.assert_close(mean.encode(frame)[:, 64], seen.last_hidden_state.mean(1))


def test_siglip_without_a_pooling_head_has_the_mean():
    headless = vision(head=False)
    with pytest.raises(SamaError, match='needs "mean", as the model has no pooler'):
        SiglipEncoder(headless)
    assert SiglipEncoder(headless, "mean").encode(torch.rand(1, 48, 48, 3)).shape == (1, 65, 24)


def test_siglip_refuses_other_global_tokens():
    with pytest.raises(SamaError, match="'cls', needs pooler or mean"):
        SiglipEncoder(vision(), "cls")


def test_siglip_pixels_are_what_its_processor_makes():
    """Within the two 8-bit steps of 1/127.5 that the processor rounds by, once along each axis."""
    declare_torchvision_schemas()
    from transformers import SiglipImageProcessor

    frame = (calibration_frames(4)[:, :40] * 255).byte().flatten(0, 1)[None]
    wanted = SiglipImageProcessor(size={"height": 48, "width": 48})(
        frame[0].movedim(-1, 0), return_tensors="pt"
    )
    assert (siglip_pixels(frame / 255, 48) - wanted["pixel_values"]).abs().max() < 2 / 127.5


def test_27_by_27_patches_pool_to_8_by_8():
    """so400m at 384 pixels has 27 x 27 patches, which 8 does not divide: neighbouring cells share
    patches.
    """
    encoder = SiglipEncoder(vision(image_size=27 * 2, patch_size=2))
    frame = torch.rand(1, 30, 30, 3, generator=torch.Generator().manual_seed(8))
    patches = encoder.vision(pixel_values=siglip_pixels(frame, 54)).last_hidden_state.transpose(
        1, 2
    )
    pooled = (
        functional.adaptive_avg_pool2d(patches.unflatten(2, (27, 27)), 8).flatten(2).transpose(1, 2)
    )
    torch.testing.assert_close(encoder.encode(frame)[:, :64], pooled)


def test_siglip_loads_from_a_folder(siglip, tmp_path):
    siglip.vision.save_pretrained(tmp_path)
    frame = square(RED)
    loaded = SiglipEncoder.from_pretrained(str(tmp_path))
    assert torch.equal(loaded.encode(frame), siglip.encode(frame))
    half = SiglipEncoder.from_pretrained(str(tmp_path), dtype=torch.bfloat16).encode(frame)
    assert half.dtype == torch.float32 and (half - siglip.encode(frame)).norm() < 0.05 * half.norm()


def test_siglip_says_why_it_does_not_load(tmp_path):
    declare_torchvision_schemas()
    with pytest.raises(
        RuntimeSetupError, match="which does not load .*needs transformers and a SigLIP checkpoint"
    ):
        SiglipEncoder.from_pretrained(str(tmp_path))


def save_dino(folder):
    tiny_dino().model.save_pretrained(folder)


def save_siglip2(folder):
    from transformers import Siglip2VisionConfig, Siglip2VisionModel

    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 2}
    config = Siglip2VisionConfig(**sizes, num_hidden_layers=2, num_patches=144, patch_size=4)
    Siglip2VisionModel(config).save_pretrained(folder)


def save_cut(folder):
    vision().save_pretrained(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("save", "why"),
    [
        (save_dino, r"the files lack \d+ weights"),
        (save_siglip2, "mismatched"),
        (save_cut, "incomplete metadata"),
    ],
    ids=["another model", "another form", "cut"],
)
def test_weights_that_are_not_siglips_are_refused(save, why, tmp_path):
    """transformers draws what is missing at random and goes on, or leaves with a traceback."""
    save(tmp_path)
    with pytest.raises(RuntimeSetupError, match=rf"which does not load \(.*{why}") as caught:
        SiglipEncoder.from_pretrained(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_siglip_by_a_hubs_name_asks_no_network(siglip, tmp_path, monkeypatch):
    """What was downloaded before is loaded; what was not is told, with the line that fetches it."""
    from huggingface_hub import constants

    kept = tmp_path / "models--me--tiny"
    siglip.vision.save_pretrained(kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket", None)
    monkeypatch.setattr("socket.getaddrinfo", None)
    frame = square(RED)
    loaded = load_semantics("me/tiny")
    assert torch.equal(loaded.encode(frame), siglip.encode(frame))
    words = r"me/other, .*downloaded before\), needs .*hf download google/siglip-\S+ --local-dir"
    with pytest.raises(RuntimeSetupError, match=words):
        load_semantics("me/other")
