"""A tiny tracker for the toy world: what SAM 2 is to real clips, trained here in minutes.

It is told the subject by a mask on the first frame and remembers it from frame to frame. Its
features are those behind the memory, before the mask is read; so they have a direction in time,
which the exact features of `scene_features` have not. Besides the exact masks it learns where the
points of all objects go, from the exact flow: in flat colours a mask alone teaches that to nobody.

    frame ─▶ encoder ─▶ memory (gated, of the frame before) ─▶ features ─▶ mask
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from ..errors import RuntimeSetupError, SamaError, needed
from ..training.alignment import flow_divergence, local_gram_flow
from .scene_features import scene_features
from .world import USUAL, Movement, Scenes, generator_for, render, sample_scenes
from .world.visibility import subject_masks

CELL = 4
"""Pixels of a feature's side."""
WIDTH = 32
"""Channels of a feature."""
_GROUND = 0.02
"""Weight of a cell without an object in the flow's divergence."""


class Tracker(nn.Module):
    """Convolutions to cells of 4 pixels, a convolutional GRU over time, and a mask read from it."""

    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.width = width
        self.encode = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.prompt = nn.Conv2d(1, width, 3, padding=1)
        self.gates = nn.Conv2d(2 * width, 2 * width, 5, padding=2)
        self.candidate = nn.Conv2d(2 * width, width, 5, padding=2)
        self.mask = nn.Conv2d(width, 1, 1)

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, F, H, W, 3) in 0..1 and the first one's mask (B, H, W) → features (B, F, H/4,
        W/4, width) and mask logits (B, F, H/4, W/4). Raises SamaError for sides that 4 does not
        divide.
        """
        batch, count, height, width = frames.shape[:4]
        if height % CELL or width % CELL:
            raise SamaError(
                needed("frames", f"{width}x{height}", f"sides that {CELL} divides", "Crop them.")
            )
        pictures = frames.flatten(0, 1).movedim(-1, 1)
        seen = self.encode(pictures).unflatten(0, (batch, count))
        memory = self.prompt(functional.avg_pool2d(mask[:, None], CELL))
        states = []
        for frame in range(count):
            memory = self._remember(seen[:, frame], memory)
            states.append(memory)
        features = torch.stack(states, dim=1)
        logits = self.mask(features.flatten(0, 1)).view(batch, count, *features.shape[-2:])
        return features.movedim(2, -1), logits

    def _remember(self, seen: Tensor, memory: Tensor) -> Tensor:
        update, reset = self.gates(torch.cat([seen, memory], 1)).sigmoid().chunk(2, dim=1)
        fresh = self.candidate(torch.cat([seen, reset * memory], 1)).tanh()
        return (1 - update) * memory + update * fresh

    @torch.no_grad()
    def track_both_ways(self, frames: Tensor, first: Tensor, last: Tensor) -> dict[str, Tensor]:
        """{"forward", "backward"}: features in the clip's own order of frames, from the masks (B,
        H, W) of its first and its last frame.
        """
        forward = self(frames, first)[0]
        backward = self(frames.flip(1), last)[0].flip(1)
        return {"forward": forward, "backward": backward}


def train_tracker(
    steps: int = 400, batch: int = 16, frames: int = 9, size: int = 64, seed: int = 0,
    movement: Movement = USUAL,
    report: Callable[[int, float, float], None] | None = None,
) -> Tracker:  # fmt: skip
    """A tracker of random scenes' upper objects.

    Binary cross-entropy with their exact masks, and the divergence of the features' flow from the
    scene's (SAM2VideoX' own loss), on all objects; the ground counts little.
    `report(step, loss, overlap)` is called each 20 steps; `overlap` is the intersection over union
    of mask and truth in the last frame. The result depends on the arguments alone.
    """
    torch.manual_seed(seed)
    tracker = Tracker()
    optimiser = torch.optim.AdamW(tracker.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for step in range(steps):
        scenes, clips, masks = draw_subjects(batch, frames, size, seed, step, movement=movement)
        features, logits = tracker(clips, masks[:, 0])
        truth = functional.avg_pool2d(masks, CELL)
        exact, objects = scene_features(scenes, frames, size, size, CELL)
        astray = flow_divergence(
            local_gram_flow(exact), local_gram_flow(features), weight=objects[:, :-1] + _GROUND
        )
        loss = functional.binary_cross_entropy_with_logits(logits, truth) + astray.mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tracker.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if report is not None and (step % 20 == 0 or step == steps - 1):
            report(step, loss.item(), measure_overlap(logits[:, -1], truth[:, -1]))
    return tracker.eval()


def load_tracker(path: Path) -> Tracker:
    """The tracker whose state dict was written to `path`. RuntimeSetupError where there is none."""
    tracker = Tracker()
    try:
        tracker.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as broken:
        fix = "Train one with train_tracker, and write its state dict."
        raise RuntimeSetupError(
            needed("tracker", f"{path}: {broken}", "the file of a tracker", fix)
        ) from broken
    return tracker.eval()


def draw_subjects(
    batch: int,
    frames: int,
    size: int,
    seed: int,
    step: int,
    split: str = "train",
    movement: Movement = USUAL,
) -> tuple[Scenes, Tensor, Tensor]:
    """Drawn scenes, their clips (B, F, S, S, 3) in 0..1, and where their upper object is seen (B,
    F, S, S).

    The upper object is the second slot's where there are two; it is never hidden by the other.
    """
    scenes = sample_scenes(generator_for(seed, split, step), batch, frames, split, movement)
    return scenes, render(scenes, frames, size, size), subject_masks(scenes, frames, size, size)


def measure_overlap(logits: Tensor, truth: Tensor) -> float:
    """Intersection over union of masks (B, h, w), the mean over clips."""
    found, there = logits > 0, truth > 0.5
    both, either = (found & there).flatten(1).sum(1), (found | there).flatten(1).sum(1)
    return (both / either.clamp(min=1)).mean().item()
