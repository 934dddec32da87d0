"""Saliency that is read from a picture and an instruction: SARA's first stage in the toy world.

    frames ─▶ convolutions to cells ─┐
    instruction ─▶ the pack's umT5 ──┴▶ SaliencyAligner ─▶ saliency of each cell

Trained here in minutes on what instructions name, by SARA's two losses with equal weights (Eq. 7).
Deviation: the visual tokens come from convolutions that are trained along. The exact features of
`scene_features` say which point of a surface is where, and not what it looks like, so that no word
finds anything in them. A clip has one text, so that there is one forward pass and no K + 2.
Masks on cells are shares (see `reduce_mask`): an object that is added fills a third of a cell, so
that the saliency that is right lies below 0.5 nearly everywhere.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import embedded
from ..encoders.umt5 import Tokens, Umt5Encoder
from ..encoders.umt5_layout import Umt5Sizes
from ..errors import RuntimeSetupError, needed
from ..released_files import SAMA_SHAPES
from ..text import add_tag, clean_instruction
from ..training.alignment import SaliencyAligner
from ..training.alignment.saliency import reduce_mask, saliency_losses
from ..training.alignment.saliency_diagnostics import describe_saliency, overlap_of
from .world import EditSampler, apply
from .world.visibility import named_masks

CELL = 16
"""Pixels of a cell's side: a token of the model."""
WIDTH = 64
"""Channels of a visual token."""
TEXT_LENGTH = 40
"""Token rows of an instruction; the longest one fits."""


class InstructionEncoder:
    """The pack's own text encoder, frozen."""

    def __init__(self) -> None:
        weights = load_file(embedded.TEXT_ENCODER)
        sizes = Umt5Sizes.from_state_dict(weights, embedded.TEXT_ENCODER.name)
        self.tokens = Tokens(weights["spiece_model"].numpy().tobytes())
        self.encoder = Umt5Encoder(sizes).eval()
        self.encoder.load_state_dict({name: weights[name].float() for name in sizes.shapes()})
        self.width = sizes.d_model

    @torch.no_grad()
    def __call__(self, instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, width), and which rows belong to the text (B, L) bool."""
        texts = [add_tag(clean_instruction(text)) for text in instructions]
        ids = self.tokens.rows(texts, TEXT_LENGTH)
        return self.encoder(ids), ids > 0


class LearnedSaliency(nn.Module):
    """Cells of a picture, and how much an instruction is about each."""

    def __init__(self, text_width: int, width: int = WIDTH):
        """`text_width` of the instruction's embeddings."""
        super().__init__()
        sizes = [3, width // 4, width // 2, width, width]
        layers: list[nn.Module] = []
        for one, other in pairwise(sizes):
            layers += [nn.Conv2d(one, other, 3, stride=2, padding=1), nn.SiLU()]
        self.encode = nn.Sequential(*layers[:-1])
        self.place = nn.Parameter(torch.zeros(2, width))
        self.aligner = SaliencyAligner(width, text_width, hidden=width)

    def forward(self, frames: Tensor, text: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, H, W, 3) in 0..1 and a text (B, L, D) with its `real` rows (B, L) → fused
        tokens (B, T·h·w, width) and saliency (B, T, h, w) in 0..1.
        """
        batch, count = frames.shape[:2]
        cells = self.encode(frames.flatten(0, 1).movedim(-1, 1)).movedim(1, -1)
        height, width = cells.shape[1:3]
        y, x = (torch.linspace(-1, 1, side, device=cells.device) for side in (height, width))
        cells = cells + y[:, None, None] * self.place[0] + x[:, None] * self.place[1]
        tokens = cells.reshape(batch, count * height * width, -1)
        fused, saliency = self.aligner(tokens, text, real)
        return fused, saliency.view(batch, count, height, width)


def train_saliency(
    edits: Sequence[str], steps: int = 800, batch: int = 32, seed: int = 0,
    report: Callable[[int, float, dict[str, float]], None] | None = None,
) -> LearnedSaliency:  # fmt: skip
    """The saliency of pairs of one frame: what their instructions name, in their targets.

    `report(step, loss, diagnostics)` is called each 20 steps. The result depends on the arguments
    alone.
    """
    torch.manual_seed(seed)
    words = InstructionEncoder()
    model = LearnedSaliency(words.width)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    sampler = EditSampler(seed, "train", edits, frames=1)
    for step in range(steps):
        frames, texts, masks = draw_named(sampler, step, batch)
        loss, saliency = _losses(model, frames, *words(texts), masks)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if report is not None and (step % 20 == 0 or step == steps - 1):
            report(step, loss.item(), describe_saliency(saliency.detach()))
    return model.eval()


def draw_named(sampler: EditSampler, step: int, size: int) -> tuple[Tensor, list[str], Tensor]:
    """Targets (B, F, H, W, 3), their instructions, and what these name there (B, T, h, w)."""
    batch = sampler.batch(step, size)
    target = apply(batch.source_scenes, batch.edits)
    area = (sampler.frames, sampler.height, sampler.width)
    masks = named_masks(batch.source_scenes, target, batch.edits, *area)
    lattice = SAMA_SHAPES.lattice
    cells = (lattice.latents_of(sampler.frames), sampler.height // CELL, sampler.width // CELL)
    return batch.target, batch.instructions, reduce_mask(masks, cells, lattice)


def measure_saliency(found: Tensor, truth: Tensor) -> dict[str, float]:
    """The diagnostics of SARA Tab. 4, the same of what is named ("named_mean" …), which they are
    to be read against, and the overlap of both (above a half of the clip's own largest value).
    """
    named = {f"named_{name}": value for name, value in describe_saliency(truth).items()}
    return {**describe_saliency(found), "overlap": overlap_of(found, truth), **named}


def load_saliency(path: Path) -> LearnedSaliency:
    """The model whose state dict was written to `path`. RuntimeSetupError where there is none."""
    try:
        weights = load_file(path)
        model = LearnedSaliency(weights["aligner.text_in.weight"].shape[1])
        model.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, KeyError) as broken:
        fix = "Train one with train_saliency, and write its state dict."
        raise RuntimeSetupError(
            needed("saliency", f"{path}: {broken}", "the file of a learned saliency", fix)
        ) from broken
    return model.eval()


def _losses(
    model: LearnedSaliency, frames: Tensor, text: Tensor, real: Tensor, masks: Tensor
) -> tuple[Tensor, Tensor]:
    """SARA's loss of a batch, a number, and the saliency."""
    fused, saliency = model(frames, text, real)
    read = (fused, saliency.flatten(1))
    masked, contrast = saliency_losses(model.aligner, read, text, real, masks.flatten(1))
    return (masked + contrast).mean(), saliency
