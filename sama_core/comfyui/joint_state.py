"""One sampling run of SAMA in ComfyUI: packs video and semantic latents, samples, unpacks.

Users see ordinary 5-D Wan latents. An OUTER_SAMPLE wrapper on the ModelPatcher

    1. takes a plain video latent (or a NestedTensor that ComfyUI has packed already),
    2. adds the semantic stream: noise from the run's own seed, start value from the last sampler,
    3. gives everything that expects a video a 5-D view (`video_view.py`),
    4. samples the packed state and returns the video with the semantics attached to it.

The packed layout is the one ComfyUI itself uses for nested latents, see `streams.py`.
"""

import logging
from dataclasses import dataclass

import comfy.conds
import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..errors import ConditioningError, needed
from ..geometry import LatentShape
from ..model.semantic import semantic_noise
from . import (
    anchors,
    context_windows,
    distilled,
    film,
    node_progress,
    non_finite,
    out_of_memory,
    train_lora,
    video_view,
)
from .attention_backends import refuse_sparse, serve_sparse
from .model import require_sama, require_wan_latent
from .streams import JointShape, attach_semantic, carried_semantic, find_packed, fit_semantic

KEY = "sama"
"""The key of SAMA's own wrappers on a ModelPatcher."""
_LOST = (
    "SAMA: this sampler continues a run, but the latent carries no semantic tokens, so they "
    "restart from zero. Connect the samplers directly, or keep the tokens with SAMA Split Latent "
    "and SAMA Join Latent."
)
_NEVER_HAD = (
    "SAMA: this run starts below full noise, and the latent carries no semantic tokens of an "
    "earlier run: they start from noise alone."
)
_NO_SOURCE = (
    "SAMA: the positive conditioning holds no source video, so this makes a new clip from the "
    "text. Put SAMA Edit Conditioning between instruction and sampler."
)

log = logging.getLogger(__name__)


def prepare(model):
    """A clone of `model` (ModelPatcher) that samples the packed state; again, it changes nothing.

    SAMA's wrappers come before those of other nodes, which then see a video wherever ComfyUI would
    show them one. Raises RuntimeSetupError if it is not a SAMA model.
    """
    require_sama(model)
    model = model.clone()
    for kind, wrapper in _WRAPPERS.items():
        others = {key: fns for key, fns in model.wrappers.get(kind, {}).items() if key != KEY}
        model.wrappers[kind] = {KEY: [wrapper], **others}
    return model


# --- the wrappers --------------------------------------------------------------------------------
def outer_sample(
    executor,
    noise: Tensor,
    latent_image: Tensor,
    sampler,
    sigmas: Tensor,
    denoise_mask=None,
    callback=None,
    disable_pbar=False,
    seed=None,
    latent_shapes=None,
    **kwargs,
):
    """OUTER_SAMPLE wrapper, see the module's docstring. New keywords of later cores are passed on.

    Raises SamaError before weights are loaded for what SAMA cannot sample, and at the first step
    whose values are not finite.
    """
    guider = executor.class_obj
    training = train_lora.is_training(sampler)
    refuse_sparse(guider.model_patcher, training)
    non_finite.refuse_inputs(guider, noise, latent_image, sigmas)
    if training:
        kwargs.update({"latent_shapes": latent_shapes} if latent_shapes else {})
        rest = (sigmas, denoise_mask, callback, disable_pbar, seed)
        return train_lora.train(executor, guider, noise, latent_image, sampler, *rest, **kwargs)
    shapes = latent_shapes or [latent_image.shape]
    nested = len(shapes) > 1
    run = _nested_run(shapes) if nested else _plain_run(guider, noise, latent_image, sigmas, seed)
    if not nested:
        noise, latent_image = run.noise, run.start
        latent_shapes = latent_shapes and run.batch_shapes
        denoise_mask = video_view.pack_mask(denoise_mask, run.shape)
        callback = video_view.video_callback(film.add_film(callback, guider), run.shape)
    _adapt(guider, run, sigmas)
    kwargs.update({"latent_shapes": latent_shapes} if latent_shapes else {})
    with out_of_memory.add_advice(guider, run.shape, run.batch, sigmas):
        packed = executor(
            noise,
            latent_image,
            sampler,
            sigmas,
            denoise_mask,
            non_finite.watch_steps(callback, guider, sigmas),
            disable_pbar,
            seed,
            **kwargs,
        )
    non_finite.refuse_result(packed, guider, sigmas)
    if nested:
        return packed
    video, semantic = run.shape.unpack(packed)
    return attach_semantic(_to_intermediate(video), _to_intermediate(semantic))


def _adapt(guider, run: "_Run", sigmas: Tensor) -> None:
    """Give the run's conditioning and options a video's view, and show what is wrong with them."""
    node_progress.show_remarks(
        [
            *_warn_of_lacks(guider, run),
            serve_sparse(guider),
            anchors.warn(guider),
            distilled.warn(guider, sigmas),
            video_view.adapt_conditioning(guider.conds, run.shape),
        ]
    )
    video_view.cache_constants(guider, KEY)
    video_view.adapt_model_options(guider.model_options, run.shape)


def _warn_of_lacks(guider, run: "_Run") -> list[str]:
    """What the run lacks, logged: semantic tokens of an earlier sampler, or a source video."""
    lacks = [run.lost] if run.lost else []
    if not any("reference_latents" in entry for entry in guider.conds.get("positive", ())):
        lacks.append(_NO_SOURCE)
    for text in lacks:
        log.warning(text)
    return lacks


