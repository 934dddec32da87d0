"""What each kind of socket takes. A check returns the value, rare forms of it in the usual form.

It raises InputError: what was got, what is needed, what to connect.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..sama_core.clip import ClipInfo
from ..sama_core.comfyui.media_values import check_images, check_sound, is_float, require


def _mask(name: str, value: object) -> Tensor:
    """MASK: a tensor of real numbers or of truth values; `fit_mask` checks shape and values."""
    require(
        torch.is_tensor(value) and not value.is_complex(),
        name,
        value,
        "a mask of shape (frames, height, width)",
        "Connect a MASK output.",
    )
    return value


def _latent(name: str, value: object) -> Mapping:
    """LATENT: {"samples": tensor or nested tensor}."""
    samples = value.get("samples") if isinstance(value, Mapping) else None
    require(
        torch.is_tensor(samples) or getattr(samples, "is_nested", False),
        name,
        value,
        "a latent",
        "Connect a sampler, or SAMA Edit Conditioning.",
    )
    return value


def _conditioning(name: str, value: object) -> list | tuple:
    """CONDITIONING: pairs of text tokens (B, L, width) and a dictionary.

    As a negative it may be empty, because cfg 1 does not need one.
    """
    if name == "negative" and value == []:
        return value
    pairs = value if isinstance(value, list | tuple) else []
    good = bool(pairs) and all(
        isinstance(pair, list | tuple)
        and len(pair) >= 2
        and torch.is_tensor(pair[0])
        and isinstance(pair[1], Mapping)
        for pair in pairs
    )
    require(
        good,
        name,
        "an empty conditioning" if value == [] else value,
        "encoded text",
        "Connect SAMA Instruction.",
    )
    odd = next((pair[0] for pair in pairs if pair[0].ndim != 3), None)
    require(
        odd is None,
        name,
        odd,
        "encoded text of shape (batch, tokens, width)",
        "Connect SAMA Instruction.",
    )
    return value


def _has(attributes: tuple[str, ...], need: str, fix: str) -> Callable[[str, object], object]:
    """A check for objects of ComfyUI, which are used through these attributes."""

    def check(name: str, value: object) -> object:
        require(all(hasattr(value, attribute) for attribute in attributes), name, value, need, fix)
        return value

    return check


def _clip(name: str, value: object) -> object:
    """VIDEO or IMAGE."""
    kind = "IMAGE" if torch.is_tensor(value) else "VIDEO"
    return SOCKETS[kind](name, value)


def _clip_info(name: str, value: object) -> ClipInfo:
    """SAMA_CLIP_INFO."""
    require(
        isinstance(value, ClipInfo),
        name,
        value,
        "clip info",
        "Connect the clip_info of SAMA Source Video.",
    )
    return value


def _semantic(name: str, value: object) -> Tensor:
    """SAMA_SEMANTIC: float (B, S, E)."""
    require(
        is_float(value) and value.ndim == 3 and value.numel() > 0,
        name,
        value,
        "semantic tokens of shape (batch, tokens, width)",
        "Connect SAMA Split Latent.",
    )
    return value


SOCKETS: dict[str, Callable[[str, object], object]] = {
    "IMAGE": check_images,
    "MASK": _mask,
    "LATENT": _latent,
    "CONDITIONING": _conditioning,
    "AUDIO": check_sound,
    "VIDEO": _has(("get_components",), "a video", "Connect Load Video."),
    "VIDEO,IMAGE": _clip,
    "MODEL": _has(("model", "clone", "model_options"), "a model", "Connect Load SAMA Model."),
    "CLIP": _has(
        ("tokenize", "encode_from_tokens_scheduled"),
        "a text encoder",
        "Connect Load SAMA Text Encoder.",
    ),
    "VAE": _has(("encode", "decode"), "a VAE", "Connect Load SAMA VAE."),
    "CLIP_VISION": _has(("encode_image",), "a vision encoder", "Connect Load CLIP Vision."),
    "ALIGN_FEATURES": _has(
        ("clip", "teacher", "made"), "a teacher's features", "Connect SAMA Teacher Features."
    ),
    "SAMA_CLIP_INFO": _clip_info,
    "SAMA_SEMANTIC": _semantic,
}
