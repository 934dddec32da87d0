"""The alignment of one run: what is watched in the DiT, and its loss of a batch.

Trainee.forward ─▶ begin ─▶ DiT blocks ─▶ watch (projects) ─▶ losses(teacher, sigma) ─▶ (B,)
"""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SamaError, needed
from ...geometry import WAN_21, Lattice
from ...model.config import DitConfig
from ..seeded_draws import draw_from
from .config import AlignConfig
from .flow import flow_both_ways, flow_distance, flow_divergence, local_gram_flow
from .projector import Projector, match_frames
from .relations import routed_trd
from .teacher_targets import Made
from .token_losses import token_cosine, token_distance


class Aligner(nn.Module):
    """Projectors, and the loss that their outputs have. `watch` is a "double_block" patch of the
    DiT.
    """

    def __init__(
        self,
        config: AlignConfig,
        dim: int,
        blocks: int,
        grid: tuple[int, int],
        cells: tuple[int, int],
        width: int,
        lattice: Lattice = WAN_21,
    ):
        """For a DiT of `blocks` blocks of width `dim` on clips of `grid` (h, w) tokens that
        `lattice` cuts, and a teacher of `width` channels on `cells` (h', w'). ConfigError for a
        block that the model has not.
        """
        super().__init__()
        self.config, self.block = config, config.choose_block(blocks) - 1
        self.cells, self.lattice = tuple(cells), lattice
        on_masks = config.distance == "bce"
        self.last = config.window**2 if config.relation == "flow" else width
        if config.relation == "flow" or on_masks:
            width = config.width
        count = 2 if config.fusion == "separate" else 1
        self.projectors = nn.ModuleList(
            Projector(dim, width, cells, grid, config.tracks_structure, config.hidden, lattice)
            for _ in range(count)
        )
        # SAM2VideoX §5: "one linear layer on P" predicts the subject's mask.
        self.head = nn.Linear(width, 1) if on_masks else None
        self._shape: tuple[int, int, int] | None = None
        self._students: list[Tensor] = []

    @classmethod
    def for_model(
        cls, config: AlignConfig, dit: DitConfig, size: tuple[int, int], width: int, seed: int
    ) -> Self:
        """For clips of `size` (height, width) in pixels, with first weights that `seed` draws.

        `width` is the teacher's; a flow has no use for it.
        """
        side = dit.lattice.side_multiple
        grid, cells = ((size[0] // pixels, size[1] // pixels) for pixels in (side, config.cell))
        with draw_from(seed):
            return cls(config, dit.dim, dit.num_layers, grid, cells, width, dit.lattice)

    def begin(self, shape: tuple[int, int, int]) -> None:
        """Before a forward pass: the clip's tokens (t, h, w)."""
        self._shape = shape
        self._students = []

    def watch(self, args: dict[str, Any]) -> dict[str, Any]:
        """Project the target's hidden states behind the aligned block; changes nothing.

        Here and not in `losses`, because under FSDP weights are whole during the forward pass only.
        A pass without gradients is not projected.
        """
        if args["block_index"] == self.block and torch.is_grad_enabled() and self._shape:
            target = args["img"][:, args["img_offset"] :]
            self._students = [project(target, self._shape) for project in self.projectors]
            if self.head is not None:
                self._students = [self.head(student) for student in self._students]
        return args

    def losses(self, made: Made | None, sigma: Tensor) -> Tensor:
        """The alignment's loss of each sample (B,), from the last forward pass.

        `made`, each with the batch first: "flow" (B, T−1, h', w', K) or, with separate projectors,
        "forward" and "backward" flows; else "features" (B, T, h', w', width); "saliency" (B, T, h',
        w') where the settings want one; "known" (B,) bool where some samples have no features and
        give 0. None, or a single frame where pairs of frames are compared: zeros that touch every
        weight, for which data parallel training waits. `sigma` (B,) in 0..1: samples outside the
        settings' range give 0. Raises SamaError for a teacher of another form.
        """
        students, self._students = self._students, []
        if not students:
            raise SamaError(
                needed(
                    "alignment",
                    "no hidden states",
                    f"those behind block {self.block + 1}",
                    "Train with a DiT that calls its patches.",
                )
            )
        idle = 0.0 * torch.stack([student.flatten(1).sum(1) for student in students]).sum(0)
        if made is None or (self.config.relation == "flow" and students[0].shape[1] < 2):
            return idle
        least, most = self.config.sigma
        counts = (sigma >= least) & (sigma <= most)
        rows = (counts & made["known"] if "known" in made else counts).nonzero()[:, 0]
        if not len(rows):
            return idle
        chosen = slice(None) if len(rows) == len(sigma) else rows  # a slice copies nothing
        targets = {name: value[chosen] for name, value in made.items() if name != "known"}
        compared = self._compare([student[chosen] for student in students], targets)
        return compared.new_zeros(len(sigma)).index_add(0, rows, compared) + idle

    def _compare(self, students: list[Tensor], made: Made) -> Tensor:
        config = self.config
        if config.relation == "flow":
            return self._compare_flows(students, made)
        on_masks = config.distance == "bce"
        features = (
            self._get(made, "saliency") if on_masks else self._get(made, "features", self.last)
        )
        student = self._match(students[0], features.shape[1]).float()
        if on_masks:
            losses = functional.binary_cross_entropy_with_logits(
                student[..., 0], features.to(student), reduction="none"
            )
            return losses.flatten(1).mean(1)
        student, teacher = student.flatten(2, 3), features.flatten(2, 3)
        if config.relation == "tokens":
            if config.distance == "square":
                return token_distance(student, teacher)
            return token_cosine(student, teacher, config.neighbours)
        saliency = None
        if config.saliency != "none":
            saliency = self._get(made, "saliency").flatten(2)
        return routed_trd(
            student,
            teacher,
            saliency,
            config.router,
            config.decay,
            config.margin,
            config.temporal_weight,
            config.one_mean,
            config.temporal_router or None,
        )

    def _compare_flows(self, students: list[Tensor], made: Made) -> Tensor:
        config = self.config
        names = ("forward", "backward") if config.fusion == "separate" else ("flow",)
        weight = None
        if config.saliency != "none":
            weight = self._get(made, "saliency")
            ways = (weight, weight.flip(1)) if config.both_ways else (weight,)
            weight = torch.cat([way[:, :-1] for way in ways], dim=1)
        flow_of = flow_both_ways if config.both_ways else local_gram_flow
        losses = []
        for student, name in zip(students, names, strict=True):
            teacher = self._get(made, name, self.last)
            pairs = teacher.shape[1] // 2 if config.both_ways else teacher.shape[1]
            flow = flow_of(self._match(student, pairs + 1), config.window, config.border)
            if config.distance == "kl":
                losses.append(flow_divergence(teacher, flow, config.temperature, weight))
            else:
                losses.append(flow_distance(teacher, flow, weight))
        return torch.stack(losses).mean(0)

    def _match(self, student: Tensor, frames: int) -> Tensor:
        """The student at the times of the teacher's frames."""
        clip = self.lattice.frames_of(self._shape[0]) if self._shape else None
        return match_frames(student, frames, clip, self.lattice)

    def _get(self, made: Made, name: str, *last: int) -> Tensor:
        """A teacher's tensor (B, frames, h', w', *last). Raises SamaError for another one.

        A teacher may have fewer frames than the clip, to which the student's are brought, not more.
        """
        value = made.get(name)
        most = self.lattice.frames_of(self._shape[0] if self._shape else 1)
        if self.config.relation == "flow" and last:  # pairs of frames
            most = (most - 1) * (2 if self.config.both_ways else 1)
        shape = (*self.cells, *last)
        if value is None or tuple(value.shape[2:]) != shape or not 0 < value.shape[1] <= most:
            got = "nothing" if value is None else f"shape {tuple(value.shape)}"
            channels = f" of {last[0]} values" if last else ""
            need = f"at most {most} frames of {self.cells[0]}x{self.cells[1]} cells{channels}"
            fix = "Make the features again with this recipe's teacher, size and frames."
            raise SamaError(needed(f"teacher's {name}", got, need, fix))
        return value
