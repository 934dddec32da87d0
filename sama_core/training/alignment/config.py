"""Settings of an alignment, and every row of the papers' tables by name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from ...errors import needed
from ..recipe import Check, ConfigError, are_numbers, check_types, refuse_bad, settings_of
from .flow import BORDERS
from .relations import ROUTERS

RELATIONS = {
    "flow": ("kl", "square"),
    "pairs": ("abs",),
    "tokens": ("cosine", "square", "bce"),
}
"""What is compared, and by which distances."""
SALIENCIES = ("none", "changed", "named", "learned")
FUSIONS = ("flow", "features", "forward", "separate")
ENDS = ("other", "keep")


@dataclass(frozen=True)
class AlignConfig:
    """The `[align]` table of a recipe. Defaults are the papers' where they give any."""

    relation: str = "pairs"
    """"flow" (local Gram flow, SAM2VideoX), "pairs" (of all tokens, TRD and SARA), "tokens"
    (REPA).
    """
    distance: str = "abs"
    """Flow: "kl" or "square". Pairs: "abs". Tokens: "cosine", "square", or "bce" on a mask."""
    teacher: str = ""
    """As `teachers.load_teacher` takes it, e.g. "sam2:FOLDER". SAMA-Shapes has "scene", what is
    known of the procedural world, and "tracker:FILE"."""
    features: str = ""
    """Folder of the teacher's features, which runs may share; empty keeps them in `output`."""
    cell: int = 16
    """Side in pixels of the cells that are compared: the teacher's features are resampled to them.
    16 is a token of the model; of less, each token gives several."""
    weight: float = 0.5
    """λ of the alignment beside the diffusion loss (both papers)."""
    block: int = 0
    """The DiT block, counted from 1, after which hidden states are taken. 0: 0.45 of the blocks for
    pairs, REPA and CREPA, 0.6 for SAM2VideoX (18 of 40 and 25 of 42). Unverified: whether they
    count from 1.
    """
    hidden: tuple[int, ...] = ()
    """Widths of the projector's inner layers. Empty: the papers' (768, 512, 256 for SAM2VideoX,
    2048, 2048 for others), which suit models that are wider than they."""
    rate: float = 5e-4
    """Peak learning rate of the projector (SAM2VideoX App. A). Deviation: AdamW's betas are 0.9 and
    0.98, as for all weights; the paper's are 0.9 and 0.95.
    """
    least_rate: float = 1e-5
    """What the projector's rate falls to, by a cosine over the run."""
    warmup: int = 150
    """Steps in which the projector's rate rises."""
    sigma: tuple[float, ...] = (0.0, 1.0)
    """Noise levels from and to which samples are aligned; all by default. Unverified: both papers
    are silent, SARA trains on high noise alone.
    """

    saliency: str = "none"
    """What weighs pairs, or positions of a flow: "none", "changed", "named", "learned"."""
    saliency_model: str = ""
    """File of the model of a learned saliency."""
    router: str = "or"
    """Which pairs the saliency keeps: "or", "and", "xor", "all" (SARA Eq. 8)."""
    temporal_router: str = ""
    """Another router across frames. Empty: the same."""
    temporal_weight: float = 1.0
    """λ_tmp of pairs across frames (SARA Eq. 11)."""
    decay: float = math.inf
    """Frames over which pairs across frames lose weight; inf: none do. MoAlign: 10."""
    margin: float = 0.0
    """Differences up to it count as none. VideoREPA's code: 0.1."""
    one_mean: bool = False
    """One mean over all pairs, as VideoREPA's code has it, instead of one within and one across
    frames.
    """
    neighbours: int = 0
    """Tokens: frames before and after that count too (CREPA)."""

    width: int = 256
    """Flow and masks: channels that hidden states are projected to (256, those of SAM 2). Other
    relations have the teacher's."""
    window: int = 7
    """Flow: side of the neighbourhood in the next frame."""
    border: str = "mask"
    """Flow: neighbours out of frame are left out ("mask") or zero ("zero")."""
    temperature: float = 0.1
    """Flow: temperature of both softmaxes."""
    fusion: str = "flow"
    """How two directions of a teacher become one: "flow", "features", "forward" alone, or
    "separate" projectors.
    """
    k: float = 0.5
    """Share of the forward direction. Unverified: not in the paper."""
    ends: str = "other"
    """The pair of frames beside a prompted frame: taken from the "other" direction, or kept
    ("keep"). Of the fusion "flow" alone: the others have no other direction to take it from, and
    keep it. Unverified: not in the paper; on that frame SAM 2 has no memory.
    """
    both_ways: bool = False
    """Flow from a frame to the one before too (SAM2VideoX Tab. 4, where it is worse)."""

    def __post_init__(self):
        """Raises ConfigError for what cannot be."""
        check_types(self, "align")
        refuse_bad(self._check_lists())
        if self.relation not in RELATIONS:
            refuse_bad([_one_of("align.relation", self.relation, RELATIONS)])
        refuse_bad(
            [
                _one_of("align.distance", self.distance, RELATIONS[self.relation]),
                _one_of("align.saliency", self.saliency, SALIENCIES),
                _one_of("align.router", self.router, ROUTERS),
                _one_of("align.temporal_router", self.temporal_router, ("", *ROUTERS)),
                _one_of("align.border", self.border, BORDERS),
                _one_of("align.fusion", self.fusion, FUSIONS),
                _one_of("align.ends", self.ends, ENDS),
                (self.cell > 0, "align.cell", self.cell, "1 or more"),
                (self.width > 0, "align.width", self.width, "1 or more"),
                (
                    self.window > 0 and self.window % 2 == 1,
                    "align.window",
                    self.window,
                    "an odd number, 1 or more",
                ),
                (0 < self.weight < math.inf, "align.weight", self.weight, "more than 0"),
                (self.block >= 0, "align.block", self.block, "0, or a block counted from 1"),
                (0 < self.rate < math.inf, "align.rate", self.rate, "more than 0"),
                (
                    0 <= self.least_rate <= self.rate,
                    "align.least_rate",
                    self.least_rate,
                    f"0 to rate ({self.rate:g})",
                ),
                (self.warmup >= 0, "align.warmup", self.warmup, "0 or more"),
                (self.decay > 0, "align.decay", self.decay, "more than 0"),
                (0 <= self.margin < 2, "align.margin", self.margin, "0 to 2"),
                (
                    0 <= self.temporal_weight < math.inf,
                    "align.temporal_weight",
                    self.temporal_weight,
                    "0 or more",
                ),
                (self.neighbours >= 0, "align.neighbours", self.neighbours, "0 or more"),
                (self.temperature > 0, "align.temperature", self.temperature, "more than 0"),
                (0 <= self.k <= 1, "align.k", self.k, "0 to 1"),
                (
                    len(self.sigma) == 2 and 0 <= self.sigma[0] < self.sigma[1] <= 1,
                    "align.sigma",
                    list(self.sigma),
                    "two numbers from 0 to 1, the smaller first",
                ),
                *self._check_saliency(),
            ]
        )

    def _check_lists(self) -> list[Check]:
        """What is a list of numbers at all, before one is compared."""
        hidden, sigma = self.hidden, self.sigma
        widths = are_numbers(hidden, int) and all(width > 0 for width in hidden)
        need = "a list of whole numbers, 1 or more"
        return [
            (widths, "align.hidden", _show_list(hidden), need),
            (are_numbers(sigma), "align.sigma", _show_list(sigma), "a list of two numbers"),
        ]

    def _check_saliency(self) -> list[Check]:
        """What needs a saliency."""
        none, router = self.saliency == "none", self.temporal_router
        routes, masks = self.relation == "pairs" and bool(router), self.distance == "bce"
        return [
            (not (none and routes), "align.temporal_router", router, "a saliency, which it routes"),
            (not (none and masks), "align.saliency", "'none'", 'one for the distance "bce"'),
        ]

    @classmethod
    def of_table(cls, values: Mapping[str, Any], name: str) -> Self | None:
        """The `[align]` table of the recipe `name`: `method`, one of ARMS, is what it begins with.

        None for the method "sft". ConfigError for an unknown method or setting.
        """
        given = dict(values)
        method = given.pop("method", None)
        if method is None:
            return settings_of(cls, given, name, ("method",))
        if not isinstance(method, str) or method not in ARMS:
            fix = f"There are: {', '.join(ARMS)}."
            raise ConfigError(needed("align.method", repr(method), "a known method", fix))
        arm = ARMS[method]
        if arm is None:
            return None
        return settings_of(
            cls,
            {**{one.name: getattr(arm, one.name) for one in fields(arm)}, **given},
            name,
            ("method",),
        )

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher says what is learned. Masks come from rows, unless they are learned."""
        return self.distance != "bce" or self.saliency == "learned"

    @property
    def tracks_structure(self) -> bool:
        """Whether it is of SAM2VideoX' kind: its block, its projector, and every pixel frame."""
        return self.relation == "flow" or self.distance in ("square", "bce")

    def targets_key(self) -> str:
        """The settings that a teacher's targets of a clip depend on, as text."""
        names = ["relation", "saliency", "fusion", "k", "cell"]
        if self.relation == "flow":
            names += ["window", "border", "ends", "both_ways"]
            # Flows of "kl" have their own form, and the key that all had before.
            names += ["distance"] if self.distance == "square" else []
        elif self.tracks_structure:
            names += ["distance"]  # of every frame
        return repr([(name, getattr(self, name)) for name in names])

    def choose_block(self, blocks: int) -> int:
        """The block of a model of `blocks` blocks, counted from 1. ConfigError for one it has
        not.
        """
        share = 0.6 if self.tracks_structure else 0.45
        chosen = self.block or max(1, round(share * blocks))
        if chosen > blocks:
            raise ConfigError(
                needed(
                    "align.block",
                    chosen,
                    f"1 to {blocks} for this model, or 0",
                    "Change it in the recipe.",
                )
            )
        return chosen


