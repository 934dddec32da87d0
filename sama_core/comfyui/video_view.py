"""A 5-D view for everything in ComfyUI that expects a video latent during sampling.

previews and x0 callbacks     `video_callback`
noise masks                   `pack_mask`
conditioning masks, areas     `adapt_conditioning`
CFG functions                 `adapt_model_options`: 5-D to the function, plain CFG on the semantics
context windows               `adapt_model_options`, with `context_windows.VideoWindows`
what no step changes          `cache_constants`
"""

import logging
from collections.abc import Callable
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..model.once_per_run import MEMORY, OncePerRun
from .context_windows import VideoWindows
from .streams import JointShape, is_packed

_AREA = "SAMA: a conditioning area was ignored; use a conditioning mask instead."
_LATENT_ARGS = ("cond", "uncond", "input", "denoised", "cond_denoised", "uncond_denoised")
"""Tensors that CFG hooks get, in the latent's form."""
_CALLERS = {
    "model_function_wrapper",
    "context_handler",
    "sampler_calc_cond_batch_function",
    "sampler_pre_cfg_function",
    "sampler_post_cfg_function",
    "sampler_cfg_function",
}
"""Options that may call the model by themselves, or give it other inputs than the conditioning."""
_AROUND_THE_MODEL = [
    kind
    for name in (
        "APPLY_MODEL",
        "DIFFUSION_MODEL",
        "PREDICT_NOISE",
        "CALC_COND_BATCH",
        "SAMPLER_SAMPLE",
    )
    if (kind := getattr(WrappersMP, name, None))
]
"""Kinds of wrappers around the model that this ComfyUI has."""

log = logging.getLogger(__name__)


# --- callbacks, masks, conditioning --------------------------------------------------------------
def video_callback(callback: Callable | None, shape: JointShape) -> Callable | None:
    """`callback(step, x0, x, total)` that gets videos instead of packed states."""
    if callback is None:
        return None

    def show(step, x0, x, total_steps, *args, **kwargs):
        return callback(step, shape.video_of(x0), shape.video_of(x), total_steps, *args, **kwargs)

    return show


def pack_mask(mask: Tensor | None, shape: JointShape) -> Tensor | None:
    """A noise mask over the packed state; the semantic tokens are always denoised."""
    if mask is None:
        return None
    return shape.pack(mask, mask.new_ones(mask.shape[0], *shape.semantic))


def adapt_conditioning(conds: dict[str, list[dict]], shape: JointShape) -> str:
    """Add the joint shape to every entry, in place; flatten its mask, drop its area.

    Returns the warning for an area, or an empty text.
    """
    areas = False
    for entries in conds.values():
        for entry in entries:
            entry["sama_shapes"] = tuple(shape)
            areas |= entry.pop("area", None) is not None
            if "mask" in entry:
                entry["mask"] = _flat_condition_mask(entry["mask"], shape)
                entry["set_area_to_bounds"] = False
    if areas:
        log.warning(_AREA)
    return _AREA if areas else ""


def _flat_condition_mask(mask: Tensor, shape: JointShape) -> Tensor:
    """A mask (H, W) or (F, H, W) → (1, N) over the packed state, 1 on the semantics."""
    video = comfy.sampler_helpers.prepare_mask(mask.float(), (1, *shape.video), mask.device)
    return shape.pack(video, video.new_ones(1, *shape.semantic))[:, 0]


# --- CFG functions -------------------------------------------------------------------------------
def adapt_model_options(options: dict, shape: JointShape) -> None:
    """Wrap the CFG functions and the context handler in `options` (a run's own clone), in place."""
    if "sampler_cfg_function" in options:
        options["sampler_cfg_function"] = _cfg_on_video(options["sampler_cfg_function"], shape)
    for hook, wrap in (
        ("sampler_pre_cfg_function", _pre_cfg_on_video),
        ("sampler_post_cfg_function", _post_cfg_on_video),
    ):
        if hook in options:
            options[hook] = [wrap(fn, shape) for fn in options[hook]]
    if options.get("context_handler") is not None:
        options["context_handler"] = VideoWindows(options["context_handler"], shape)


def _view(value: Any, shape: JointShape) -> Any:
    """The 5-D view of a packed tensor; anything else unchanged."""
    return shape.view_video(value) if torch.is_tensor(value) and is_packed(value) else value


def _video_args(args: dict, shape: JointShape) -> dict:
    """A CFG hook's arguments, latents as 5-D views."""
    return {
        key: _view(value, shape) if key in _LATENT_ARGS else value for key, value in args.items()
    }


def _cfg_on_video(fn: Callable, shape: JointShape) -> Callable:
    """Replaces the CFG formula: takes and returns noise predictions."""

    def guide(args: dict) -> Tensor:
        cond, uncond = args["cond"], args.get("uncond")
        plain = cond if uncond is None else uncond + (cond - uncond) * args["cond_scale"]
        return shape.with_video(plain, fn(_video_args(args, shape)))

    return guide


def _post_cfg_on_video(fn: Callable, shape: JointShape) -> Callable:
    """Runs after CFG: takes and returns the denoised prediction."""

    def correct(args: dict) -> Tensor:
        return shape.with_video(args["denoised"], fn(_video_args(args, shape)))

    return correct


def _pre_cfg_on_video(fn: Callable, shape: JointShape) -> Callable:
    """Runs before CFG: takes and returns the predictions, one per conditioning.

    At cfg 1 one of them may be None.
    """

    def change(args: dict) -> list[Tensor]:
        packed = args["conds_out"]
        seen = {**_video_args(args, shape), "conds_out": [_view(out, shape) for out in packed]}
        return [
            whole if whole is None else video if video is None else shape.with_video(whole, video)
            for whole, video in zip(packed, fn(seen), strict=False)
        ]

    return change


# --- what stays the same over a run --------------------------------------------------------------
def cache_constants(guider, own_key: str) -> None:
    """Cache what is constant over a run, unless another wrapper could change it.

    Wrappers under `own_key` are SAMA's own. Nothing is cached where anything else may call the
    model, or change its weights or inputs from step to step: hooks in the conditioning, functions
    and wrappers of other packs around the model, guiders other than ComfyUI's plain one, context
    windows, several GPUs; callbacks, injections (bypass LoRAs) and replaced parts of the model.
    """
    options = guider.model_options
    hooked = any(entry.get("hooks") for entries in guider.conds.values() for entry in entries)
    around = options.get("transformer_options", {})
    wrapped = any(
        key != own_key
        for kind in _AROUND_THE_MODEL
        for key in around.get("wrappers", {}).get(kind, {})
    )
    plain = type(guider) is comfy.samplers.CFGGuider and not _CALLERS & options.keys()
    if plain and not (
        hooked or wrapped or around.get("callbacks") or _may_change(guider.model_patcher)
    ):
        options.setdefault("transformer_options", {})[MEMORY] = OncePerRun()


def _may_change(patcher) -> bool:
    """Whether anything that came with the model (a ModelPatcher) may change it between two steps.

    Some of it never does, such as a bypass LoRA of constant strength; then only a little time is
    lost.
    """
    replaced = any(name.startswith("diffusion_model") for name in patcher.object_patches)
    return bool(
        replaced
        or patcher.get_additional_models_with_key("multigpu")
        or patcher.injections
        or any(any(by_key.values()) for by_key in patcher.callbacks.values())
        or patcher.forced_hooks
        or patcher.weight_wrapper_patches
    )
