"""NaN and infinite values: refused at the first step that has them, with their likely causes.

Without this a run goes on to its end, and a black clip comes out.
"""

import math
from collections.abc import Callable, Iterator
from numbers import Real

import comfy.model_management
import torch
from torch import Tensor

from ..errors import SamplingError, needed
from .attention_backends import OVERRIDE

_GOT = "values that are no numbers (NaN or infinite)"
_HIGH_CFG, _HIGH_SHIFT, _STRONG = 15, 30, 2
_TEXT = (
    "The text encoder overflowed: start ComfyUI with --bf16-text-enc or --fp32-text-enc; if it "
    "happens again, download the encoder again."
)
_SOURCE = (
    "The VAE overflowed, or the frames hold such values: start ComfyUI with --bf16-vae or "
    "--fp32-vae, and take the frames from SAMA Source Video."
)
_LATENT = "An earlier node or sampler made them: sample its latent again, or give an empty one."
_SCHEDULE = "Set steps, shift and denoise to numbers within their ranges."


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite. Integers never are."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def refuse_frames(frames: Tensor) -> None:
    """Raises SamplingError where decoded frames hold NaN or infinite values."""
    if not is_finite(frames):
        raise SamplingError(
            needed(
                "decoded frames",
                _GOT,
                "finite ones",
                "The VAE overflowed: start ComfyUI with --bf16-vae or --fp32-vae.",
            )
        )


def refuse_inputs(guider, noise: Tensor, latent: Tensor, sigmas: Tensor) -> None:
    """Raises SamplingError, naming it, where an input of a run is not finite.

    It is called before weights are loaded. At cfg 1 the negative conditioning is not used, and is
    not checked.
    """
    parts = [("sigmas", sigmas, _SCHEDULE), ("noise", noise, _LATENT), ("latent", latent, _LATENT)]
    unused = {"negative"} if math.isclose(cfg_of(guider), 1.0) else set()
    for name, entries in (
        (name, entries) for name, entries in guider.conds.items() if name not in unused
    ):
        if name == "negative" and entries == []:
            raise SamplingError(
                needed(
                    "negative conditioning",
                    f"an empty one at cfg {cfg_of(guider):g}",
                    "encoded text",
                    "Connect the negative of SAMA Edit Conditioning, or set cfg to 1.",
                )
            )
        for entry in entries or ():
            parts += [
                ("text conditioning", entry.get("cross_attn"), _TEXT),
                *(
                    ("source latent", source, _SOURCE)
                    for source in entry.get("reference_latents") or ()
                ),
            ]
    for what, tensor, fix in parts:
        if torch.is_tensor(tensor) and not is_finite(tensor):
            raise SamplingError(needed(what, _GOT, "finite ones", fix))


def watch_steps(callback: Callable | None, guider, sigmas: Tensor) -> Callable:
    """A sampler's `callback(step, x0, x, total, …)` that first checks `x0`.

    It raises SamplingError if `x0` is not finite.
    """

    def check_step(step, x0, x, total_steps, *args, **kwargs):
        if torch.is_tensor(x0) and not is_finite(x0):
            raise _error(guider, sigmas, f"sampling, step {step + 1} of {total_steps}")
        return callback and callback(step, x0, x, total_steps, *args, **kwargs)

    return check_step


def refuse_result(result: Tensor, guider, sigmas: Tensor) -> None:
    """Raises SamplingError where a run's result is not finite: not every sampler reports steps."""
    if not is_finite(result):
        raise _error(guider, sigmas, "sampling, at its end")


def _error(guider, sigmas: Tensor, where: str) -> SamplingError:
    """The error, with what to set: the likely causes in this run, the most certain first."""
    causes = " ".join(
        f"({number}) {cause}." for number, cause in enumerate(_causes(guider, sigmas), 1)
    )
    return SamplingError(
        needed(where, _GOT, "finite ones", f"Likely causes, in this order: {causes}")
    )


def _causes(guider, sigmas: Tensor) -> Iterator[str]:
    patcher, cfg = guider.model_patcher, cfg_of(guider)
    layers = sorted(
        key
        for key, patches in patcher.patches.items()
        if any(not _is_sound(patch[1]) for patch in patches)
    )
    if layers:
        yield f"a LoRA on the model holds such values itself (in {layers[0]}): remove that LoRA"
    if patcher.model.get_dtype_inference() == torch.float16:
        yield (
            "the model computes in float16, whose largest number is 65504: set Model Compute Dtype "
            "to bf16, or start ComfyUI with --bf16-unet"
        )
    if OVERRIDE in patcher.model_options.get("transformer_options", {}) or _flag_for_attention():
        yield "another attention back end is on: try without it"
    if (getattr(patcher.model.model_config, "optimizations", None) or {}).get("fp8"):
        yield "the model multiplies in float8 (a fast form): load it with weight_dtype fp8_e4m3fn"
    if not cfg <= _HIGH_CFG:
        yield f"cfg is {cfg:g}: set it to 5, or to 1 with a distilled LoRA"
    shift = getattr(patcher.get_model_object("model_sampling"), "shift", 0)
    if shift > _HIGH_SHIFT:
        yield f"the shift is {shift:g}: set it to 5"
    strengths = [patch[0] for patches in patcher.patches.values() for patch in patches]
    if strengths and not max(map(abs, strengths)) <= _STRONG:
        yield f"a LoRA has strength {max(map(abs, strengths)):g}: lower it"
    yield "the model file is damaged: set check_weights in Load SAMA Model, which finds that"
    if patcher.model.get_dtype_inference() != torch.float16:
        yield "a node between loader and sampler makes them: try without LoRAs and model patches"


def cfg_of(guider) -> float:
    """The guidance strength; 0 where a guider of another pack has none, or one per step."""
    cfg = getattr(guider, "cfg", 0.0)
    return float(cfg) if isinstance(cfg, Real) else 0.0


def _flag_for_attention() -> bool:
    """Whether ComfyUI was started with an attention back end of low precision."""
    return bool(getattr(comfy.model_management, "sage_attention_enabled", lambda: False)())


def _is_sound(patch) -> bool:
    """Whether a weight patch (tensors in tuples, lists and adapters) is finite throughout."""
    if torch.is_tensor(patch):
        return is_finite(patch)
    if isinstance(patch, (list, tuple)):
        return all(_is_sound(part) for part in patch)
    return _is_sound(patch.weights) if hasattr(patch, "weights") else True
