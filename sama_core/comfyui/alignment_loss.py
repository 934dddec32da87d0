"""An alignment to a frozen teacher inside ComfyUI's own Train LoRA.

Train LoRA knows one loss, that of the model's output. So the alignment's is added where its
gradient belongs: behind the aligned block, hidden states pass unchanged, and on the way back the
gradient of the alignment's loss is added to theirs.

    block k ─▶ hidden states ─▶ identity ─▶ block k+1 … ─▶ Train LoRA's loss
                    ▲               │
                    └── gradient ◀──┴── + weight · d(alignment) / d(hidden states)

The projector to the teacher's space learns from the same pass, by an optimiser of its own: it is
kept in the model while the graph runs, so Train LoRA nodes behind each other go on with it.
"""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConditioningError, InputError, SamaError, needed
from ..training.alignment import Aligner
from ..training.alignment.config import ARMS, AlignConfig
from ..training.alignment.saliency import reduce_mask
from ..training.alignment.teacher_targets import Made, make_targets
from .model import PAIR, require_sama
from .node_progress import running_place
from .teacher_features import CELL, AlignFeatures

METHODS = tuple(
    name
    for name, arm in ARMS.items()
    if arm is not None and arm.saliency in ("none", "named") and arm.fusion != "separate"
)
"""Methods for clips whose subject is told by a mask, or not at all."""
PROJECTOR_SEED = 0

log = logging.getLogger(__name__)


def align(
    model, features: Sequence[AlignFeatures], method: str, weight: float, block: int, rate: float
):
    """A clone of `model` (ModelPatcher) that is aligned while it is trained.

    `block` counts from 1, 0 is the method's own; `rate` is the projector's. Raises SamaError for
    features of several teachers or sizes, for a method that needs others, and for masks that
    are black alone.
    """
    require_sama(model)
    layers = model.model.dit_config.num_layers
    if block > layers:
        need = f"1 to {layers}, the model's blocks, or 0"
        raise InputError(needed("block", block, need, "Set it to 0 for the method's own."))
    arm = ARMS[method]
    assert arm is not None
    config = replace(arm, weight=weight, block=block, rate=rate, least_rate=0.0, warmup=0)
    size = _refuse_mixed(features)
    with torch.inference_mode(False), torch.enable_grad():
        targets = {each.clip: _make(config, each, size) for each in features}
        if config.saliency != "none":
            _refuse_black(features)
        widths = {value.shape[-1] for name, value in _first(targets).items() if name == "features"}
        aligner = Aligner.for_model(
            config, model.model.dit_config, size, max(widths, default=1), PROJECTOR_SEED
        )
        model = model.clone()
        model.set_model_patch(AlignmentLoss(aligner, targets), "double_block")
    return model


def _refuse_mixed(features: Sequence[AlignFeatures]) -> tuple[int, int]:
    """The clips' size (height, width). Raises ConditioningError for features of several kinds."""
    kinds = sorted({(each.teacher, *each.size) for each in features})
    if len(kinds) != 1:
        got = "; ".join(f"{name} at {width}x{height}" for name, height, width in kinds) or "none"
        fix = "Give features of one teacher, of clips of one size."
        raise ConditioningError(needed("features", got, "one kind", fix))
    return features[0].size


def _refuse_black(features: Sequence[AlignFeatures]) -> None:
    """Raises ConditioningError where no mask has a subject: nothing would be aligned."""
    if not any(each.made["mask"].any() for each in features):
        fix = "Paint the subject white."
        raise ConditioningError(needed("features", "masks that are all black", "a subject", fix))