def _show_list(value: object) -> object:
    """A list as the recipe has it, or what stands in its place."""
    return list(value) if isinstance(value, tuple) else repr(value)


def _one_of(name: str, got: str, allowed) -> tuple[bool, str, str, str]:
    return got in allowed, name, repr(got), " or ".join(map(repr, allowed))


_TRD = AlignConfig(router="all")
_SARA = AlignConfig(saliency="learned", router="or")
_FLOW = AlignConfig(relation="flow", distance="kl")

ARMS: dict[str, AlignConfig | None] = {
    "sft": None,
    "repa": AlignConfig(relation="tokens", distance="cosine"),
    "crepa": AlignConfig(relation="tokens", distance="cosine", neighbours=1),
    "trd": _TRD,
    "videorepa": replace(_TRD, one_mean=True, margin=0.1),
    "moalign": replace(_TRD, decay=10.0),
    "sara": _SARA,
    "sara_and": replace(_SARA, router="and"),
    "sara_xor": replace(_SARA, router="xor"),
    "sara_without_temporal_mask": replace(_SARA, temporal_router="all"),
    "sara_decay": replace(_SARA, decay=10.0),
    "sara_named": replace(_SARA, saliency="named"),
    "sara_changed": replace(_SARA, saliency="changed"),
    "sam2videox": _FLOW,
    "sam2videox_without_kl": replace(_FLOW, distance="square"),
    "sam2videox_without_flow": AlignConfig(relation="tokens", distance="square", fusion="features"),
    "sam2videox_forward": replace(_FLOW, fusion="forward"),
    "sam2videox_separate": replace(_FLOW, fusion="separate"),
    "sam2videox_features": replace(_FLOW, fusion="features"),
    "sam2videox_both_ways": replace(_FLOW, both_ways=True),
    "sam2videox_salient": replace(_FLOW, saliency="named"),
    "mask_supervision": AlignConfig(relation="tokens", distance="bce", saliency="named"),
}
"""Rows of SARA Tab. 3, SAM2VideoX Tab. 2 and 4, and the baselines of both, by name.

`sft` is training without an alignment. `moalign` is its loss alone: the teacher's projection to 64
channels by a flow regressor is no part of this package. `videorepa` too: its code drops the first
frame, which is kept here, and its projector ends in a strided convolution. The rows of SARA's first
stage ("w/o InfoNCE", "w/o entity") are settings of the saliency's training: SALIENCY_ARMS, in
`saliency_config`.
Unverified: which features "w/o LGF" compares (here both directions', fused), and the loss of
`mask_supervision`, of which the paper names a linear layer behind the projector.
`sara_changed` and `sam2videox_salient` are ours.
"""
