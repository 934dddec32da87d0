"""SAMA-Shapes, the small trained SAMA inside the pack: three files in folders named as ComfyUI's model folders."""

from pathlib import Path

FOLDER = Path(__file__).parent
DIT = FOLDER / "diffusion_models" / "sama_shapes.safetensors"
TEXT_ENCODER = FOLDER / "text_encoders" / "sama_shapes_umt5.safetensors"
VAE = FOLDER / "vae" / "sama_shapes_vae.safetensors"
FILES = (DIT, TEXT_ENCODER, VAE)

# How it is sampled: what `run.py edit` and the example workflows use for it.
STEPS = 10
CFG = 1.3

# A clip of its world in the pack: a blue circle and a yellow triangle over checks.
CLIP = FOLDER.parents[1] / "workflows" / "moving_shapes.mp4"
