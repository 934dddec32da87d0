"""A whole edit, stage by stage: instruction → source latent → sampling → frames.

SAMA Edit is `edit_clip`. SAMA Anchor Preview (`edit_anchors`) and SAMA Long Edit run the same
`EditRun` on single frames and on segments. The separate nodes are its parts.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ..errors import ConditioningError, needed
from ..geometry import LatentShape
from ..model.schedule import DEFAULT_SHIFT, flow_sigmas
from ..plan.sooner import RunningEdit
from ..region import FittedClip, paste_back
from ..released_files import OWN_CFG, OWN_STEPS
from .anchors import start_edit
from .attention_backends import refuse_sparse
from .conditioning import (
    TILINGS,
    attach_source,
    decode_latent,
    encode_instruction,
    encode_source,
    require_wan_vae,
)
from .distilled import advice, loras_on, own_sampling
from .joint_state import prepare
from .model import lattice_of_model, require_text
from .node_progress import Stages, keep_remark
from .non_finite import refuse_frames
from .unknown_words import remark_on_words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EditSettings:
    """What is asked of an edit, apart from model and clip."""

    instruction: str
    """What to change, in plain words."""
    seed: int = 0
    """Seed of the video noise and of the semantic noise."""
    steps: int = OWN_STEPS
    """Sampling steps; OWN_STEPS are the model's own."""
    cfg: float = OWN_CFG
    """Guidance strength; at 1 only the instruction is sampled, twice as fast. OWN_CFG is the
    model's own.
    """
    shift: float = DEFAULT_SHIFT
    """Schedule shift."""
    sampler_name: str = "euler"
    """One of ComfyUI's samplers."""
    tag: bool = True
    """Put the trained tag `[Video edit]` before the instruction."""
    tiling: str = TILINGS[0]
    """How the VAE tiles, see `conditioning.encode_source`."""

    def on(self, model) -> tuple["EditSettings", str]:
        """With the numbers of steps and cfg for a ModelPatcher, and which are its own, in words.

        Raises SamaError for numbers that no run can have, and for a model that is not SAMA's.
        """
        steps, cfg, taken = own_sampling(model).fill(self.steps, self.cfg)
        return replace(self, steps=steps, cfg=cfg), taken


def edit_clip(
    model,
    clip,
    vae,
    images: Tensor,
    settings: EditSettings,
    say: Callable[[str], object] | None = None,
    mask: Tensor | None = None,
    anchor: Tensor | None = None,
) -> Tensor:
    """Edit fitted frames (4k+1, H, W, 3) as the instruction says → frames of the same shape.

    With a `mask` only what it touches is sampled, and pixels where it is 0 come back bit for bit.
    An `anchor` (1, h, w, 3) is the first frame of the edit.
    `say(text)` shows a line in the node. Raises SamaError before the first weight is used for
    everything that can be checked.
    """
    source = FittedClip.check(images, mask, lattice_of_model(model), anchor)
    return EditRun.prepare(model, clip, vae, settings, say).edit(source)


