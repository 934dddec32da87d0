"""From hidden states of a DiT block to the teacher's space: its width, its cells, its frames.

    tokens (B, t·h·w, D) ─▶ time: 4t − 3 frames ─▶ widths ─▶ cells ─▶ (B, T, h', w', width)

Trained along with the model, and left behind when training ends. Projecting belongs into the
forward pass of the model: under FSDP the weights are whole only there.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import ConditioningError, needed
from ...geometry import WAN_21, Lattice

TRACKING_WIDTHS = (768, 512, 256)
"""Widths of the skip connection and of the two inner layers (SAM2VideoX App. A)."""
RELATION_WIDTHS = (2048, 2048)
"""Widths of VideoREPA's inner layers (its released code), which SARA calls the usual projector."""
_GROUPS = 32
_FIRST_SCALE = 0.1


class Projector(nn.Module):
    """A student's features in the form of the teacher's.

    `tracking=True` is SAM2VideoX's (App. A): hidden states go to every pixel frame by a convolution
    over time beside an interpolation, then through three layers with SiLU and GroupNorm. Deviation,
    since the paper does not say: the convolution (3, 1, 1) also brings the width to 768 and runs
    before the interpolation (×4, linear); both are added; 32 groups, or the most that divide the
    width; the last layer is bare, and begins at a tenth of the usual size, so that a flow begins
    nearly uniform and its loss does not drown the model's. Of 4t frames the first three are
    dropped, because Wan's first latent frame is one pixel frame: 13 latent frames give 49. (4 is
    the factor of Wan 2.1's VAE.)

    `tracking=False` is VideoREPA's: three linear layers with SiLU. Where the teacher has other
    frames, `match_frames` brings the student's to their times; Unverified, as are the modes of all
    resampling in SARA.

    Where the teacher has more cells than the model has tokens, each token gives r × r cells (a
    pixel shuffle), else the tokens are resampled to the cells.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        cells: tuple[int, int],
        grid: tuple[int, int],
        tracking: bool = False,
        widths: Sequence[int] | None = None,
        lattice: Lattice = WAN_21,
    ):
        """`dim` of the hidden states, `width` of the teacher, `cells` (h', w') of the teacher and
        `grid` (h, w) of the model's tokens, for which the number of cells a token gives is
        chosen; `lattice` is the model's.
        """
        super().__init__()
        self.cells, self.tracking, self.lattice = tuple(cells), tracking, lattice
        self.spread = max(math.ceil(have / of) for have, of in zip(cells, grid, strict=True))
        widths = widths or (TRACKING_WIDTHS if tracking else RELATION_WIDTHS)
        out = width * self.spread**2
        if tracking:
            first, *inner = widths
            self.shrink, self.refine = _TimeConv(dim, first), _TimeConv(first, first)
            self.layers = _normed_layers([first, *inner, out])
            with torch.no_grad():
                for weight in self.layers[-1].parameters():
                    weight.mul_(_FIRST_SCALE)
        else:
            self.layers = _plain_layers([dim, *widths, out])

    def forward(self, tokens: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """`tokens` (B, t·h·w, D) of a clip `shape` (t, h, w) → (B, T, h', w', width).

        T is 4t − 3 with `tracking`, else t. Raises ConditioningError where the tokens are not the
        clip's.
        """
        count = math.prod(shape)
        if tokens.shape[1] != count:
            raise ConditioningError(
                needed(
                    "hidden states",
                    f"{tokens.shape[1]} tokens",
                    f"{count} for {shape[0]} latent frames of {shape[1]}x{shape[2]}",
                    "Align the tokens of the target video alone.",
                )
            )
        video = tokens.unflatten(1, shape).movedim(-1, 1)
        if self.tracking:
            video = self._to_pixel_frames(video)
            video = self.layers(video)
        else:
            video = self.layers(video.movedim(1, -1)).movedim(-1, 1)
        return self._to_cells(video).movedim(1, -1)

    def _to_pixel_frames(self, video: Tensor) -> Tensor:
        """(B, D, t, h, w) → (B, 768, 4t − 3, h, w)."""
        video = self.shrink(video)
        time = self.lattice.temporal
        size = (video.shape[2] * time, *video.shape[3:])
        longer = functional.interpolate(video, size, mode="trilinear", align_corners=False)
        return (longer + self.refine(longer))[:, :, time - 1 :]

    def _to_cells(self, video: Tensor) -> Tensor:
        """(B, width · r², T, h, w) → (B, width, T, h', w')."""
        batch, _, frames = video.shape[:3]
        pictures = video.transpose(1, 2).flatten(0, 1)
        if self.spread > 1:
            pictures = functional.pixel_shuffle(pictures, self.spread)
        if tuple(pictures.shape[-2:]) != self.cells:
            # In 16 bit not every device has it.
            pictures = functional.interpolate(
                pictures.float(), self.cells, mode="bilinear", align_corners=False, antialias=True
            )
        return pictures.unflatten(0, (batch, frames)).transpose(1, 2)


class _TimeConv(nn.Conv3d):
    """A convolution (3, 1, 1) over time, computed with rows and columns as one dimension.

    In three dimensions the gradient of its weights is wrong, and no number at times, in bfloat16 on
    a CPU for clips of two latent frames (torch 2.13).
    """

    def __init__(self, width: int, out: int):
        super().__init__(width, out, (3, 1, 1), padding=(1, 0, 0))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        flat = functional.conv2d(input.flatten(3), weight[..., 0], bias, padding=(1, 0))
        return flat.unflatten(3, input.shape[3:])


def _plain_layers(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for one, other in pairwise(widths):
        layers += [nn.Linear(one, other), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def _normed_layers(widths: list[int]) -> nn.Sequential:
    """Pointwise layers, each behind GroupNorm and SiLU."""
    layers: list[nn.Module] = []
    for one, other in pairwise(widths):
        layers += [nn.GroupNorm(math.gcd(_GROUPS, one), one), nn.SiLU(), nn.Conv3d(one, other, 1)]
    return nn.Sequential(*layers)


def match_frames(
    student: Tensor, frames: int, clip: int | None = None, lattice: Lattice = WAN_21
) -> Tensor:
    """(B, T, h, w, C) → (B, frames, h, w, C), linearly in time where the counts differ.

    Both stand in time as `frame_times` says of a clip of `clip` pixel frames. None: both are spread
    evenly over the same time.
    """
    count = student.shape[1]
    if count == frames:
        return student
    length = clip or math.lcm(count, frames)
    have, want = (
        frame_times(part, length, lattice) if clip else spread_evenly(part, length)
        for part in (count, frames)
    )
    after = torch.searchsorted(have, want).clamp(max=count - 1)
    before = (after - 1).clamp(min=0)
    span = (have[after] - have[before]).clamp(min=1e-6)
    share = ((want - have[before]) / span).clamp(0, 1).to(student).view(-1, 1, 1, 1)
    return torch.lerp(student[:, before], student[:, after], share)


def frame_times(count: int, clip: int, lattice: Lattice = WAN_21) -> Tensor:
    """(count,) the middles, in pixel frames, of what each of `count` frames of features sees of a
    clip of `clip` frames.

    Every frame; or as Wan's VAE takes them, (0), (1..4), (5..8) …; or as V-JEPA 2 does here, (0),
    (1, 2) …; other counts are VideoMAE's: pairs of frames drawn evenly from the first to the last.
    """
    for step in (1, lattice.temporal, 2):
        if clip == 1 + (count - 1) * step:
            return (step * torch.arange(float(count)) - (step - 1) / 2).clamp(min=0)
    drawn = torch.linspace(0, clip - 1, 2 * count).round()
    return drawn.view(count, 2).mean(1)


def spread_evenly(count: int, clip: int) -> Tensor:
    """(count,) the middles of equal parts of `clip` frames, counted from the first one's middle."""
    return (torch.arange(float(count)) + 0.5) * (clip / count) - 0.5
