"""ComfyUI's own Train LoRA on SAMA: what one run of its training sampler works on.

The node is used as it is. SAMA's OUTER_SAMPLE wrapper hands a training run to `train`, which

    source    takes it out of the list `reference_latents`, on which Train LoRA 0.30.0 to 0.33.0
              stop, and carries it under a tensor-valued key of the conditioning
    latents   are the joint state: packed already, as SAMA Training Pair gives them (a LATENT must
              be one tensor to pass Train LoRA), or videos, which get empty semantic tokens
    loss      is that of the video plus 0.1 times that of the semantic tokens, each a mean of its
              own as in SAMA's training; without semantic targets it is the video's alone
    batches   of several samples are calculated with each sample's own text and source: ComfyUI
              would take the mean over all of them

Noise levels are drawn by Train LoRA from the model's own schedule, with its shift.
"""

import logging
from collections.abc import Callable
from typing import Any

import comfy.conds
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ConditioningError, needed
from ..geometry import LatentShape
from ..training.config import TrainConfig
from .model import PAIR, SOURCE, find_source, require_wan_latent
from .node_progress import show_remarks
from .streams import JointShape, is_packed
from .video_view import adapt_conditioning

_TRAINED = "sama_trained"
"""Marks conditioning entries of a training run."""
_NO_TARGETS = (
    "SAMA: these latents hold no semantic targets, so the loss is the video's alone. SAMA Training "
    "Pair makes both."
)

log = logging.getLogger(__name__)


def is_training(sampler: Any) -> bool:
    """Whether a sampler is one that trains: it has an optimiser and a loss."""
    return hasattr(sampler, "loss_fn") and hasattr(sampler, "optimizer")


def train(executor, guider, noise: Tensor, latent: Tensor, sampler, sigmas: Tensor, *rest, **named):
    """The run with all of the above; `latent` (n, 1, N) or (n, C, T, H, W) are all samples.

    Samples of several sizes are in the sampler, and `latent` stands for them. Raises
    ConditioningError for conditioning without a source, and for latents of another size.
    """
    sama = guider.model_patcher.model
    shapes = _prepare_conditioning(guider.conds["positive"], sama)
    packed = is_packed(latent)
    remarks = [] if packed else [_NO_TARGETS]
    for remark in remarks:
        log.warning(remark)
    show_remarks(remarks)
    noise, latent = (_pack(each, shapes[0], sama) for each in (noise, latent))
    _prepare_sizes(sampler, shapes, sama)
    alignments = _begin_alignments(guider, len(shapes))
    loss = JointLoss(sampler.loss_fn, shapes[0].semantic_size, packed)
    sampler.loss_fn = LossForAlignments(loss, alignments) if alignments else loss
    try:
        return executor(noise, latent, sampler, sigmas, *rest, **named)
    finally:
        show_remarks([*remarks, *(one.summarise() for one in alignments)])


def _begin_alignments(guider, samples: int) -> list:
    """The alignments on the model (see `alignment_loss`), told that a training begins.

    Train LoRA takes every list of the model's options that is as long as there are samples for one
    entry of each sample, and hands on those of the batch alone. So such a list gets one more patch.
    """
    patches = guider.model_options.get("transformer_options", {}).get("patches", {})
    behind_blocks = patches.get("double_block", [])
    found = [one for one in behind_blocks if hasattr(one, "begin_training")]
    if found and len(behind_blocks) == samples > 1:
        patches["double_block"] = [*behind_blocks, lambda args: args]
    for one in found:
        one.begin_training()
    return found


class JointLoss:
    """A loss of both streams from one of tensors: `loss(predicted, clean)` of packed states."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], semantic: int, has_targets: bool):
        """`loss` is the mean over elements that Train LoRA was set to, `semantic` the number of
        semantic elements of a sample."""
        self.loss, self.semantic = loss, semantic
        self.weight = TrainConfig.semantic_weight if has_targets else 0.0

    def __call__(self, predicted: Tensor, clean: Tensor) -> Tensor:
        """The video's loss plus the weighted one of the semantic tokens."""
        cut = predicted.shape[-1] - self.semantic
        video = self.loss(predicted[..., :cut], clean[..., :cut])
        if not self.weight:
            return video
        return video + self.weight * self.loss(predicted[..., cut:], clean[..., cut:])