@dataclass(frozen=True)
class EditRun:
    """An edit that is ready to sample: the model is prepared, the instruction is encoded."""

    model: object
    """The prepared ModelPatcher."""
    vae: object
    """ComfyUI's VAE, Wan 2.1's."""
    prompts: tuple[list, list]
    """Positive and negative conditioning, without the source."""
    settings: EditSettings
    """What was asked, with the model's own steps and cfg where none were."""
    stages: Stages
    """Progress in the node."""

    @classmethod
    def prepare(
        cls,
        model,
        clip,
        vae,
        settings: EditSettings,
        say: Callable[[str], object] | None = None,
        runs: int = 1,
        decodings: int | None = None,
        prompts: tuple[list, list] | None = None,
    ) -> "EditRun":
        """Prepare the model and encode the instruction, for `runs` samplings: see `Stages`.

        `prompts` are the instruction where it is encoded already.
        Raises SamaError for a model or VAE that is not SAMA's, before any weight is used.
        """
        require_wan_vae(vae)
        model = prepare(model)
        refuse_sparse(model)
        settings, taken = settings.on(model)
        if taken:
            log.info("SAMA: %s", taken)
        told = filter(None, (taken, advice(model, settings.steps, settings.cfg)))
        stages = Stages(settings.steps, runs, say, ", ".join(told), decodings)
        if prompts is None:
            keep_remark(remark_on_words(clip, settings.instruction))
        with stages.stage("reading the instruction"):
            prompts = prompts or encode_instruction(clip, settings.instruction, settings.tag)
        for prompt in prompts:  # before the source is encoded and the model is loaded
            require_text(prompt[0][0], model.model.dit_config.text_dim)
        return cls(model, vae, prompts, settings, stages)

    def edit(self, clip: FittedClip) -> Tensor:
        """The edited frames (F, H, W, 3) of a clip, the source's own outside its mask."""
        return paste_outside(clip, self.decode(self.sample(clip)))

    def sample(
        self,
        clip: FittedClip,
        noise: Tensor | None = None,
        seed: int | None = None,
        source: Tensor | None = None,
    ) -> Tensor:
        """The edited latent (1, 16, T, H/8, W/8) of a clip.

        Cells that its mask does not touch keep the source's latent. `noise` has the latent's
        shape; noise and seed are by default those of the settings' seed. `source` is the clip's
        latent where it is encoded already.
        """
        settings = self.settings
        seed = settings.seed if seed is None else seed
        with self.stages.stage("encoding the source"):
            if source is None:
                report = self.stages.count_frames("encoding the source")
                source = encode_source(self.vae, clip, settings.tiling, report)
            prompts = [attach_source(prompt, source) for prompt in self.prompts]
            (positive, negative), start = start_edit(prompts, source, clip, self.vae)
        with self.stages.stage("sampling"):
            latent = start["samples"]
            advise = self._running(latent).advise
            return comfy.sample.sample_custom(
                self.model,
                comfy.sample.prepare_noise(latent, seed) if noise is None else noise,
                settings.cfg,
                comfy.samplers.sampler_object(settings.sampler_name),
                flow_sigmas(settings.steps, settings.shift),
                positive,
                negative,
                latent,
                start.get("noise_mask"),
                callback=self.stages.on_step(self.model, advise),
                disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
                seed=seed,
            )

    def _running(self, latent: Tensor) -> RunningEdit:
        """What the time of sampling a latent (1, 16, T, H/8, W/8) depends on."""
        settings, lattice = self.settings, lattice_of_model(self.model)
        shape = LatentShape(*latent.shape[2:], lattice)
        config, distilled = self.model.model.dit_config, bool(loras_on(self.model))
        times = self.stages.times
        return RunningEdit(config, shape, times.steps, settings.cfg, times.runs, distilled)

    def decode(self, latent: Tensor) -> Tensor:
        """Frames (F, H, W, 3) of a latent (1, 16, T, H/8, W/8). Raises SamplingError for NaN."""
        with self.stages.stage("decoding"):
            lattice, report = lattice_of_model(self.model), self.stages.count_frames("decoding")
            frames = decode_latent(self.vae, latent, self.settings.tiling, lattice, report)
        refuse_frames(frames)
        return frames


def paste_outside(clip: FittedClip, frames: Tensor) -> Tensor:
    """Edited frames, with the clip's own pixels where its mask is 0."""
    return frames if clip.mask is None else paste_back(clip.frames, frames, clip.mask)


# --- anchor frames ------------------------------------------------------------------------------


def edit_anchors(
    model,
    clip,
    vae,
    images: Tensor,
    indices: list[int],
    settings: EditSettings,
    say: Callable[[str], object] | None = None,
) -> Tensor:
    """Edit the frames `indices` of (F, H, W, 3), each as a one-frame clip with the same seed.

    A cheap draft of the whole edit. SAMA itself was trained to predict semantics at sparse anchor
    frames, which it samples uniformly (paper, section 3.2); it was released with one.
    Returns (len(indices), H, W, 3). Errors are those of `edit_clip`.
    """
    lattice = lattice_of_model(model)
    clips = [FittedClip.check(images[i : i + 1], lattice=lattice) for i in indices]
    run = EditRun.prepare(model, clip, vae, settings, say, len(indices))
    return torch.cat([run.edit(one) for one in clips])


def anchor_frames(frame_count: int, anchors: int, first: int = 0) -> list[int]:
    """`anchors` frame numbers spread evenly from `first` to the end; one anchor is `first` itself.

    Raises ConditioningError if the clip has no frame `first`.
    """
    if not 0 <= first < frame_count:
        raise ConditioningError(
            needed("anchor frame", first, f"0 to {frame_count - 1}", "Choose a frame of the clip.")
        )
    anchors = min(anchors, frame_count - first)
    if anchors == 1:
        return [first]
    return [first + round(i * (frame_count - 1 - first) / (anchors - 1)) for i in range(anchors)]


def contact_sheet(source: Tensor, edited: Tensor, gap: int = 8) -> Tensor:
    """Source frames above their edits, side by side, `gap` pixels apart, on white.

    Takes two of (n, H, W, 3); returns one image (1, 2H + gap, n·W + (n - 1)·gap, 3).
    """
    source, (count, height, width) = source[..., :3], source.shape[:3]
    sheet = torch.ones(1, 2 * height + gap, count * width + (count - 1) * gap, 3)
    for column, pair in enumerate(zip(source, edited, strict=True)):
        left = column * (width + gap)
        for row, frame in enumerate(pair):
            top = row * (height + gap)
            sheet[0, top : top + height, left : left + width] = frame
    return sheet
