"""How ComfyUI sees the latents of SAMA-Shapes."""

import comfy.latent_formats

from ..embedded import preview_colours


class ShapesLatent(comfy.latent_formats.Wan21):
    """Wan 2.1's normalisation, and the colours of SAMA-Shapes' own VAE for live previews."""

    latent_rgb_factors = preview_colours.FACTORS
    latent_rgb_factors_bias = preview_colours.BIAS

    def __init__(self):
        super().__init__()
        self.taesd_decoder_name = None  # Wan's small decoder would show false colours
