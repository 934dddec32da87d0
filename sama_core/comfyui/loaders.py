"""Weight files → ComfyUI objects. Every file is judged before its weights are read."""

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import comfy.text_encoders.t5
import comfy.text_encoders.wan
import comfy.utils
import folder_paths
import torch

from ..encoders.umt5_layout import Umt5Sizes, is_official, official_to_comfy
from ..encoders.vae_layout import vae_shapes
from ..errors import CheckpointError, needed
from ..weights.checkpoint import merge, plan_checkpoint, refuse_non_finite, transformer_settings
from ..weights.header import BUNDLE_ADVICE, WeightFile, is_bundle
from ..weights.names import ALL_IN_ONE, WEIGHT_DTYPES, strip_prefix
from ..weights.quant_formats import METADATA
from ..weights.quantised import Stored, refuse_broken_scales, refuse_unreadable
from ..weights.report import LoadReport, compare
from . import anchors, joint_state
from .node_progress import BlockReport, report_blocks_to
from .weight_files import Described, describe, known_formats, read_weights, with_marks

log = logging.getLogger(__name__)

_UMT5_XXL_WIDTH = 4096
_WAN21_VAE_KEY = "decoder.middle.0.residual.0.gamma"
_WAN22_VAE_KEY = "decoder.upsamples.0.upsamples.0.residual.2.weight"
_PICTURE_SIDE = ("encoder.conv1.weight", "decoder.head.2.weight", "decoder.head.2.bias")


def load_diffusion_model(
    path: str,
    base: str | None = None,
    weight_dtype: str = WEIGHT_DTYPES[0],
    num_heads: int | None = None,
    check_finite: bool = False,
    disable_dynamic: bool = False,
    report_to: BlockReport | None = None,
):
    """A prepared SAMA ModelPatcher from a full file, or from base Wan shards and a delta.

    `weight_dtype` is one of WEIGHT_DTYPES, as in Load Diffusion Model. `num_heads` overrides the
    file's. `check_finite` refuses NaN and infinite weights. `report_to` gets how many blocks are
    loaded. Raises CheckpointError, with the file's name and before weights are read, for every
    wrong file.
    """
    plan = plan_checkpoint(path, base, num_heads, known_formats())
    sd = {}
    for file in plan.files:
        merge(sd, _read(file))
    if check_finite:
        refuse_non_finite(sd, plan.files[-1].path.name)
    options = _model_options(weight_dtype)
    if plan.is_merged:
        # Official Wan shards are float32; the SAMA file says what the model was trained in.
        options.setdefault("dtype", sd["segment_embedding.weight"].dtype)
    metadata = _with_heads(plan.metadata, plan.config.num_heads)
    with report_blocks_to(report_to):
        patcher = comfy.sd.load_diffusion_model_state_dict(
            sd, model_options=options, metadata=metadata, disable_dynamic=disable_dynamic
        )
    if patcher is None:
        raise CheckpointError(
            needed(
                plan.files[-1].path.name,
                "a model that this ComfyUI does not recognise",
                "ComfyUI 0.30.0 or newer",
                "Update ComfyUI.",
            )
        )
    patcher.cached_patcher_init = (
        load_diffusion_model,
        (path, base, weight_dtype, num_heads, check_finite),
    )
    prepared = joint_state.prepare(patcher)
    anchors.note_metadata(prepared, plan.metadata)
    return prepared


def _read(file: WeightFile) -> dict:
    """The file's tensors under the model's own names, quantised layers with ComfyUI's mark.

    ComfyUI looks for marks in the metadata of one file only, and under that file's names.
    """
    sd = strip_prefix(read_weights(str(file.path))[0])
    if file.left_out:
        log.info(
            "SAMA: %s is an all-in-one checkpoint; its %d tensors of text encoder and VAE are left "
            "out.",
            file.path.name,
            len(file.left_out),
        )
    return with_marks(sd, file.quantised_layers())


