"""Batches of held-out clips, encoded and sampled by the embedded model through ComfyUI."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sama_core import embedded
from sama_core.model.schedule import flow_sigmas
from sama_core.shapes.gate import Settings, load_core_editor
from sama_core.shapes.gate.clip_scores import to_bytes, wilson
from sama_core.shapes.gate.core_editor import ModelFiles, joint_noise
from sama_core.shapes.world import EditBatch

FILES = ModelFiles(embedded.DIT, embedded.TEXT_ENCODER, embedded.VAE)
CFG = 1.0


@dataclass
class Setting:
    """One way to sample, and what it came to, clip by clip."""

    name: str
    """In the table."""
    steps: int
    """Sampling steps."""
    patch: Callable[[Any], Any] = lambda model: model
    """ModelPatcher → ModelPatcher."""
    values: dict = field(default_factory=dict)
    """What `name` says, as numbers."""
    calls: list[float] = field(default_factory=list)
    """Per batch: model calls over the full sampling's."""
    seconds: list[float] = field(default_factory=list)
    """Per batch: processor time over the full sampling's."""
    to_full: list[float] = field(default_factory=list)
    """Per clip: dB against the full sampling's frames."""
    to_truth: list[float] = field(default_factory=list)
    """Per clip: dB against the truth."""
    right: list[bool] = field(default_factory=list)
    """Per clip: whether the truth is the nearest."""

    def row(self) -> dict:
        """Means over what was measured so far."""
        return {
            "setting": self.name,
            **self.values,
            "steps": self.steps,
            "clips": len(self.right),
            "to_full_db": statistics.fmean(self.to_full),
            "to_full_db_worst": min(self.to_full),
            "to_truth_db": statistics.fmean(self.to_truth),
            "accuracy": statistics.fmean(self.right),
            "accuracy_95": list(wilson(sum(self.right), len(self.right))),
            "calls": statistics.fmean(self.calls),
            "seconds": statistics.fmean(self.seconds),
            "seconds_spread": [min(self.seconds), max(self.seconds)],
        }


class Sampled(NamedTuple):
    """One sampling run of a batch."""

    latents: Tensor
    """(B, 16, T, h, w), normalised."""
    calls: int
    """Times the model was computed."""
    seconds: float
    """Processor time."""
    first: tuple[Tensor, Tensor]
    """The first call's velocities: video (B, 16, T, h, w) and semantic (B, S, E)."""
    end: Tensor
    """The latents as ComfyUI hands them on, with their semantic tokens attached."""

    @property
    def semantic(self) -> Tensor:
        """The semantic tokens at the end (B, S, E)."""
        from sama_core.comfyui.streams import carried_semantic

        return carried_semantic(self.end)


class Clips:
    """Encodes and samples batches of held-out clips with the embedded model, through ComfyUI."""

    def __init__(self, shift: float):
        from sama_core.comfyui import loaders
        from sama_core.comfyui.register import register

        register()
        self.model, self.clip = (
            load(str(path))
            for load, path in (
                (loaders.load_diffusion_model, FILES.dit),
                (loaders.load_text_encoder, FILES.text_encoder),
            )
        )
        self.core, self.shift = load_core_editor(FILES, Settings()), shift

    def prepare(self, batch: EditBatch, seeds: Sequence[int]) -> None:
        """The batch that `sample` edits from now on."""
        from sama_core.comfyui.conditioning import attach_source, encode_instruction
        from sama_core.comfyui.streams import JointShape

        config, form = self.model.model.dit_config, self.model.model.latent_format
        source = form.process_out(self.core.encode(to_bytes(batch.source)))
        size = (config.semantic_tokens, config.semantic_dim)
        self.joint = JointShape(tuple(source.shape[1:]), size)
        self.noise = torch.stack([joint_noise(source.shape[1:], size, seed)[0] for seed in seeds])
        prompts = [encode_instruction(self.clip, words) for words in batch.instructions]
        self.prompts = [
            attach_source(
                [[torch.cat([pair[side][0][0] for pair in prompts]), prompts[0][side][0][1]]],
                source,
            )
            for side in (0, 1)
        ]
        self.empty, self.seed = torch.zeros_like(source), seeds[0]
        self.sample(Setting("warm-up", 1))

    def sample(
        self, setting: Setting, sigmas: Tensor | None = None, start: Tensor | None = None
    ) -> Sampled:
        """Edit the batch: over all of the schedule from noise, or over `sigmas` from `start`."""
        import comfy.sample
        import comfy.samplers
        from comfy.patcher_extension import WrappersMP

        calls = []

        def count(executor, *args, **kwargs):
            calls.append(executor(*args, **kwargs))
            return calls[-1]

        model = setting.patch(self.model).clone()
        # Wrappers added first are outermost: this one sees the calls that a cache lets through.
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "count", count)
        started = time.process_time()
        latents = comfy.sample.sample_custom(
            model,
            self.noise,
            CFG,
            comfy.samplers.sampler_object("euler"),
            flow_sigmas(setting.steps, self.shift) if sigmas is None else sigmas,
            *self.prompts,
            self.empty if start is None else start,
            disable_pbar=True,
            seed=self.seed,
        )
        seconds = time.process_time() - started
        video = self.model.model.latent_format.process_in(latents)
        first = self.joint.unpack(calls[0])
        return Sampled(video, len(calls), seconds, first, latents)
