"""From a teacher's features of a clip to what a run is aligned with, and what the cache keeps.

A fused flow is kept instead of features: 48 pairs of frames of 30 × 45 cells take 6 MiB in half
precision, features of SAM 2 in both directions 196 MiB.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import SamaError, needed
from .config import AlignConfig
from .flow import flow_both_ways, fuse, local_gram_flow

Made = dict[str, Tensor]
"""Named tensors of one clip."""


def list_forms(
    config: AlignConfig, cells: tuple[int, int], slices: int, width: int
) -> dict[str, tuple[int, ...]]:
    """The shapes of what `make_targets` makes of a clip, of a teacher that gives it `slices` frames
    of features of `width` channels.
    """
    forms: dict[str, tuple[int, ...]] = {}
    if config.relation == "flow":
        pairs = (slices - 1) * (2 if config.both_ways else 1)
        names = ("forward", "backward") if config.fusion == "separate" else ("flow",)
        forms = dict.fromkeys(names, (pairs, *cells, config.window**2))
    elif config.needs_teacher:
        forms = {"features": (slices, *cells, width)}
    if config.saliency != "none":
        forms["saliency"] = (slices, *cells)
    return forms


def make_targets(
    config: AlignConfig, features: Made, cells: tuple[int, int], saliency: Tensor | None = None
) -> Made:
    """What `Aligner.losses` compares with, of one clip (no batch axis).

    `features`: a teacher's "features" (T, h, w, C), or "forward" and "backward" where it tracks;
    nothing where masks alone are compared.
    `saliency` (T, h', w') on the cells already. Raises SamaError where the settings need two
    directions and the teacher has one, or a saliency and there is none.
    """
    found = {name: resize_cells(value, cells) for name, value in features.items()}
    if config.relation == "flow":
        made = _make_flows(config, found)
    elif config.distance == "bce" and not found:
        made = {}
    else:
        made = {"features": _fuse_features(config, found)}
    if config.saliency != "none":
        if saliency is None:
            raise SamaError(
                needed(
                    "saliency",
                    "none",
                    f"{config.saliency}, as align.saliency says",
                    "Give masks or pairs, or set align.saliency to none.",
                )
            )
        made["saliency"] = saliency
    return made


def fit_half_precision(config: AlignConfig, made: Made) -> Made:
    """Targets of a clip as they are kept in half precision, the same ones to the alignment's loss.

    A flow whose distributions are compared becomes what each product lacks to the largest of its
    position: half precision is finest near 0. It rounds products of 256, of as many channels, by an
    eighth, which at a temperature of 0.1 moved the distributions of smooth features by a divergence
    of 0.02 in a trial, as much as their entropy.
    """
    if (config.relation, config.distance) != ("flow", "kl"):
        return made
    flows = {name: made[name] for name in made if name != "saliency"}
    return made | {name: flow - flow.amax(-1, keepdim=True) for name, flow in flows.items()}


def resize_cells(features: Tensor, cells: tuple[int, int]) -> Tensor:
    """(T, h, w, C) → (T, h', w', C), bilinear; smaller grids are averaged over what they cover.

    Unverified: SAM2VideoX does not say which side is resampled; here always the teacher's.
    """
    if features.shape[1:3] == cells:
        return features
    return functional.interpolate(
        features.movedim(-1, 1).float(), cells, mode="bilinear", align_corners=False, antialias=True
    ).movedim(1, -1)


def _make_flows(config: AlignConfig, features: Made) -> Made:
    if config.fusion == "features" or "features" in features:
        return {"flow": _flow(config, _fuse_features(config, features))}
    forward = _flow(config, _get(features, "forward"))
    if config.fusion == "forward":
        return {"flow": forward}
    backward = _flow(config, _get(features, "backward"))
    if config.fusion == "separate":
        return {"forward": forward, "backward": backward}
    share = torch.full((len(features["forward"]) - 1,), config.k)
    if config.ends == "other" and len(share) > 1:
        # On its prompted frame a direction has no memory: there the other one speaks.
        share[0], share[-1] = 0.0, 1.0
    if config.both_ways:
        share = torch.cat([share, share.flip(0)])
    return {"flow": fuse(forward[None], backward[None], share)[0]}


def _flow(config: AlignConfig, features: Tensor) -> Tensor:
    flow = flow_both_ways if config.both_ways else local_gram_flow
    return flow(features[None], config.window, config.border)[0]


def _fuse_features(config: AlignConfig, features: Made) -> Tensor:
    """One (T, h, w, C) of what there is: the teacher's own, or k · forward + (1 − k) · backward."""
    if "features" in features:
        return features["features"]
    forward = _get(features, "forward")
    if config.fusion == "forward":
        return forward
    return config.k * forward + (1 - config.k) * _get(features, "backward")


def _get(features: Made, name: str) -> Tensor:
    if name not in features:
        raise SamaError(
            needed(
                "teacher",
                f"{', '.join(features) or 'nothing'}",
                f"{name} features",
                "Use a teacher that tracks, such as sam2:FOLDER, or another fusion.",
            )
        )
    return features[name]
