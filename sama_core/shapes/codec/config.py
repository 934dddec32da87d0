"""Settings of a codec training: one documented dataclass."""

from dataclasses import dataclass

from ...released_files import SAMA_SHAPES
from ...training.recipe import refuse_bad


@dataclass(frozen=True)
class CodecConfig:
    """One training of the small VAE."""

    steps: int
    """Optimiser steps; the schedule follows them, never the clock."""
    output: str = "codec"
    """Folder for checkpoint, log and weights."""
    seed: int = 0
    """Seed of new weights, clips and noise; the clips of a step depend on (seed, step) only."""
    init: str = ""
    """Exported VAE to start from; empty starts linear, from PCA and least squares."""
    decoder_only: bool = False
    """Keep the encoder of `init`: latents, and models trained on them, stay valid."""
    width: int = 16
    """Channels at full size (96 in Wan 2.1)."""
    batch_size: int = 4
    """Clips per step."""
    frames: tuple[int, ...] = (9, 17)
    """Clip lengths (4k+1), one drawn per step; repeated lengths are drawn more often."""
    size: int = 64
    """Height and width in pixels."""
    planar: tuple[str, ...] = ("decoder",)
    """Prefixes of units that train only the newest of three frames, at a third of the cost."""
    full: tuple[str, ...] = ()
    """Prefixes of residual units that train whole. Units in neither list stay plain shortcuts."""
    muon_rate: float = 0.02
    """Rate of Muon, for the convolutions inside residual units."""
    learning_rate: float = 5e-4
    """Rate of AdamW, for all other weights."""
    warmup: int = 50
    """Steps of linear warm-up."""
    decay_from: float = 0.6
    """Fraction of the steps after which the rates fall linearly to 0."""
    clip_norm: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.99
    """Decay of the averaged weights, which are the ones exported."""
    floor: float = 3e-4
    """Squared error (for values in 0..1) below which a clip has little weight: 35 dB."""
    latent_noise: float = 0.05
    """Standard deviation of noise on the latents (of unit variance): a DiT's errors change less."""
    latent_weight: float = 0.01
    """Weight of the loss that keeps each latent channel at mean 0 and deviation 1."""
    compiled: bool = False
    """Compile norm and SiLU into one kernel; this needs a C++ compiler."""
    start_clips: int = 32
    """Clips that the linear start is fitted on."""
    val_clips: int = 48
    """Held-out clips of 17 frames that the PSNR is measured on."""
    val_every: int = 100
    """Steps between measurements."""
    checkpoint_every: int = 50
    """Steps between resumable checkpoints."""
    log_every: int = 10
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        lattice = SAMA_SHAPES.lattice
        checks = (
            (self.steps > 0, "steps", self.steps, "at least 1"),
            (self.batch_size > 0, "batch_size", self.batch_size, "at least 1"),
            (
                self.frames and all(map(lattice.takes_count, self.frames)),
                "frames",
                self.frames,
                lattice.frame_rule,
            ),
            (
                self.size % lattice.spatial == 0,
                "size",
                self.size,
                f"a multiple of {lattice.spatial}",
            ),
            (0 <= self.ema < 1, "ema", self.ema, "0 up to, not including, 1"),
        )
        refuse_bad(checks)


FREE_TO_CHANGE = frozenset({"output", "val_clips", "val_every", "checkpoint_every", "log_every"})
"""Settings that a resumed run may change: they do not affect the weights."""
