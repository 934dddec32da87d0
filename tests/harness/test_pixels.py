"""The release's pixel conversion, in both dtypes it was recorded in, and ComfyUI's beside it."""

import torch

from .golden import assert_close
from .pixels import to_signed, to_uint8

CHECKED_HERE = {
    "uint8_to_float32",
    "uint8_to_bfloat16",
    "float32_to_uint8.output",
    "bfloat16_to_uint8.output",
}
EVERY_VALUE = torch.arange(256, dtype=torch.uint8)


def test_every_8_bit_value_in_float32(golden):
    pixels = golden("pixels")
    assert_close(
        to_signed(EVERY_VALUE), pixels["uint8_to_float32"], **pixels.limits("uint8_to_float32")
    )


def test_every_8_bit_value_in_bfloat16(golden):
    assert torch.equal(
        to_signed(EVERY_VALUE, torch.bfloat16).float(), golden("pixels")["uint8_to_bfloat16"]
    )


def test_back_to_8_bit(golden):
    """Exact: the same order of operations, truncated rather than rounded."""
    pixels = golden("pixels")
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        assert torch.equal(
            to_uint8(pixels[f"{name}_to_uint8.input"].to(dtype)), pixels[f"{name}_to_uint8.output"]
        )


def test_comfyui_gives_the_vae_the_same_values(golden):
    """ComfyUI reads frames as value / 255 and its VAE makes 2x − 1 of them."""
    pixels = golden("pixels")
    assert_close(
        EVERY_VALUE.float() / 255 * 2 - 1,
        pixels["uint8_to_float32"],
        **pixels.limits("uint8_to_float32"),
    )


def test_nothing_of_the_group_is_left_out(golden):
    """Crop, resize and whole-clip loading are checked in test_clip_fit."""
    names = {name for name in golden("pixels").keys() if not name.endswith(".input")}  # noqa: SIM118
    elsewhere = {
        name for name in names if name.startswith(("crop_and_resize.", "load_clip_frames."))
    }
    assert names - elsewhere == CHECKED_HERE
    assert len(elsewhere) == 6
