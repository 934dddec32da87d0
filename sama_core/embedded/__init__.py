"""SAMA-Shapes, the small trained SAMA inside the pack: three files in folders named as ComfyUI's
model folders. What it is as a release stands in `released_files.SAMA_SHAPES`."""

from pathlib import Path

FOLDER = Path(__file__).parent
DIT = FOLDER / "diffusion_models" / "sama_shapes.safetensors"
TEXT_ENCODER = FOLDER / "text_encoders" / "sama_shapes_umt5.safetensors"
VAE = FOLDER / "vae" / "sama_shapes_vae.safetensors"
FILES = (DIT, TEXT_ENCODER, VAE)
ANCHOR_LORA = FOLDER / "loras" / "sama_shapes_anchor.safetensors"
"""A LoRA with which it carries an edited first frame through the clip."""

STEPS = 10
"""Sampling steps, as `run.py edit` and the example workflows use for it."""
CFG = 1.3
"""Guidance strength."""
FRAMES = 17
"""Frames of the clips it was trained on."""
AREA = 64 * 64
"""Pixels of their frames."""
SIZES = {
    "dim": 256,
    "num_heads": 2,
    "ffn_dim": 1024,
    "num_layers": 6,
    "text_dim": 128,
    "freq_dim": 256,
    "in_dim": 16,
    "out_dim": 16,
    "semantic_dim": 48,
    "semantic_hidden": 128,
    "semantic_tokens": 65,
}
"""Sizes of its DiT, by the names of `DitConfig`'s fields."""

CLIP = FOLDER.parents[1] / "workflows" / "moving_shapes.mp4"
"""A clip of its world in the pack: a blue circle and a yellow triangle over checks."""
LONG_CLIP = CLIP.with_name("moving_shapes_49.mp4")
"""Another of 49 frames, for what edits long clips."""
SWAP_SOURCE, SWAP_TARGET = (CLIP.with_name(f"swap_{name}.mp4") for name in ("source", "target"))
"""Twelve clips of 17 frames behind each other, and the same with red and blue swapped."""
CLIPS = (CLIP, LONG_CLIP, SWAP_SOURCE, SWAP_TARGET)
"""Those of the example workflows."""


def is_own(sizes: object) -> bool:
    """Whether a DiT's sizes are those of SAMA-Shapes, so that its latents are of the VAE here.

    Files that were quantised or trained on from it count too; no other release is this small.
    """
    return all(getattr(sizes, name, None) == size for name, size in SIZES.items())
