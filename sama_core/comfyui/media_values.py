"""What IMAGE and AUDIO have to hold, wherever they come from: a socket, or another pack's VIDEO.

A check returns the value, rare forms of it in the usual form. It raises InputError: what was got,
what is needed, what to connect.
"""

from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor

from ..errors import InputError, needed


def kind_of(value: object) -> str:
    """What `value` is, in plain words."""
    if value is None:
        return "nothing"
    if torch.is_tensor(value):
        numbers = "" if value.is_floating_point() else f" of {str(value.dtype).partition('.')[2]}"
        return f"a tensor{numbers} of shape {list(value.shape)}"
    return {dict: "a dictionary", list: "a list", tuple: "a list"}.get(
        type(value), f"a {type(value).__name__}"
    )


def require(good: bool, name: str, got: object, need: str, fix: str) -> None:
    """Raises InputError unless `good`; `got` is a text, or a value that is described."""
    if not good:
        raise InputError(needed(name, got if isinstance(got, str) else kind_of(got), need, fix))


def check_images(name: str, value: object) -> Tensor:
    """IMAGE: float (F, H, W, 3 or 4), at least one pixel, finite; one channel is grey."""
    require(
        is_float(value) and value.ndim == 4 and value.shape[-1] in (1, 3, 4) and value.numel() > 0,
        name,
        value,
        "images of shape (frames, height, width, 3), as numbers from 0 to 1",
        "Connect an IMAGE output.",
    )
    require(
        _finite(value),
        name,
        "images with NaN or infinite pixels",
        "finite pixels",
        "They come from the node before it, or from the precision it runs in: check that node.",
    )
    return value.expand(-1, -1, -1, 3) if value.shape[-1] == 1 else value


def check_sound(name: str, value: object) -> Mapping:
    """AUDIO: {"waveform": float (1, channels, samples), "sample_rate": Hz}.

    The rate may be of any type that holds a whole number.
    """
    wave, rate = (
        (value.get(key) for key in ("waveform", "sample_rate"))
        if isinstance(value, Mapping)
        else (None, None)
    )
    require(
        is_float(wave) and wave.ndim == 3 and wave.shape[0] > 0 and wave.shape[1] > 0,
        name,
        wave if torch.is_tensor(wave) else value,
        "sound of shape (1, channels, samples)",
        "Connect an AUDIO output, or connect nothing for a silent video.",
    )
    number = plain(rate)
    require(
        isinstance(number, Real) and 0 < number < 1 << 31 and number == int(number),
        name,
        f"a sample rate of {rate}",
        "one above 0",
        "Check the node that made it.",
    )
    return value if type(rate) is int else {**value, "sample_rate": int(number)}


def plain(value: object) -> object:
    """The number in what holds exactly one, such as a tensor or array; anything else unchanged."""
    size = getattr(value, "numel", None) or getattr(value, "size", None)
    count = size() if callable(size) else size
    return value.item() if hasattr(value, "item") and count == 1 else value


def is_float(value: object) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    return torch.is_tensor(value) and value.is_floating_point()


def _finite(value: Tensor) -> bool:
    """Whether no value is NaN or infinite; no memory of the tensor's size is allocated."""
    return all(bool(torch.isfinite(end)) for end in (value.min(), value.max()))
