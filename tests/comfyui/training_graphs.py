"""Graphs that train a LoRA with ComfyUI's own Train LoRA."""

from fractions import Fraction

import numpy as np
import torch

from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip
from .graphs import Graph, SmallModels, output

SOURCE_FILE, TARGET_FILE = "before.mp4", "after.mp4"
INSTRUCTION = "make the circle red"


def write_pair(comfyui, frames: int = 10, size: tuple[int, int] = (32, 32)) -> None:
    """A clip and its negative in ComfyUI's input folder."""
    clip = list(moving_shapes(frames, *size))
    for name, pictures in ((SOURCE_FILE, clip), (TARGET_FILE, [255 - np.asarray(p) for p in clip])):
        write_clip(comfyui.base / "input" / name, pictures, Fraction(12))


class Training(Graph):
    """Loaders, and a pair of a clip and its negative: 5 frames of 32x32 a sample."""

    def __init__(self, comfyui, models: SmallModels):
        super().__init__()
        write_pair(comfyui)
        self.comfyui = comfyui
        self.model = self.add("SAMALoadModel", model_name=models.sama, weight_dtype="default")
        self.clip = self.add("SAMALoadTextEncoder", text_encoder_name=models.text_encoder)
        self.vae = self.add("SAMALoadVAE", vae_name=models.vae)

    def load(self, name: str) -> list:
        return self.add("LoadVideo", file=name)

    def pair(self, **changes) -> list:
        """A SAMA Training Pair of the two clips, two samples of 5 frames."""
        settings = {
            "model": self.model,
            "clip": self.clip,
            "vae": self.vae,
            "instruction": INSTRUCTION,
            "frames": 5,
            "area": 32 * 32,
            **changes,
        }
        if "source" not in settings:
            settings |= {"source": self.load(SOURCE_FILE), "target": self.load(TARGET_FILE)}
        return self.add("SAMATrainingPair", **settings)

    def train(self, latents: list, positive: list | None = None, **changes) -> list:
        """ComfyUI's Train LoRA with two steps in float32, and little else that is not default."""
        settings = {
            "model": self.model,
            "latents": latents,
            "positive": positive or output(latents, 1),
            "batch_size": 1,
            "grad_accumulation_steps": 1,
            "steps": 2,
            "learning_rate": 1e-3,
            "rank": 2,
            "optimizer": "AdamW",
            "loss_function": "MSE",
            "seed": 3,
            "training_dtype": "fp32",
            "lora_dtype": "fp32",
            "quantized_backward": False,
            "algorithm": "LoRA",
            "gradient_checkpointing": False,
            "checkpoint_depth": 1,
            "offloading": False,
            "existing_lora": "[None]",
            "bucket_mode": False,
            "bypass_mode": False,
            **changes,
        }
        return self.add("TrainLoraNode", **settings)

    def run(self, link: list, **options) -> tuple:
        """All outputs of the linked node."""
        torch.manual_seed(0)  # Train LoRA draws its samples and levels from torch's own stream
        return self.comfyui.run(self.nodes, keep=[link[0]], **options).check().values[link[0]]