def prepare_sampling(executor, model, noise_shape, conds, *args, **kwargs):
    """PREPARE_SAMPLING wrapper: memory is estimated from the video's real shape."""
    shapes = next(
        (
            entry["sama_shapes"]
            for group in conds.values()
            for entry in group
            if "sama_shapes" in entry
        ),
        None,
    )
    if shapes is not None and len(noise_shape) == 3:
        noise_shape = [noise_shape[0], *shapes[0]]
    return executor(model, noise_shape, conds, *args, **kwargs)


def calc_cond_batch(executor, model, conds, x_in: Tensor, *args, **kwargs):
    """CALC_COND_BATCH wrapper: gives every sample of a training's batch its own conditioning, and
    serves nodes that call the model from a CFG hook with a 5-D view."""
    whole = find_packed(x_in)
    if whole is None:
        conds = [train_lora.merge_samples(entries) for entries in conds]
        return executor(model, conds, x_in, *args, **kwargs)
    shape, packed = whole
    packed = shape.with_video(packed, x_in)
    conds = [entries and [_add_shape(entry, shape) for entry in entries] for entries in conds]
    return [shape.video_of(out) for out in executor(model, conds, packed, *args, **kwargs)]


def _add_shape(entry: dict, shape: JointShape) -> dict:
    """The entry with the joint shape: conditioning that a node encoded during the run lacks it."""
    if "sama_shapes" in entry["model_conds"]:
        return entry
    constant = comfy.conds.CONDConstant(tuple(shape))
    return {**entry, "model_conds": {**entry["model_conds"], "sama_shapes": constant}}


_WRAPPERS = {
    WrappersMP.OUTER_SAMPLE: outer_sample,
    WrappersMP.PREPARE_SAMPLING: prepare_sampling,
}
if hasattr(WrappersMP, "CALC_COND_BATCH"):
    _WRAPPERS[WrappersMP.CALC_COND_BATCH] = calc_cond_batch


# --- building the run ----------------------------------------------------------------------------
@dataclass(frozen=True)
class _Run:
    """What one sampling starts from."""

    shape: JointShape
    """Shapes of both streams."""
    batch: int = 1
    """Clips at once."""
    noise: Tensor | None = None
    """Packed noise (B, 1, N); None where ComfyUI has packed both streams already."""
    start: Tensor | None = None
    """Packed start value (B, 1, N), as `noise`."""
    lost: str = ""
    """A warning where the latent should carry semantic tokens and does not."""

    @property
    def batch_shapes(self) -> list[torch.Size]:
        """The shapes of both streams with batch, as ComfyUI lists those of nested latents."""
        return [torch.Size((self.batch, *stream)) for stream in self.shape]


def _nested_run(shapes: list) -> _Run:
    if len(shapes) != 2 or len(shapes[0]) != 5 or len(shapes[1]) != 3:
        raise ConditioningError(
            needed(
                "nested latent",
                [list(s) for s in shapes],
                "a video and semantic tokens",
                "Sample a plain video latent, with SAMA Join Latent for the tokens.",
            )
        )
    return _Run(JointShape(tuple(shapes[0][1:]), tuple(shapes[1][1:])))


def _plain_run(
    guider, noise: Tensor, latent_image: Tensor, sigmas: Tensor, seed: int | None
) -> _Run:
    sama = guider.model_patcher.model
    config, lattice = sama.dit_config, sama.lattice
    require_wan_latent(latent_image, "latent", lattice)
    LatentShape(*latent_image.shape[2:], lattice).tokens()
    batch, size = latent_image.shape[0], (config.semantic_tokens, config.semantic_dim)
    shape = JointShape(tuple(latent_image.shape[1:]), size)

    carried = carried_semantic(latent_image)
    silent = torch.count_nonzero(noise) == 0
    start = torch.zeros(batch, *size) if carried is None else fit_semantic(carried, batch, size)
    lost = "" if carried is not None else _warning_of_lost_tokens(guider, sigmas, silent)
    fresh = torch.zeros(batch, *size) if silent else semantic_noise(size, seed, noise)
    fresh, start = (
        x.to(device=latent_image.device, dtype=latent_image.dtype) for x in (fresh, start)
    )

    noise = context_windows.free_noise(guider.model_options, noise, seed)
    noise = anchors.still_noise(guider, noise, latent_image)
    return _Run(
        shape, batch, shape.pack(noise.to(fresh), fresh), shape.pack(latent_image, start), lost
    )


def _warning_of_lost_tokens(guider, sigmas: Tensor, silent: bool) -> str:
    """The warning for a run without carried tokens: none where it starts at full noise.

    A `silent` run adds no noise, so it continues another one.
    """
    if silent:
        return _LOST
    below = sigmas[0] < guider.model_patcher.get_model_object("model_sampling").sigma_max
    return _NEVER_HAD if below else ""


def _to_intermediate(x: Tensor) -> Tensor:
    """To the device and dtype that samplers return; so ComfyUI's own `.to` keeps the tensor."""
    dtype = getattr(comfy.model_management, "intermediate_dtype", lambda: x.dtype)()
    return x.to(device=comfy.model_management.intermediate_device(), dtype=dtype)
