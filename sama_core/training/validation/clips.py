"""A held-out row edited by the model in training: source, result and target side by side.

The sampler is the reference one, `denoise`, with the row's own noise: the same in every clip, so
that clips of different steps differ by the training alone.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...clip.film import KEPT, write_film
from ...model.schedule import denoise, flow_sigmas
from ..objectives.noising import stream

if TYPE_CHECKING:
    from ..trainer import Trainer
    from .held_out_loss import HeldOutRow, Validation

GAP = 4
"""Pixels between two of the three."""


def to_levels(frames: Tensor) -> Tensor:
    """Frames in about 0..1 → uint8 on the CPU."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def write_clip(
    path: Path,
    trainer: "Trainer",
    model: Callable[..., tuple[Tensor, Tensor | None]],
    validation: "Validation",
    row: "HeldOutRow",
    writes: bool = True,
) -> None:
    """Edit a row and write its mp4. A process that does not write takes part in the passes."""
    latents = sample_row(trainer, model, validation, row)
    if not writes:
        return
    result = to_levels(validation.held.frames(latents))
    clips = [clip.numpy() for clip in (row.source, result, row.target)]
    path.parent.mkdir(parents=True, exist_ok=True)
    fps = Fraction(row.fps).limit_denominator(1001)
    write_film(path, _beside(clips, fps), fps, KEPT)


def sample_row(
    trainer: "Trainer",
    model: Callable[..., tuple[Tensor, Tensor | None]],
    validation: "Validation",
    row: "HeldOutRow",
) -> Tensor:
    """The latents (1, 16, T, H, W) of the edit that the model makes of a row's source."""
    device, settings = trainer.accelerator.device, validation.settings
    batch = row.batch.to(device)
    generator = stream(validation.seed, "sample", row.number)
    noise = torch.randn(batch.target_latents.shape, generator=generator).to(device)
    semantic = None
    if batch.semantic is not None:
        semantic = torch.randn(batch.semantic.shape, generator=generator).to(device)
    cfg = validation.held.guidance if settings.cfg == -1 else settings.cfg
    with trainer.accelerator.autocast():
        return denoise(
            model,
            noise,
            semantic,
            batch.text,
            row.negative.to(device),
            batch.source_latents,
            flow_sigmas(settings.steps, trainer.config.shift),
            cfg,
        )[0]


def _beside(clips: list[np.ndarray], fps: Fraction) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Times and pictures, with grey between the clips; sides become even for H.264."""
    height = clips[0].shape[1]
    gap = np.full((height, GAP, 3), 128, np.uint8)
    for number, frames in enumerate(zip(*clips, strict=True)):
        parts = [part for frame in frames for part in (frame, gap)][:-1]
        picture = np.concatenate(parts, 1)
        even = picture[: height - height % 2, : picture.shape[1] - picture.shape[1] % 2]
        yield number / fps, even