def _make(config: AlignConfig, features: AlignFeatures, size: tuple[int, int]) -> Made:
    """What the method compares with, as ordinary tensors (ComfyUI's are inference tensors)."""
    cells = (size[0] // CELL, size[1] // CELL)
    made = {name: value.clone() for name, value in features.made.items() if name != "mask"}
    saliency = None
    if config.saliency != "none":
        mask = features.made.get("mask")
        if mask is None:
            fix = "Connect a mask of the subject to SAMA Teacher Features."
            need = "a mask, as this method weighs a subject"
            raise ConditioningError(needed("features", "no mask", need, fix))
        slices = len(next(iter(made.values()))) if config.needs_teacher else len(mask)
        saliency = reduce_mask(mask.clone()[None], (slices, *cells))[0]
    used = made if config.needs_teacher else {}
    return make_targets(config, used, cells, saliency)


def _first(targets: dict[str, Made]) -> Made:
    return next(iter(targets.values()))


@dataclass
class _Pass:
    """What one forward pass hands to its backward pass."""

    targets: Made
    """Of every sample, batch first, and "known"."""
    sigma: Tensor
    """(B,) noise levels."""
    shape: tuple[int, int, int]
    """The clip's tokens (t, h, w)."""
    offset: int
    """Where the target's tokens begin."""


class AlignmentLoss:
    """A "double_block" patch of the DiT, and the state of its projector."""

    def __init__(self, aligner: Aligner, targets: dict[str, Made]):
        """`targets` are a teacher's, by the clip's name."""
        self.aligner, self.targets = aligner, targets
        self._first = deepcopy(aligner.state_dict())
        self._prompt: str | None = None
        self.losses: list[float] = []
        self.scale = 1.0
        """What the training's loss is multiplied with before the backward pass."""
        self._restart()

    def begin_training(self) -> None:
        """Before a training run. A graph that is queued again begins with the projector's first
        weights."""
        place = running_place()
        prompt = place["prompt_id"] if place else None
        if prompt is None or prompt != self._prompt:
            with torch.inference_mode(False), torch.enable_grad():
                self._restart()
        self._prompt, self.losses = prompt, []

    def summarise(self) -> str:
        """How the loss went, in words: the means of its first and its last tenth."""
        part = max(1, len(self.losses) // 10)
        if not self.losses:
            return "SAMA: the alignment met none of its clips. Make its features of these samples."
        count = f"{len(self.losses)} steps" if len(self.losses) > 1 else "1 step"
        begin, end = (sum(rows) / part for rows in (self.losses[:part], self.losses[-part:]))
        return f"SAMA: alignment loss {begin:.4f} → {end:.4f} in {count}"

    def __call__(self, args: dict[str, Any]) -> dict[str, Any]:
        """The patch: hidden states as they are, with the alignment's gradient behind them."""
        options = args["transformer_options"]
        names = options.get(PAIR)
        if not names or args["block_index"] != self.aligner.block or not torch.is_grad_enabled():
            return args
        hidden = args["img"]
        targets = self._stack(names)
        if targets is None:
            return args
        sigma = options["sigmas"].detach().flatten().expand(len(hidden)).float()
        made = _Pass(targets, sigma, tuple(options["grid_sizes"]), args["img_offset"])
        return {**args, "img": _Aligned.apply(hidden, self, made)}

    def gradient(self, hidden: Tensor, made: _Pass) -> Tensor:
        """The gradient of the weighted loss on `hidden` (B, N, D); the projector takes a step."""
        with torch.inference_mode(False), torch.enable_grad():
            watched = hidden.detach().float().requires_grad_(True)
            self.aligner.to(watched.device)
            self.aligner.begin(made.shape)
            block = {"block_index": self.aligner.block, "img_offset": made.offset}
            self.aligner.watch({**block, "img": watched})
            targets = {name: value.to(watched.device) for name, value in made.targets.items()}
            loss = self.aligner.losses(targets, made.sigma.to(watched.device)).mean()
            if not torch.isfinite(loss):
                got, fix = "a value that is no number", "Lower the weight or the projector's rate."
                raise SamaError(needed("alignment", got, "a finite loss", fix))
            loss.backward()
            self.optimiser.step()
            self.optimiser.zero_grad()
        self.losses.append(loss.item())
        return watched.grad * (self.aligner.config.weight * self.scale)

    def _stack(self, names: Sequence[str]) -> Made | None:
        """The targets of a batch's samples; None if there are none of any of them."""
        found = [self.targets.get(name) for name in names]
        known = [made for made in found if made is not None]
        if not known:
            return None
        filled = [made if made is not None else known[0] for made in found]
        stacked = {name: torch.stack([made[name] for made in filled]) for name in known[0]}
        return {**stacked, "known": torch.tensor([made is not None for made in found])}

    def _restart(self) -> None:
        self.aligner.load_state_dict(self._first)
        self.optimiser = torch.optim.AdamW(self.aligner.parameters(), lr=self.aligner.config.rate)


class _Aligned(torch.autograd.Function):
    """Identity, whose backward pass adds the alignment's gradient."""

    @staticmethod
    def forward(ctx, hidden: Tensor, loss: AlignmentLoss, made: _Pass) -> Tensor:
        ctx.save_for_backward(hidden)
        ctx.loss, ctx.made = loss, made
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (hidden,) = ctx.saved_tensors
        return grad + ctx.loss.gradient(hidden, ctx.made).to(grad), None, None
