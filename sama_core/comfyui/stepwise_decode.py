"""Decoding a latent of any length: ComfyUI's VAE in its own steps, and the frames of each at once.

Wan's decoder is causal in time. ComfyUI hands it one latent frame, then two at a time, with a cache
of the features that later frames look back on, and joins all frames at the end. Here the cache is
carried from call to call, so that a clip's frames need not be held together.

Reference tiles overlap by half and share nothing, so that together their caches are larger than
that of the whole picture: 2.25 times for 832x480, 3 times for 1280x720. Where the card has no room
for them they rest in RAM while another tile is decoded, and come back for their own, which changes
no bit of the frames.
"""

import copy
import itertools
from collections.abc import Callable

import comfy.ldm.wan.vae
import torch
from torch import Tensor

from ..encoders.latent_space import Tiles, blend_tiles, tile_boxes
from ..errors import SamplingError, needed
from ..geometry import WAN_21, Lattice
from .conditioning import TILINGS

STEP = 2
"""Latent frames of a step, all but the first of a clip, which has one."""
LOOKS_BACK = 38
"""Latent frames before its own that a decoded frame depends on.

Measured on the decoder in tests/comfyui/test_stepwise_decode.py.
"""
REST = torch.device("cpu")
"""Where caches of tiles rest."""


def decoding_steps(latents: int, first: int = 0) -> list[slice]:
    """The latent frames of each step of a clip of `latents`, from step `first` on."""
    steps = [slice(0, 1)]
    steps += [slice(at, min(at + STEP, latents)) for at in range(1, latents, STEP)]
    return steps[first:]


def warm_up(step: int) -> int:
    """The step to begin at, so that `step` and all after it come out as decoded from the start."""
    return max(0, step - -(-LOOKS_BACK // STEP))


class StepwiseDecoder:
    """Decodes the steps of one clip, in order."""

    def __init__(self, vae, latents: int, tiling: str = TILINGS[0], lattice: Lattice = WAN_21):
        """`vae` is one that `require_wan_vae` accepts; the clip has `latents` latent frames."""
        self.lattice, self.tiled = lattice, tiling != TILINGS[0]
        self.vae = copy.copy(vae)
        self.core = SteppedCore(vae.first_stage_model, latents, self._room)
        self.vae.first_stage_model = self.core

    def _room(self, latent: Tensor) -> float:
        """Bytes that are free beside what ComfyUI reckons for decoding a step's tile."""
        reckoned = self.vae.memory_used_decode(latent.shape, latent.dtype)
        return self.vae.patcher.get_free_memory(latent.device) - reckoned

    def step(self, latent: Tensor) -> Tensor:
        """The latent (1, 16, t, h, w) of the next step → its frames (F, 8h, 8w, 3) in 0…1.

        Raises SamplingError where the memory is not enough.
        """
        height, width = latent.shape[3:]
        self.core.begin_step(len(tile_boxes(height, width, Tiles())) if self.tiled else 1)
        numbers = itertools.count()

        def decode(tile: Tensor) -> Tensor:
            self.core.begin_tile(next(numbers))
            return self.vae.decode(tile)

        if not self.tiled:
            return decode(latent).flatten(0, 1)
        blended = blend_tiles(
            lambda tile: decode(tile).movedim(-1, 1),
            latent,
            Tiles(),
            encode=False,
            lattice=self.lattice,
        )
        return blended[0].movedim(0, -1)


class SteppedCore:
    """What stands in the VAE for ComfyUI's model: decodes a step of each tile with its cache."""

    def __init__(
        self, model: comfy.ldm.wan.vae.WanVAE, latents: int, room: Callable[[Tensor], float]
    ):
        """The clip has `latents` latent frames; `room(tile)` tells how many bytes are free on the
        device beside what decoding a tile takes.
        """
        self.model, self.alone, self.room = model, latents == 1, room
        self.caches: list[list] = []
        self.tile: int | None = None

    def begin_step(self, tiles: int) -> None:
        """A step of so many tiles comes."""
        kept = comfy.ldm.wan.vae.count_cache_layers(self.model.decoder)
        self.caches = self.caches or [[None] * kept for _ in range(tiles)]

    def begin_tile(self, number: int) -> None:
        """Tile `number` of the step comes, counted from 0, in one call of `decode`."""
        self.tile = number

    def decode(self, latent: Tensor) -> Tensor:
        """(1, 16, t, h, w) → (1, 3, F, 8h, 8w) in -1…1, as `WanVAE.decode`."""
        if self.tile is None:  # ComfyUI's way out of memory: more and smaller tiles
            raise SamplingError(
                needed(
                    "memory for decoding",
                    "less than one step of the picture takes",
                    "more",
                    "Set tiling to reference tiles, or area lower. Finished segments are kept.",
                )
            )
        number, self.tile = self.tile, None
        cache, self.caches[number] = move(self.caches[number], latent.device), []
        decoded = self.model.decoder(
            self.model.conv2(latent), feat_cache=None if self.alone else cache, feat_idx=[0]
        )
        self.caches[number] = cache if self._has_room(cache, latent) else move(cache, REST)
        return torch.cat(decoded, 2)

    def _has_room(self, cache: list, latent: Tensor) -> bool:
        """Whether a tile's cache can stay where it is while the next tile gets one, too."""
        if len(self.caches) == 1 or latent.device == REST:
            return True
        return self.room(latent) > 2 * sum(map(_bytes, cache))


def move(cache: list, device: torch.device) -> list:
    """A cache of ComfyUI's decoder on a device; not all of its entries are tensors."""
    return [part.to(device) if torch.is_tensor(part) else part for part in cache]


def _bytes(part: object) -> int:
    return part.numel() * part.element_size() if torch.is_tensor(part) else 0
