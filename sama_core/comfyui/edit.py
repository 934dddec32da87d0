"""A whole edit, stage by stage: instruction → source latent → sampling → frames.

SAMA Edit and SAMA Anchor Preview are this; the separate nodes are its parts.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..errors import ConditioningError, needed
from ..geometry import ClipShape
from ..region import fit_mask, paste_back, require_region
from ..schedule import DEFAULT_CFG, DEFAULT_SHIFT, DEFAULT_STEPS, flow_sigmas
from .attention_backends import refuse_sparse
from .conditioning import (
    TILINGS,
    attach_source,
    decode_latent,
    empty_latent,
    encode_instruction,
    encode_source,
    masked_latent,
    require_wan_vae,
)
from .distilled import advice
from .joint_state import prepare
from .non_finite import refuse_frames

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EditSettings:
    """What is asked of an edit, apart from model and clip."""

    instruction: str
    """What to change, in plain words."""
    seed: int = 0
    """Seed of the video noise and of the semantic noise."""
    steps: int = DEFAULT_STEPS
    """Sampling steps."""
    cfg: float = DEFAULT_CFG
    """Guidance strength; 1 samples the instruction alone, twice as fast."""
    shift: float = DEFAULT_SHIFT
    """Schedule shift."""
    sampler_name: str = "euler"
    """One of ComfyUI's samplers."""
    tag: bool = True
    """Put the trained tag `[Video edit]` before the instruction."""
    tiling: str = TILINGS[0]
    """How the VAE tiles, see `conditioning.encode_source`."""


class Stages:
    """Progress over all stages of an edit: one bar and one line of text for the node, log lines with times.

    The bar counts sampling steps, plus two units each for encoding and decoding.
    """

    _AROUND = {"reading the instruction": 1, "encoding the source": 2, "decoding": 2}

    def __init__(self, steps: int, runs: int = 1, say: Callable[[str], None] | None = None, advice: str = "",
                 decodings: int | None = None):
        """`runs` edits of `steps` steps, each decoded unless `decodings` says how many are.

        `say(text)` shows a line in the node, `advice` before each of them.
        """
        around, decodings = self._AROUND, runs if decodings is None else decodings
        self.bar = comfy.utils.ProgressBar(around["reading the instruction"] + decodings * around["decoding"]
                                           + runs * (steps + around["encoding the source"]))
        self.steps, self.done = steps, 0
        self.show, self.advice, self.note = say or (lambda text: None), advice, ""

    def say(self, text: str) -> None:
        """Show a line in the node, after what does not go together and where a long edit is."""
        self.show("SAMA: " + ", ".join(part for part in (self.advice, self.note, text) if part))

    def skip(self) -> None:
        """Advance by a whole run that need not be sampled; its decoding comes with the others'."""
        self.done += self.steps + self._AROUND["encoding the source"]
        self.bar.update_absolute(self.done)

    @contextmanager
    def stage(self, name: str) -> Iterable[None]:
        """Show `name`, and advance by its share when it ends."""
        self.say(name)
        started = time.perf_counter()
        yield
        log.info("SAMA: %s took %.1f s", name, time.perf_counter() - started)
        self.done += self._AROUND.get(name, 0)
        self.bar.update_absolute(self.done)

    def on_step(self, model) -> Callable:
        """A sampler callback: moves the bar, shows the step and ComfyUI's own live preview."""
        previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        start = self.done

        def callback(step: int, x0: Tensor, _x: Tensor, total: int) -> None:
            self.say(f"sampling, step {step + 1} of {total}")
            self.done = start + min(step + 1, self.steps)
            picture = previewer.decode_latent_to_preview_image("JPEG", x0) if previewer else None
            self.bar.update_absolute(self.done, preview=picture)
        return callback


