"""Train the small Wan-layout VAE end to end on procedural clips.

    python -m sama_core.shapes.codec.train --output FOLDER \\
        --config sama_core/shapes/recipes/shapes_codec.toml

The folder gets `state.pt`, `log.jsonl` and `vae.safetensors`. If `state.pt` exists, training
resumes from it: a kill costs the steps since then and changes no bit of the result. The number of
threads is OMP_NUM_THREADS; use 1 on shared cores.

Loss: the mean over clips of log(squared error + floor), which maximises their mean PSNR, plus a
small term that keeps each latent channel at mean 0 and deviation 1.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

from ...encoders.vae import Scale, WanVae, load_wan_vae, normalised_silu
from ...scores.fidelity import psnr
from ...training.optim.muon import Muon
from ...training.optim.optimisation import BETAS, Optimisation, lesser_rate_at
from ...training.outputs import TrainLog, load_state, save_state
from ...training.recipe import plain_settings, read_recipe, refuse_changes
from ..world import render, sample_scenes
from .config import FREE_TO_CHANGE, CodecConfig
from .export import export, fold_standard, unfold_wan
from .linear_start import linear_start

_VALIDATION_SEED = 20_000_003
_VALIDATION_BATCH = 8


def clips_at(seed: int, count: int, frames: int, size: int, split: str = "train") -> Tensor:
    """Clips (B, 3, F, H, W) in [-1, 1] that depend on the arguments only."""
    scenes = sample_scenes(Generator().manual_seed(seed), count, frames, split)
    return render(scenes, frames, size, size).movedim(-1, 1) * 2 - 1


def codec_loss(vae: WanVae, clips: Tensor, config: CodecConfig, generator: Generator) -> Tensor:
    """The scalar loss on clips (B, 3, F, H, W)."""
    latents = vae.encode(clips)
    noise = torch.randn(latents.shape, generator=generator)
    decoded = vae.decode(latents + config.latent_noise * noise)
    errors = ((decoded - clips) / 2).square().flatten(1).mean(1)
    spread, centre = latents.std((0, 2, 3, 4)), latents.mean((0, 2, 3, 4))
    scale = (spread - 1).square().mean() + centre.square().mean()
    return (errors + config.floor).log().mean() + config.latent_weight * scale


class CodecTrainer:
    """A training that can stop after any step; it resumes from the checkpoint in its folder."""

    def __init__(self, config: CodecConfig):
        """New weights, or those of the folder's checkpoint.

        Raises ConfigError if the checkpoint has other settings.
        """
        self.config, self.folder = config, Path(config.output)
        self.step, self.core_seconds = 0, 0.0
        saved = load_state(self.folder)
        if saved:
            refuse_changes(saved["config"], config, FREE_TO_CHANGE)
        self.vae = new_vae(config) if saved is None else WanVae(config.width)
        _choose_trained_parts(self.vae, config)
        self.optimisation = Optimisation(
            self.vae.named_parameters(),
            _build_optimizers(self.vae, config),
            config,
            factor_at=lesser_rate_at,
        )
        if saved:
            self._restore(saved)
        Scale.activate = staticmethod(_compile_activation() if config.compiled else normalised_silu)

    @property
    def average(self) -> dict[str, Tensor]:
        """The averaged weights by name, and the frozen ones."""
        weights = {name: value.detach() for name, value in self.vae.named_parameters()}
        return weights | self.optimisation.average.state_dict()

    def run(self, until: int | None = None) -> float:
        """Train up to step `until` (default: all) and export the averaged weights.

        Returns their held-out PSNR. Raises FloatingPointError if a gradient is not finite.
        """
        log = TrainLog(self.folder, self.step + 1)  # a line counts the steps before it
        while self.step < (self.config.steps if until is None else until):
            started = time.process_time()
            loss = self._train_step()
            self.step += 1
            self.core_seconds += time.process_time() - started
            if self.step % self.config.log_every == 0:
                self._log(log, loss=loss)
            if self.step % self.config.val_every == 0 and self.step < self.config.steps:
                self._log(log, val_psnr=self.validate())
            if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                save_state(self.folder, self._state())
        value = self.validate()
        self._log(log, val_psnr=value)
        self._export(value)
        return value

    def validate(self) -> float:
        """Mean of the PSNR per held-out clip, with the averaged weights."""
        now = {name: value.detach().clone() for name, value in self.vae.named_parameters()}
        self.vae.load_state_dict(self.average)
        scores = [
            self._score(first) for first in range(0, self.config.val_clips, _VALIDATION_BATCH)
        ]
        self.vae.load_state_dict(now)
        return round(torch.cat(scores).mean().item(), 3)

    @torch.no_grad()
    def _score(self, first: int) -> Tensor:
        """(B,) PSNR of the held-out clips from `first` on, up to _VALIDATION_BATCH of them."""
        config = self.config
        count = min(_VALIDATION_BATCH, config.val_clips - first)
        seed, frames = _VALIDATION_SEED + first, max(config.frames)
        clips = clips_at(seed, count, frames, config.size, "test")
        decoded = self.vae.decode(self.vae.encode(clips))
        return psnr(decoded.clamp(-1, 1), clips, peak=2.0)

    def _train_step(self) -> float:
        """One optimiser step, whose randomness depends on (seed, step) only; returns the loss."""
        config = self.config
        seed = config.seed * 1_000_003 + self.step
        generator = Generator().manual_seed(seed)
        frames = config.frames[int(torch.randint(len(config.frames), (1,), generator=generator))]
        # Batches of short clips are larger, so that all steps cost about the same.
        count = max(1, config.batch_size * max(config.frames) // frames)
        loss = codec_loss(
            self.vae,
            clips_at(seed, min(count, 4 * config.batch_size), frames, config.size),
            config,
            generator,
        )
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.vae.parameters(), config.clip_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"step {self.step}: the gradient is {norm}; the last checkpoint is intact"
            )
        self.optimisation.step(self.step)
        return round(loss.item(), 5)

    def _state(self) -> dict:
        return {
            "config": plain_settings(self.config),
            "step": self.step,
            "core_seconds": self.core_seconds,
            "vae": self.vae.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimisation.optimizers],
        }

    def _restore(self, saved: dict) -> None:
        self.step, self.core_seconds = saved["step"], saved["core_seconds"]
        self.vae.load_state_dict(saved["vae"])
        optimisation = self.optimisation
        for optimizer, state in zip(optimisation.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        names = optimisation.average.state_dict()  # a checkpoint has the frozen weights as well
        optimisation.average.load_state_dict({name: saved["average"][name] for name in names})

    def _log(self, log: TrainLog, **values: float) -> None:
        seconds = round(self.core_seconds, 1)
        log.write(step=self.step, seed=self.config.seed, **values, core_seconds=seconds)

    def _export(self, value: float) -> None:
        vae = WanVae(self.config.width)
        vae.load_state_dict(self.average)
        if not self.config.decoder_only:
            clips = clips_at(_VALIDATION_SEED - 1, 32, max(self.config.frames), self.config.size)
            fold_standard(vae, clips)
        facts = {
            "steps": self.step,
            "seed": self.config.seed,
            "width": self.config.width,
            "val_psnr": value,
        }
        export(vae, self.folder / "vae.safetensors", facts)


def new_vae(config: CodecConfig) -> WanVae:
    """The weights that a training begins with: those of `init`, or a linear codec."""
    if config.init:
        vae = load_wan_vae(load_file(config.init))
        unfold_wan(vae)
        return vae
    vae = WanVae(config.width)
    seed, frames = config.seed * 1_000_003 + 500_000, max(config.frames)
    clips = clips_at(seed, config.start_clips, frames, config.size)
    linear_start(vae, clips, Generator().manual_seed(config.seed))
    return vae


def _choose_trained_parts(vae: WanVae, config: CodecConfig) -> None:
    """Set the reach of the residual units; freeze the encoder with `decoder_only`."""
    vae.set_reach("skip")
    for reach, prefixes in (("planar", config.planar), ("full", config.full)):
        if prefixes:
            vae.set_reach(reach, prefixes)
    if config.decoder_only:
        for weight in (*vae.encoder.parameters(), *vae.conv1.parameters()):
            weight.requires_grad_(False)


def _build_optimizers(vae: WanVae, config: CodecConfig) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions inside residual units, AdamW for all other weights."""
    inner: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in vae.named_parameters():
        if weight.requires_grad:
            (inner if ".residual." in name and weight.ndim == 5 else others).append(weight)
    return [
        Muon(inner, config.muon_rate),
        torch.optim.AdamW(others, config.learning_rate, betas=BETAS, weight_decay=0.0),
    ]


def _compile_activation() -> Callable[[Tensor, Tensor], Tensor]:
    """`normalised_silu` as one kernel per width and kind of clip.

    Beyond torch's default limit some calls would run uncompiled. Their last bits differ, and a
    resumed run would not repeat the same calls.
    """
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(normalised_silu, dynamic=True)


def main() -> None:
    """The command of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="TOML recipe")
    parser.add_argument("--output", help="folder, instead of the recipe's")
    chosen = parser.parse_args()
    overrides = {"output": chosen.output} if chosen.output else {}
    trainer = CodecTrainer(read_recipe(chosen.config, CodecConfig, **overrides))
    value = trainer.run()
    print(json.dumps({"step": trainer.step, "val_psnr": value}))


if __name__ == "__main__":
    main()
