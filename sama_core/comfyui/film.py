"""The live preview as a film: every latent frame of a step, where ComfyUI's own shows the first.

It goes with any sampler, beside ComfyUI's preview and under its setting: without previews there is
no film, and where another pack or a decoder model makes the pictures, theirs are left alone. The
frontend's part is `web/nodes/film.js`: it plays the pictures where ComfyUI shows its preview.
"""

import base64
import inspect
import io
import time
from collections.abc import Callable

import latent_preview
import torch
from PIL import Image
from torch import Tensor

from .node_progress import find_server, running_place

EVENT = "sama.film"
"""The name of the message: {node, display_node, prompt_id, rate, frames: JPEGs in base64}."""
RATE = 4
"""Latent frames a second: Wan's 16 frames a second, four in each."""
SIDE = 320
"""Longest side of the pictures in pixels: the frontend does not enlarge small ones."""
_QUALITY = 80
_APART = 0.5
"""Seconds between two films at least, for models whose steps are fast."""


def add_film(callback: Callable | None, guider) -> Callable | None:
    """A sampler's `callback(step, x0, x, total)` that shows a film too; x0 is (B, C, T, h, w)."""
    server = _listening_server()
    if callback is None or server is None:
        return callback
    colours = _colours(callback, guider.model_patcher)
    if colours is None:
        return callback
    film = _Film(server, colours)

    def show(step, x0, x, total_steps, *args, **kwargs):
        result = callback(step, x0, x, total_steps, *args, **kwargs)
        film.send(x0)
        return result

    return show


class _Film:
    """What one sampling sends."""

    def __init__(self, server, colours: Callable[[Tensor], Tensor]):
        self.server, self.colours, self.place = server, colours, running_place()
        self.last = float("-inf")

    def send(self, x0: Tensor) -> None:
        """Send a step's film; nothing for single frames, outside of a node, or too soon."""
        started = time.perf_counter()
        if self.place is None or x0.ndim != 5 or x0.shape[2] < 2 or started - self.last < _APART:
            return
        self.last = started
        frames = [encode_frame(frame) for frame in self.colours(x0[0])]
        self.server.send_sync(
            EVENT, {**self.place, "rate": RATE, "frames": frames}, self.server.client_id
        )


def encode_frame(pixels: Tensor) -> str:
    """uint8 (h, w, 3) on the CPU → a JPEG of SIDE pixels in base64."""
    picture = Image.fromarray(pixels.numpy())
    scale = SIDE / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.BILINEAR).save(file, "JPEG", quality=_QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def _colours(callback: Callable, patcher) -> Callable[[Tensor], Tensor] | None:
    """What paints latents as ComfyUI's linear preview does, see `paint_with`.

    None where ComfyUI shows no preview, or another one than that.
    """
    latent_format = patcher.model.latent_format
    previewer = _previewer_of(callback, patcher.load_device, latent_format)
    if type(previewer) is not getattr(latent_preview, "Latent2RGBPreviewer", None):
        return None
    return paint_with(latent_format)


def _previewer_of(callback: Callable, device, latent_format):
    """The previewer that a callback shows its steps with: ComfyUI's and ours hold it as a variable.

    Others are not asked for twice: some load a decoder each time.
    """
    try:
        return inspect.getclosurevars(callback).nonlocals["previewer"]
    except (TypeError, KeyError, ValueError):  # other packs' callbacks may have empty variables
        return latent_preview.get_previewer(device, latent_format)


def paint_with(latent_format) -> Callable[[Tensor], Tensor]:
    """Latents (C, T, h, w) → uint8 frames (T, h, w, 3) on the CPU, in the format's colours."""
    factors = torch.tensor(latent_format.latent_rgb_factors)
    bias = torch.tensor(latent_format.latent_rgb_factors_bias or [0.0, 0.0, 0.0])

    def paint(latent: Tensor) -> Tensor:
        shown = latent.movedim(0, -1) @ factors.to(latent) + bias.to(latent)
        return ((shown + 1) / 2).clamp(0, 1).mul(255).to("cpu", torch.uint8)

    return paint


def _listening_server():
    """ComfyUI's server where the browser that asked for the run understands films, else None."""
    server = find_server()
    if server is None or not getattr(server, "client_id", None):
        return None
    try:
        from comfy_api import feature_flags
    except ImportError:
        return None
    known = getattr(server, "sockets_metadata", {})
    listens = feature_flags.supports_feature(known, server.client_id, "supports_preview_metadata")
    return server if listens else None
