"""Live previews show the colours of the VAE that the model works with."""

import numpy as np
import torch

from sama_core import embedded


def shapes_latent(edit) -> list:
    """Four steps of SAMA-Shapes on 5 frames of 64x64, with core's own KSampler."""
    return edit.use_shapes().ksampler(steps=4, cfg=1.3)


def test_core_s_preview_of_sama_shapes_has_its_own_colours(edit):
    """The last preview is near the first frame of the result, shrunk to the preview's pixels."""
    latent = shapes_latent(edit)
    frames = edit.add("VAEDecode", samples=latent, vae=edit.vae)
    result = edit.comfyui.run(edit.nodes, keep=[latent[0], frames[0]]).check()
    shown = torch.from_numpy(np.array(result.previews[-1])) / 255
    first = edit.values(frames)[0]
    height, width = shown.shape[:2]
    assert (height * 8, width * 8) == tuple(first.shape[:2])
    small = first.reshape(height, 8, width, 8, 3).mean((1, 3))
    psnr = -10 * (shown - small).square().mean().log10()
    assert psnr > 20  # with Wan 2.1's colours it is 6


def test_only_the_sizes_of_sama_shapes_get_its_colours(edit):
    """Another SAMA keeps Wan 2.1's, and the normalisation of both is the same."""
    import comfy.latent_formats

    from sama_core.comfyui.shapes_latent import ShapesLatent

    wan = comfy.latent_formats.Wan21()
    small = edit.values(edit.model).model.latent_format
    assert type(small) is comfy.latent_formats.Wan21
    assert small.latent_rgb_factors == wan.latent_rgb_factors
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = embedded.DIT.name
    shapes = edit.values(edit.model).model.latent_format
    assert type(shapes) is ShapesLatent and shapes.latent_rgb_factors[0][0] == -0.6118
    latent = torch.randn(1, 16, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(shapes.process_in(latent), wan.process_in(latent))
