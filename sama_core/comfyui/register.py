"""What the pack adds to ComfyUI at its start: recognition of SAMA files, and the pack's own models.

`SamaConfig` lets every loader, ComfyUI's or another pack's, build the right model for a SAMA file.
`offer_embedded` lists SAMA-Shapes among ComfyUI's models without copying its files.
"""

import comfy.latent_formats
import comfy.model_base
import comfy.supported_models
import folder_paths
import torch

from .. import embedded
from ..model.config import DitConfig
from ..weights.names import SAMA_MARKERS, SAMA_MODULES
from ..weights.quant_formats import is_quant_key
from ..weights.quantised import unpack_shapes
from .later_core import log_ignored
from .model import SamaModel
from .shapes_latent import ShapesLatent
from .weight_files import A_MODEL, refuse_gaps_and_scales, stored_tensors

_LATENT_FORMATS = {
    known.latent_channels: known
    for known in (comfy.latent_formats.Wan21, comfy.latent_formats.Wan22)
}
"""ComfyUI's normalisation of latents, by the number of channels as `geometry.LATTICES`."""


class SamaConfig(comfy.supported_models.WAN21_T2V):
    """Wan 2.1 T2V's loading rules for files that also hold SAMA's tensors."""

    sampling_settings = {"shift": 5.0}

    # Trained and released in bfloat16; Wan's order would run such a file in float16.
    supported_inference_dtypes = [torch.bfloat16, torch.float16, torch.float32]

    @classmethod
    def matches(
        cls, unet_config: dict, state_dict=None, unet_key_prefix: str = "", **kwargs
    ) -> bool:
        """True for a Wan layout with SAMA's markers under the same prefix."""
        log_ignored("matches", kwargs)
        if state_dict is None or unet_config.get("image_model") != "wan2.1":
            return False
        return all(f"{unet_key_prefix}{key}" in state_dict for key in SAMA_MARKERS)

    def get_model(self, state_dict, prefix: str = "", device=None, **kwargs) -> SamaModel:
        """The model for this file; sizes come from its shapes, heads from its metadata if given.

        ComfyUI merges the file's metadata `config` = {"transformer": {...}} into `unet_config`:
        `num_heads`, `semantic_tokens` and `area` are SAMA's settings there.
        """
        log_ignored("get_model", kwargs)
        own = {
            key.removeprefix(prefix): value
            for key, value in state_dict.items()
            if key.startswith(prefix)
        }
        config = DitConfig.from_shapes(
            unpack_shapes(stored_tensors(own, A_MODEL)),
            self.unet_config.get("num_heads") or None,
            self.unet_config.get("semantic_tokens"),
            A_MODEL,
        )
        self.latent_format = _latent_format(config)
        # Operations of other packs may read weights and scales in their own way.
        if self.custom_operations is None:
            refuse_gaps_and_scales(state_dict, prefix, config)
        quantised_heads = any(is_quant_key(key) and key.startswith(SAMA_MODULES) for key in own)
        return SamaModel(
            self, config, quantised_heads, area=self.unet_config.get("area"), device=device
        )


def _latent_format(config: DitConfig) -> comfy.latent_formats.LatentFormat:
    if embedded.is_own(config):
        return ShapesLatent()
    return _LATENT_FORMATS.get(config.in_dim, comfy.latent_formats.Wan21)()


def register() -> None:
    """Put SamaConfig at the head of ComfyUI's list of supported models, once."""
    models = comfy.supported_models.models
    if not any(known.__name__ == SamaConfig.__name__ for known in models):
        models.insert(0, SamaConfig)


def offer_embedded() -> None:
    """Add the pack's model folders behind ComfyUI's own, once.

    They are never the default folder: what others save or download still goes to ComfyUI's, and a
    file of the same name there comes before the pack's.
    """
    for file in (*embedded.FILES, embedded.ANCHOR_LORA):
        folder_paths.add_model_folder_path(file.parent.name, str(file.parent))