def edit_clip(model, clip, vae, images: Tensor, settings: EditSettings,
              say: Callable[[str], None] | None = None, mask: Tensor | None = None) -> Tensor:
    """Edit fitted frames (4k+1, H, W, 3) as the instruction says → frames of the same shape.

    With a `mask` only what it touches is sampled, and pixels where it is 0 come back bit for bit.
    Everything that can be wrong is checked before the first weight is used.
    """
    model, images = checked(model, vae, images), images[..., :3]
    if mask is not None:
        mask = require_region(fit_mask(mask, *images.shape[:3]))
    stages = Stages(settings.steps, say=say, advice=advice(model, settings.steps, settings.cfg))
    with stages.stage("reading the instruction"):
        prompts = encode_instruction(clip, settings.instruction, settings.tag)
    return _edit(model, vae, images, prompts, settings, stages, mask)


def edit_anchors(model, clip, vae, images: Tensor, indices: list[int], settings: EditSettings,
                 say: Callable[[str], None] | None = None) -> Tensor:
    """Edit single frames, each as a one-frame clip with the same seed → (len(indices), H, W, 3)."""
    model, images = checked(model, vae, images[:1]), images[..., :3]
    stages = Stages(settings.steps, len(indices), say, advice(model, settings.steps, settings.cfg))
    with stages.stage("reading the instruction"):
        prompts = encode_instruction(clip, settings.instruction, settings.tag)
    return torch.cat([_edit(model, vae, images[i:i + 1], prompts, settings, stages) for i in indices])


def anchor_frames(frame_count: int, anchors: int, first: int = 0) -> list[int]:
    """`anchors` frame numbers spread evenly from `first` to the end; one anchor is `first` itself.

    SAMA samples its anchors uniformly and was trained with one (§3.2).
    """
    if not 0 <= first < frame_count:
        raise ConditioningError(needed("anchor frame", first, f"0 to {frame_count - 1}", "Choose a frame of the clip."))
    anchors = min(anchors, frame_count - first)
    if anchors == 1:
        return [first]
    return [first + round(i * (frame_count - 1 - first) / (anchors - 1)) for i in range(anchors)]


def contact_sheet(source: Tensor, edited: Tensor, gap: int = 8) -> Tensor:
    """Source frames above their edits, side by side → one image (1, 2H + gap, n·W + gaps, 3)."""
    source, (count, height, width) = source[..., :3], source.shape[:3]
    sheet = torch.ones(1, 2 * height + gap, count * width + (count - 1) * gap, 3)
    for column, pair in enumerate(zip(source, edited, strict=True)):
        left = column * (width + gap)
        for row, frame in enumerate(pair):
            top = row * (height + gap)
            sheet[0, top:top + height, left:left + width] = frame
    return sheet


def checked(model, vae, images: Tensor):
    """The model, prepared. Raises SamaError for a model, VAE or frames that do not fit, before any weight is used."""
    require_wan_vae(vae)
    frames, height, width = images.shape[:3]
    ClipShape(frames, height, width).latent()
    model = prepare(model)
    refuse_sparse(model)
    return model


def _edit(model, vae, images: Tensor, prompts: tuple[list, list], settings: EditSettings, stages: Stages,
          mask: Tensor | None = None) -> Tensor:
    latent = sample_edit(model, vae, images, prompts, settings, stages, mask=mask)
    with stages.stage("decoding"):
        frames = decode_latent(vae, latent, settings.tiling)
    refuse_frames(frames)
    return frames if mask is None else paste_back(images, frames, mask)


def sample_edit(model, vae, images: Tensor, prompts: tuple[list, list], settings: EditSettings, stages: Stages,
                noise: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """The edited latent (1, 16, T, H/8, W/8) of fitted frames; `noise` like it, or the seed's own.

    Cells that `mask` (F, H, W) does not touch keep the source's latent.
    """
    with stages.stage("encoding the source"):
        source = encode_source(vae, images, settings.tiling)
    positive, negative = (attach_source(prompt, source) for prompt in prompts)
    with stages.stage("sampling"):
        start = empty_latent(source) if mask is None else masked_latent(source, mask)
        latent = start["samples"]
        return comfy.sample.sample_custom(
            model, comfy.sample.prepare_noise(latent, settings.seed) if noise is None else noise, settings.cfg,
            comfy.samplers.sampler_object(settings.sampler_name), flow_sigmas(settings.steps, settings.shift),
            positive, negative, latent, start.get("noise_mask"), callback=stages.on_step(model),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=settings.seed)