def _model_options(weight_dtype: str) -> dict:
    if weight_dtype == "default":
        return {}
    if weight_dtype == "fp8_e4m3fn_fast":
        return {"dtype": torch.float8_e4m3fn, "fp8_optimizations": True}
    return {
        "dtype": {"fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}[weight_dtype]
    }


def _with_heads(metadata: dict, num_heads: int) -> dict:
    """Metadata with the head count in its `config`, where ComfyUI looks for it."""
    settings = {**transformer_settings(metadata), "num_heads": num_heads}
    others = {key: value for key, value in metadata.items() if key != METADATA}
    return {**others, "config": json.dumps({"transformer": settings})}


def load_vae(path: str):
    """Wan 2.1's VAE. Raises CheckpointError naming what else the file is, or what it lacks."""
    file = describe(path)
    if _WAN21_VAE_KEY not in file.stored or _WAN22_VAE_KEY in file.stored:
        raise CheckpointError(needed(file.name, *_not_wan_vae(file.stored)))
    _refuse_unfit(file, _vae_shapes(file.stored), formats=())
    sd, metadata = read_weights(path)
    vae = comfy.sd.VAE(sd=sd, metadata=metadata)
    vae.throw_exception_if_invalid()
    vae.patcher.cached_patcher_init = (comfy.sd.load_vae_patcher, (path, metadata))
    return vae


def _not_wan_vae(stored: dict[str, Stored]) -> tuple[str, str, str]:
    """What the file is, what is needed, and what to choose, for an error."""
    if is_bundle(stored):
        return ALL_IN_ONE, "the Wan 2.1 VAE by itself", BUNDLE_ADVICE
    kind = (
        "a Wan 2.2 VAE"
        if _WAN22_VAE_KEY in stored
        else f"no Wan VAE (it holds {next(iter(stored), 'nothing')})"
    )
    return kind, "the Wan 2.1 VAE", "Choose wan_2.1_vae.safetensors."


def _vae_shapes(stored: dict[str, Stored]) -> dict[str, tuple[int, ...]]:
    """Shapes of a Wan 2.1 VAE of this width; the channels of pictures are the file's own.

    ComfyUI takes those as they are.
    """
    head = stored.get("decoder.head.0.gamma")
    shapes = vae_shapes(head.shape[0] if head is not None and head.shape else 0)
    return shapes | {key: stored[key].shape for key in _PICTURE_SIDE if key in stored}


def _refuse_unfit(
    file: Described, shapes: dict[str, tuple[int, ...]], formats: Iterable[str] | None
) -> None:
    """CheckpointError for missing tensors, other shapes, and scales that ComfyUI would not apply.

    ComfyUI would load the rest and leave the missing ones unset. Tensors that nothing reads are
    accepted, unless they are scales.
    """
    refuse_unreadable(file.name, file.stored, shapes, formats)
    report = compare({key: tensor.shape for key, tensor in file.stored.items()}, shapes)
    if report.missing:
        raise CheckpointError(
            needed(
                file.name,
                f"no {', '.join(report.missing[:5])}",
                "all of its tensors",
                "Download it again.",
            )
        )
    LoadReport(report.matched, shape_conflicts=report.shape_conflicts).raise_if_bad(file.name)
    refuse_broken_scales(file.name, file.scales)


def load_text_encoder(path: str, dtype: torch.dtype | None = None, disable_dynamic: bool = False):
    """umT5 as CLIP, from ComfyUI's safetensors or the official `.pth`; sizes come from the file.

    `dtype` is that of the weights in memory; ComfyUI's choice (float16) unless given.
    Raises CheckpointError naming what else the file is, or where the tokenizer belongs.
    """
    file = describe(path)
    official = is_official(file.stored)
    if official:
        file = replace(file, stored=official_to_comfy(file.stored, Path(path)))
    sizes = Umt5Sizes.from_state_dict(file.stored, file.name)
    _refuse_unfit(file, sizes.shapes(), known_formats())
    sd, _ = read_weights(path)
    sd = with_marks(official_to_comfy(sd, Path(path)) if official else sd, file.layers)
    clip = _clip(sd, sizes, {} if dtype is None else {"dtype": dtype}, disable_dynamic)
    clip.patcher.cached_patcher_init = (_text_encoder_patcher, (path, dtype))
    return clip


def _clip(sd: dict, sizes: Umt5Sizes, options: dict, disable_dynamic: bool):
    """ComfyUI's CLIP around the encoder, with quantised layers as in its other text encoders."""
    embeddings = folder_paths.get_folder_paths("embeddings")
    if sizes.d_model == _UMT5_XXL_WIDTH:
        return comfy.sd.load_text_encoder_state_dicts(
            [sd],
            embedding_directory=embeddings,
            clip_type=comfy.sd.CLIPType.WAN,
            model_options=options,
            disable_dynamic=disable_dynamic,
        )
    quantised = comfy.utils.detect_layer_quantization(sd, "")
    if quantised is not None:
        options = {**options, "quantization_metadata": quantised}
    return comfy.sd.CLIP(
        _umt5_target(sizes),
        embedding_directory=embeddings,
        state_dict=[sd],
        model_options=options,
        tokenizer_data={"spiece_model": sd["spiece_model"]},
        parameters=comfy.utils.calculate_parameters(sd),
        disable_dynamic=disable_dynamic,
    )


def _text_encoder_patcher(
    path: str, dtype: torch.dtype | None = None, disable_dynamic: bool = False
):
    """ComfyUI calls it to load the encoder again, for another device or without dynamic memory."""
    return load_text_encoder(path, dtype, disable_dynamic).patcher


def _umt5_target(sizes: Umt5Sizes):
    """umT5 of any size through ComfyUI's own T5 and tokenizer; ComfyUI itself knows only xxl."""

    class Umt5(comfy.sd1_clip.SDClipModel):
        def __init__(
            self, device="cpu", layer="last", layer_idx=None, dtype=None, model_options={}, **newer
        ):
            super().__init__(
                device=device,
                layer=layer,
                layer_idx=layer_idx,
                textmodel_json_config=sizes.config(),
                dtype=dtype,
                special_tokens={"end": 1, "pad": 0},
                model_class=comfy.text_encoders.t5.T5,
                enable_attention_masks=True,
                zero_out_masked=True,
                model_options=model_options,
                **newer,
            )

    class Umt5Encoder(comfy.sd1_clip.SD1ClipModel):
        def __init__(self, device="cpu", dtype=None, model_options={}, **newer):
            super().__init__(
                device=device,
                dtype=dtype,
                model_options=model_options,
                name="umt5xxl",
                clip_model=Umt5,
                **newer,
            )

    return comfy.supported_models_base.ClipTarget(
        comfy.text_encoders.wan.WanT5Tokenizer, Umt5Encoder
    )
