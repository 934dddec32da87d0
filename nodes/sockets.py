"""What each kind of socket takes. A check returns the value, rare forms of it in the usual form.

It raises InputError: what was got, what is needed, what to connect.
"""

from collections.abc import Callable, Mapping
from numbers import Real

import torch
from torch import Tensor

from ..sama_core.clip import ClipInfo
from ..sama_core.errors import InputError, needed


def kind_of(value: object) -> str:
    """What `value` is, in plain words."""
    if value is None:
        return "nothing"
    if torch.is_tensor(value):
        return f"a tensor of shape {list(value.shape)}"
    return {dict: "a dictionary", list: "a list", tuple: "a list"}.get(
        type(value), f"a {type(value).__name__}"
    )


def _require(good: bool, name: str, got: object, need: str, fix: str) -> None:
    if not good:
        raise InputError(needed(name, got if isinstance(got, str) else kind_of(got), need, fix))


def _image(name: str, value: object) -> Tensor:
    """IMAGE: float (F, H, W, 3 or 4), at least one pixel, finite; one channel is grey."""
    _require(
        _is_float(value) and value.ndim == 4 and value.shape[-1] in (1, 3, 4) and value.numel() > 0,
        name,
        value,
        "images of shape (frames, height, width, 3)",
        "Connect an IMAGE output.",
    )
    _require(
        _finite(value),
        name,
        "images with NaN or infinite pixels",
        "finite pixels",
        "They come from the node before it, or from the precision it runs in: check that node.",
    )
    return value.expand(-1, -1, -1, 3) if value.shape[-1] == 1 else value


def _mask(name: str, value: object) -> Tensor:
    """MASK: a tensor of real numbers or of truth values; `fit_mask` checks shape and values."""
    _require(
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
    _require(
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
    _require(
        good,
        name,
        "an empty conditioning" if value == [] else value,
        "encoded text",
        "Connect SAMA Instruction.",
    )
    odd = next((pair[0] for pair in pairs if pair[0].ndim != 3), None)
    _require(
        odd is None,
        name,
        odd,
        "encoded text of shape (batch, tokens, width)",
        "Connect SAMA Instruction.",
    )
    return value


def _audio(name: str, value: object) -> Mapping:
    """AUDIO: {"waveform": float (1, channels, samples), "sample_rate": Hz}.

    The rate may be of any type that holds a whole number.
    """
    wave, rate = (
        (value.get(key) for key in ("waveform", "sample_rate"))
        if isinstance(value, Mapping)
        else (None, None)
    )
    _require(
        _is_float(wave) and wave.ndim == 3 and wave.shape[0] > 0 and wave.shape[1] > 0,
        name,
        wave if torch.is_tensor(wave) else value,
        "sound of shape (1, channels, samples)",
        "Connect an AUDIO output, or connect nothing for a silent video.",
    )
    number = plain(rate)
    _require(
        isinstance(number, Real) and 0 < number < 1 << 31 and number == int(number),
        name,
        f"a sample rate of {rate}",
        "one above 0",
        "Check the node that made it.",
    )
    return value if type(rate) is int else {**value, "sample_rate": int(number)}


def _has(attributes: tuple[str, ...], need: str, fix: str) -> Callable[[str, object], object]:
    """A check for objects of ComfyUI, which are used through these attributes."""

    def check(name: str, value: object) -> object:
        _require(all(hasattr(value, attribute) for attribute in attributes), name, value, need, fix)
        return value

    return check


def _clip(name: str, value: object) -> object:
    """VIDEO or IMAGE."""
    kind = "IMAGE" if torch.is_tensor(value) else "VIDEO"
    return SOCKETS[kind](name, value)


def _clip_info(name: str, value: object) -> ClipInfo:
    """SAMA_CLIP_INFO."""
    _require(
        isinstance(value, ClipInfo),
        name,
        value,
        "clip info",
        "Connect the clip_info of SAMA Source Video.",
    )
    return value


def _semantic(name: str, value: object) -> Tensor:
    """SAMA_SEMANTIC: float (B, S, E)."""
    _require(
        _is_float(value) and value.ndim == 3 and value.numel() > 0,
        name,
        value,
        "semantic tokens of shape (batch, tokens, width)",
        "Connect SAMA Split Latent.",
    )
    return value


def plain(value: object) -> object:
    """The number in what holds exactly one, such as a tensor or array; anything else unchanged."""
    size = getattr(value, "numel", None) or getattr(value, "size", None)
    count = size() if callable(size) else size
    return value.item() if hasattr(value, "item") and count == 1 else value


def _is_float(value: object) -> bool:
    return torch.is_tensor(value) and value.is_floating_point()


def _finite(value: Tensor) -> bool:
    """Whether no value is NaN or infinite; no memory of the tensor's size is allocated."""
    return all(bool(torch.isfinite(end)) for end in (value.min(), value.max()))


SOCKETS: dict[str, Callable[[str, object], object]] = {
    "IMAGE": _image,
    "MASK": _mask,
    "LATENT": _latent,
    "CONDITIONING": _conditioning,
    "AUDIO": _audio,
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