class LossForAlignments:
    """A loss that tells alignments on the way back what it was multiplied with, and they are too.

    Train LoRA divides it by the passes of a step, and by the samples of a batch of several sizes;
    in float16 it multiplies it by a scale that changes from step to step.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], alignments: list):
        """`alignments`: what `_begin_alignments` found."""
        self.loss, self.alignments = loss, alignments

    def __call__(self, predicted: Tensor, clean: Tensor) -> Tensor:
        """The loss, as it is."""
        return _TellScale.apply(self.loss(predicted, clean), self.alignments)


class _TellScale(torch.autograd.Function):
    """Identity; its backward pass comes before those of the blocks."""

    @staticmethod
    def forward(ctx, loss: Tensor, alignments: list) -> Tensor:
        ctx.alignments = alignments
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        for one in ctx.alignments:
            one.scale = grad.item()
        return grad, None


# --- conditioning --------------------------------------------------------------------------------
def _prepare_conditioning(entries: list[dict], sama) -> list[JointShape]:
    """Make every entry one of this training, in place; returns the shapes of their samples."""
    config, shapes = sama.dit_config, []
    for entry in entries:
        source = find_source(entry)
        entry.pop("reference_latents", None)
        if source is None:
            fix = "Connect the positive of SAMA Training Pair, or of SAMA Edit Conditioning."
            got = "conditioning without a source video"
            raise ConditioningError(needed("Train LoRA", got, "one for every sample", fix))
        require_wan_latent(source, "source latent", sama.lattice)
        LatentShape(*source.shape[2:], sama.lattice).tokens()
        size = (config.semantic_tokens, config.semantic_dim)
        shape = JointShape(tuple(source.shape[1:]), size)
        adapt_conditioning({"positive": [entry]}, shape)
        entry.update({SOURCE: source, _TRAINED: True})
        shapes.append(shape)
    return shapes


def merge_samples(entries: list[dict] | None) -> list[dict] | None:
    """The entries of a training's batch as one, whose tensors have a row for each sample.

    Entries of other runs, and a single one, come back as they are.
    """
    if not entries or len(entries) < 2 or not all(_TRAINED in entry for entry in entries):
        return entries
    conds = [entry["model_conds"] for entry in entries]
    merged = dict(conds[0])
    for key in ("c_crossattn", "source_latents"):
        rows = _pad_texts([each[key].cond for each in conds])
        merged[key] = comfy.conds.CONDRegular(torch.cat(rows))
    if PAIR in merged:
        names = tuple(name for each in conds for name in each[PAIR].cond)
        merged[PAIR] = comfy.conds.CONDConstant(names)
    return [{**entries[0], "model_conds": merged}]


def _pad_texts(rows: list[Tensor]) -> list[Tensor]:
    """Texts of different lengths with empty tokens behind them; other tensors as they are."""
    if rows[0].ndim != 3:
        return rows
    longest = max(row.shape[1] for row in rows)
    return [functional.pad(row, (0, 0, 0, longest - row.shape[1])) for row in rows]


# --- latents -------------------------------------------------------------------------------------
def _pack(latent: Tensor, shape: JointShape, sama) -> Tensor:
    """(n, 1, N) of a sample's shape; a video gets empty semantic tokens."""
    if not is_packed(latent):
        require_wan_latent(latent, "training latent", sama.lattice)
        latent = shape.pack(latent, latent.new_zeros(len(latent), *shape.semantic))
    wanted = torch.Size(shape.video).numel() + shape.semantic_size
    if latent.shape[-1] != wanted:
        raise ConditioningError(
            needed(
                "training latent",
                f"{latent.shape[-1]} values",
                f"{wanted}, as its source video has with semantic tokens",
                "Give Train LoRA latents and positive of the same SAMA Training Pair.",
            )
        )
    return latent


def _prepare_sizes(sampler, shapes: list[JointShape], sama) -> None:
    """Pack and normalise samples of several sizes, which ComfyUI hands on as they were given."""
    if getattr(sampler, "real_dataset", None) is not None:
        sampler.real_dataset = [
            sama.process_latent_in(_pack(latent, shape, sama))
            for latent, shape in zip(sampler.real_dataset, shapes, strict=True)
        ]
    if getattr(sampler, "bucket_latents", None) is not None:
        first, buckets = 0, []
        for latents in sampler.bucket_latents:
            buckets.append(sama.process_latent_in(_pack(latents, shapes[first], sama)))
            first += len(latents)
        sampler.bucket_latents = buckets
