"""SAMA as a ComfyUI model: its BaseModel, with the DiT over the packed state."""

import comfy.conds
import comfy.context_windows
import comfy.model_base
import comfy.ops
import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from ..errors import ConditioningError, RuntimeSetupError, needed
from ..geometry import DEFAULT_AREA, WAN_21, LatentShape, Lattice
from ..model.config import DitConfig
from ..model.memory_law import estimated_bytes
from ..model.schedule import round_timestep
from .later_core import log_ignored, select_known
from .node_progress import report_blocks
from .packed_dit import PAIR, PackedSamaDiT
from .streams import is_packed

SOURCE = "sama_source"
"""Key of conditioning: the source latent (1, C, T, H, W) as a tensor, in place of a list in
`reference_latents`; see `train_lora`."""


class SamaModel(comfy.model_base.BaseModel):
    """ComfyUI's view of SAMA: flow model, Wan 2.1 latents, source and text as conditioning."""

    def __init__(
        self,
        model_config,
        dit_config: DitConfig,
        quantised_heads: bool = False,
        area: int | None = None,
        device=None,
    ):
        """`quantised_heads` says that the file quantised the semantic modules; ours never do.

        `area` is the working area in pixels that the model was made for, by default 480·832.
        """
        super().__init__(
            model_config,
            comfy.model_base.ModelType.FLOW,
            device=device,
            unet_model=_dit_factory(dit_config, quantised_heads or model_config.custom_operations),
        )
        self.area = area or DEFAULT_AREA
        self.memory_usage_factor_conds = ("source_latents",)

    @property
    def dit_config(self) -> DitConfig:
        """The sizes of the DiT."""
        return self.diffusion_model.config

    @property
    def lattice(self) -> Lattice:
        """How the DiT and its VAE divide a clip."""
        return self.diffusion_model.lattice

    def process_timestep(self, timestep: Tensor, **kwargs) -> Tensor:
        """The timestep as SAMA was trained on it, see `round_timestep`."""
        return round_timestep(timestep)

    def process_latent_in(self, latent: Tensor, **kwargs) -> Tensor:
        """Normalise a video (B, C, T, H, W), or the video in a packed state (B, 1, N)."""
        return self._shift_video(latent, self.latent_format.process_in)

    def process_latent_out(self, latent: Tensor, **kwargs) -> Tensor:
        """Undo `process_latent_in`."""
        return self._shift_video(latent, self.latent_format.process_out)

    def _shift_video(self, latent: Tensor, shift) -> Tensor:
        """Apply Wan's per-channel mean and deviation to the video stream; semantics have none."""
        if not is_packed(latent):
            return shift(latent)
        semantic = self.dit_config.semantic_tokens * self.dit_config.semantic_dim
        flat = latent[:, 0, : latent.shape[-1] - semantic]
        # An all-zero latent means "nothing here", not "mid grey": ComfyUI does not shift it either.
        if torch.count_nonzero(flat) == 0:
            return latent
        video = shift(flat.reshape(latent.shape[0], self.latent_format.latent_channels, -1, 1, 1))
        return torch.cat(
            [video.flatten(1), latent[:, 0, latent.shape[-1] - semantic :]], dim=1
        ).unsqueeze(1)

    def extra_conds(self, **kwargs) -> dict:
        """Text, source latents and the joint shape, from the conditioning's entries.

        Raises ConditioningError for a ControlNet, and for text or a source of another size.
        """
        if kwargs.get("control") is not None:
            raise ConditioningError(
                needed(
                    "conditioning",
                    "a ControlNet",
                    "text and a source video",
                    "SAMA has no ControlNet: remove it from the conditioning.",
                )
            )
        out = {}
        if kwargs.get("cross_attn") is not None:
            require_text(kwargs["cross_attn"], self.dit_config.text_dim)
            out["c_crossattn"] = comfy.conds.CONDRegular(kwargs["cross_attn"])
        given = find_source(kwargs)
        if given is not None:
            require_wan_latent(given, "source latent", self.lattice)
            source = self.process_latent_in(given).to(kwargs["device"])
            _check_source(source, kwargs.get("sama_shapes"), self.lattice)
            out["source_latents"] = comfy.conds.CONDRegular(source)
        if kwargs.get("sama_shapes") is not None:
            out["sama_shapes"] = comfy.conds.CONDConstant(kwargs["sama_shapes"])
        if kwargs.get(PAIR) is not None:
            out[PAIR] = comfy.conds.CONDConstant((kwargs[PAIR],))
        return out

    def extra_conds_shapes(self, **kwargs) -> dict:
        """Shapes that ComfyUI gives to `memory_required`."""
        source = find_source(kwargs)
        return {} if source is None else {"source_latents": list(source.shape)}

    def memory_required(self, input_shape, cond_shapes={}, **kwargs) -> float:
        """Bytes of activations by SAMA's own law.

        ComfyUI decides by it which weights stay on the GPU, and whether it batches. Without
        `cond_shapes` a source is assumed. `input_shape` is a video latent's, or that of the packed
        state, which then counts as one row of cells. Keywords of later cores are passed on to
        BaseModel; of them `memory_efficient_attention` says which kind of attention will run.
        """
        efficient = kwargs.get("memory_efficient_attention")
        fused = _is_attention_fused() if efficient is None else efficient
        batch, latent = input_shape[0], self._latent_shape(input_shape)
        ours = estimated_bytes(
            self.dit_config,
            latent,
            batch,
            comfy.model_management.dtype_size(self.get_dtype_inference()),
            source=not cond_shapes or bool(cond_shapes.get("source_latents")),
        )
        if fused:
            return ours
        channels = self.latent_format.latent_channels
        known = select_known(super().memory_required, kwargs, "memory_required")
        shape = [batch, channels, latent.frames, latent.height, latent.width]
        return max(ours, super().memory_required(shape, cond_shapes, **known))

    def load_model_weights(self, sd: dict, unet_prefix: str = "", *args, **kwargs):
        """ComfyUI's loading, with reports of each block: see `report_blocks_to`."""
        with report_blocks(self.diffusion_model.blocks):
            return super().load_model_weights(
                sd,
                unet_prefix,
                *args,
                **select_known(super().load_model_weights, kwargs, "load_model_weights"),
            )

    def _latent_shape(self, input_shape) -> LatentShape:
        if len(input_shape) == 5:
            return LatentShape(*input_shape[2:], self.lattice)
        semantic = self.dit_config.semantic_tokens * self.dit_config.semantic_dim
        cells = max(0, input_shape[-1] - semantic) // self.latent_format.latent_channels
        rows = self.lattice.patch[1]
        return LatentShape(1, rows, cells // rows, self.lattice)

    def resize_cond_for_context_window(
        self, cond_key, cond_value, window, x_in, device, retain_index_list=[], **kwargs
    ):
        """The source is cut to the window's frames; nothing else has a time axis."""
        log_ignored("resize_cond_for_context_window", kwargs)
        if cond_key == "source_latents":
            sliced = comfy.context_windows.slice_cond(
                cond_value,
                window,
                x_in,
                device,
                temporal_dim=2,
                retain_index_list=retain_index_list,
            )
            return cond_value if sliced is None else sliced
        return cond_value

    def map_context_window_to_modalities(self, primary_indices, latent_shapes, dim, **kwargs):
        """Every window sees all semantic tokens, where ComfyUI itself windows a nested latent."""
        log_ignored("map_context_window_to_modalities", kwargs)
        return [primary_indices, list(range(self.dit_config.semantic_tokens))]


def find_source(entry: dict) -> Tensor | None:
    """The source latent of a conditioning's entry: the last reference, else the one of `SOURCE`."""
    references = entry.get("reference_latents")
    return references[-1] if references else entry.get(SOURCE)


def _is_attention_fused() -> bool:
    """Whether ComfyUI's attention never holds the whole matrix of scores."""
    management = comfy.model_management
    return management.xformers_enabled() or management.pytorch_attention_flash_attention()


def _dit_factory(config: DitConfig, heads_follow_blocks: object):
    """A constructor in the form that BaseModel calls; sizes come from `config`.

    The semantic modules are float32 and not quantised, unless the file or another loader's
    operations (GGUF) bring them in a form that only those operations can read.
    """

    def build(device=None, dtype=None, operations=None, **_detected) -> PackedSamaDiT:
        return PackedSamaDiT(
            config,
            operations=operations,
            attention=optimized_attention,
            head_operations=operations if heads_follow_blocks else comfy.ops.manual_cast,
            device=device,
            dtype=dtype,
            head_dtype=torch.float32,
        )

    return build


def lattice_of_model(patcher) -> Lattice:
    """How the model of a ModelPatcher divides a clip.

    Wan 2.1's lattice without a model, and for models of others, which `prepare` refuses.
    """
    return getattr(getattr(patcher, "model", None), "lattice", WAN_21)


def area_of_model(patcher) -> int:
    """The working area in pixels that the model of a ModelPatcher was made for.

    SAMA-14B's without a model, and for models of others.
    """
    return getattr(getattr(patcher, "model", None), "area", DEFAULT_AREA)


def require_sama(patcher) -> None:
    """Raises RuntimeSetupError unless the model of a ModelPatcher is SAMA's."""
    if not isinstance(patcher.model, SamaModel):
        raise RuntimeSetupError(
            needed(
                "model",
                f"a {type(patcher.model).__name__} model",
                "a SAMA model",
                "Load sama_14b_ema.safetensors, or a SAMA GGUF file.",
            )
        )


def require_wan_latent(latent: Tensor, what: str, lattice: Lattice) -> None:
    """Raises ConditioningError unless `latent` is a video latent (B, C, T, h, w) of the model's C
    channels: 16 for Wan 2.1."""
    if latent.ndim != 5 or latent.shape[1] != lattice.channels:
        kind = {4: "an image latent", 5: "a video latent"}.get(
            latent.ndim, f"{latent.ndim} dimensions"
        )
        raise ConditioningError(
            needed(
                what,
                f"{kind} with {latent.shape[1]} channels",
                f"a {lattice.name} video latent with {lattice.channels} channels",
                "Use the latents that SAMA Edit Conditioning returns.",
            )
        )


def require_text(embeddings: Tensor, text_dim: int) -> None:
    """Raises ConditioningError unless text tokens (B, L, width) are as wide as the model takes."""
    if embeddings.shape[-1] != text_dim:
        raise ConditioningError(
            needed(
                "text conditioning",
                f"{embeddings.shape[-1]} wide",
                f"{text_dim} wide, from this model's umT5",
                "Encode the instruction with SAMA Instruction and the encoder of Load SAMA Text "
                "Encoder.",
            )
        )


def _check_source(source: Tensor, sama_shapes: tuple | None, lattice: Lattice) -> None:
    if sama_shapes is None:
        return
    target = tuple(sama_shapes[0])
    if tuple(source.shape[1:]) != target:
        got, want = (
            f"{t} latent frames of {w * lattice.spatial}x{h * lattice.spatial} pixels"
            for _, t, h, w in (source.shape[1:], target)
        )
        raise ConditioningError(
            needed(
                "source video",
                got,
                f"the same size as the latent being sampled, {want}",
                "Sample the latent that SAMA Edit Conditioning returns.",
            )
        )
