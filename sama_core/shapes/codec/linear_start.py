"""First weights of the codec from data: a linear codec, by principal components and least squares.

The encoder's strided convolutions become block PCA (2x2 pixels, then mean and difference of two
frames). The decoder's convolutions are fitted one after the other to restore what the encoder had
at that size. Residual units start at zero. Norm and SiLU of the two heads stay nearly linear: one
channel is constant and large, so that the norm hardly varies, and the SiLU is used near 0, where it
is x / 2.

In a first trial a linear path was worth more than width. The layout has no skip connections, so the
path goes through the layers themselves. Independent of the papers.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...encoders.vae import CausalConv, Down, Residual, Up, WanVae
from ...encoders.vae_layout import LATENT_CHANNELS

_STEADY, _GENTLE = 3.0, 0.1
"""Size of the constant channel in units of the signal's norm; the norm's scale before the SiLU."""
_RIDGE = 1e-4
"""Of the mean square of the inputs."""
_SPARE = 0.05
"""Factor on the random weights of channels that the linear path does not use."""
_MOST_ROWS = 60_000
"""Samples that a fit uses at most."""


@torch.no_grad()
def linear_start(vae: WanVae, clips: Tensor, generator: torch.Generator) -> None:
    """Set all weights of `vae` from clips (B, 3, 4k+1, H, W) in [-1, 1], k ≥ 1.

    The latents of these clips get unit variance. `generator` draws the weights that are not fitted.
    """
    _plain_start(vae, generator)
    sizes = _fit_encoder(vae, clips)
    _fit_decoder(vae, clips, sizes)


def _plain_start(vae: WanVae, generator: torch.Generator) -> None:
    """Residual units that do nothing, shortcuts that copy, and small random weights elsewhere."""
    for name, weight in vae.named_parameters():
        if name.endswith("gamma"):
            weight.fill_(1)
        elif name.endswith("bias") or ".residual.6." in name or ".proj." in name:
            weight.zero_()
        else:
            weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
    for unit in vae.modules():
        if isinstance(unit, Residual):
            unit.get_parameter("residual.2.weight")[:, :, :-1] = 0
            if isinstance(unit.shortcut, CausalConv):
                unit.shortcut.weight.zero_()
                _copy(unit.shortcut.weight[:, :, -1, 0, 0])
    for conv in (vae.conv1, vae.conv2):
        conv.weight.zero_()
        _copy(conv.weight[:, :, 0, 0, 0])


def _copy(matrix: Tensor) -> None:
    """Set the identity on the channels that both sides have; leave the others."""
    shared = min(matrix.shape)
    matrix[:shared, :shared] = torch.eye(shared)


def _fit_encoder(vae: WanVae, clips: Tensor) -> dict[str, Tensor]:
    """Block PCA level by level; returns the states before each change of size, by name."""
    encoder = vae.encoder
    encoder.conv1.weight.zero_()
    _copy(encoder.conv1.weight[:, :, -1, 1, 1])
    x = encoder.conv1(clips)
    states: dict[str, Tensor] = {}
    for index, layer in enumerate(encoder.downsamples):
        if isinstance(layer, Residual):
            x = layer.shortcut(x)
        elif isinstance(layer, Down):
            states[f"frames{index}"] = x
            x = _fit_spatial_pca(layer, x)
            if layer.time_conv is not None:
                states[f"pairs{index}"] = x
                x = _set_means_and_differences(layer, x)
            last = layer
    states["last"] = x
    signal = x[:, :-1]
    steady = torch.full_like(x[:, -1:], _set_steady_channel(last, signal))
    components = _Components(signal.movedim(1, -1).flatten(0, -2), LATENT_CHANNELS)
    latents = (signal.movedim(1, -1) - components.mean) @ components.basis / components.spread
    _fit_head(encoder.head, torch.cat([signal, steady], 1), latents.movedim(-1, 1))
    return states


def _fit_head(head: nn.Sequential, x: Tensor, goal: Tensor) -> None:
    """A nearly linear norm and SiLU, and the convolution that takes them to `goal`."""
    scale, _, conv = head
    scale.get_parameter("gamma").fill_(_GENTLE)
    _fit(cast(CausalConv, conv), scale(x), goal)


class _Components:
    """Leading components of rows (N, C): mean (C,), basis (C, K), standard deviations (K,)."""

    def __init__(self, rows: Tensor, count: int):
        self.mean = rows.mean(0)
        values, vectors = torch.linalg.eigh(
            (rows - self.mean).T.double() @ (rows - self.mean).double() / len(rows)
        )
        self.basis = vectors.flip(1)[:, :count].float()
        # No component is amplified more than a thousand times as much as the first.
        self.spread = values.flip(0)[:count].clamp(min=1e-6 * values[-1].item()).sqrt().float()


def _fit_spatial_pca(layer: Down, x: Tensor) -> Tensor:
    """Set the strided convolution to the components of 2x2 blocks; returns its output."""
    weight, bias = (layer.get_parameter(f"resample.1.{name}") for name in ("weight", "bias"))
    channels = x.shape[1]
    # (BT, 4C, h, w), C outermost
    blocks = functional.pixel_unshuffle(x.transpose(1, 2).flatten(0, 1), 2)
    rows = blocks.movedim(1, -1).flatten(0, -2)
    rows = rows[:: max(1, len(rows) // _MOST_ROWS)]
    # Around 0, not the mean: an offset is a component too, and borders then need no bias.
    values, vectors = torch.linalg.eigh(rows.T.double() @ rows.double() / len(rows))
    basis = vectors.flip(1)[:, :channels].float()
    basis = basis * (values.flip(0)[:channels] > 1e-9)
    weight.zero_()
    bias.zero_()
    weight[:, :, :2, :2] = basis.T.reshape(channels, channels, 2, 2)
    return torch.cat([layer.resample(frame)[:, :, None] for frame in x.unbind(2)], 2)


def _set_means_and_differences(layer: Down, x: Tensor) -> Tensor:
    """Set `time_conv`; returns the frames after it.

    Three quarters of the channels become the mean of two frames. The weakest channels are replaced
    by the differences of the strongest.
    """
    conv = cast(nn.Conv3d, layer.time_conv)
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    channels = x.shape[1]
    means = channels * 3 // 4
    weight.zero_()
    bias.zero_()
    taps = weight[..., 0, 0]  # (out, in, 3)
    for channel in range(means):
        taps[channel, channel, 1:] = 0.5
    for channel in range(means, channels - 1):
        taps[channel, channel - means, 1], taps[channel, channel - means, 2] = 0.5, -0.5
    return torch.cat([x[:, :, :1], conv(x)], 2)


def _set_steady_channel(layer: Down, signal: Tensor) -> float:
    """Make the last channel a large constant in all frames; returns its value."""
    size = _STEADY * signal.square().sum(1).mean().sqrt().item()
    for conv in ("resample.1", "time_conv"):
        layer.get_parameter(f"{conv}.weight")[-1] = 0
        layer.get_parameter(f"{conv}.bias")[-1] = size
    return layer.get_parameter("time_conv.bias")[-1].item()


def _fit_decoder(vae: WanVae, clips: Tensor, sizes: dict[str, Tensor]) -> None:
    """Least squares for each convolution of the linear path, on the output of those before."""
    decoder = vae.decoder
    vae.set_reach("skip")
    x = vae.conv2(vae.encode(clips))
    _fit(decoder.conv1, x, sizes["last"])
    x = decoder.middle(decoder.conv1(x))
    goals = iter([("pairs8", "frames8"), ("pairs5", "frames5"), (None, "frames2")])
    for layer in decoder.upsamples:
        if isinstance(layer, Up):
            pairs, frames = next(goals)
            if pairs:
                _fit_doubling(layer, x, sizes[pairs])
            goal = clips if pairs is None else sizes[frames]
            x = _fit_growing(layer, x, goal)
        else:
            x = layer(x)
    vae.set_reach("full")
    _fit_head(decoder.head, x, clips)


def _fit_doubling(layer: Up, x: Tensor, goal: Tensor) -> None:
    """Fit `time_conv` on all frames but the first: x (B, C, 1+T, …) to goal (B, C', 1+2T, …)."""
    used, channels = goal.shape[1], x.shape[1]
    past = functional.pad(x[:, :, 1:], (0, 0, 0, 0, 2, 0))
    frames = x.shape[2] - 1
    inputs = torch.cat([past[:, :, tap : tap + frames] for tap in range(3)], 1)
    pair = goal[:, :, 1:].unflatten(2, (frames, 2))
    solved, bias = _solve(inputs, torch.cat([pair[:, :, :, 0], pair[:, :, :, 1]], 1))
    solved = solved.unflatten(1, (3, channels)).transpose(1, 2)  # (2 used, C, 3)
    weight = layer.get_parameter("time_conv.weight")
    weight.mul_(_SPARE)
    for half in range(2):
        rows = slice(half * channels, half * channels + used)
        weight[rows] = solved[half * used : (half + 1) * used, :, :, None, None]
        layer.get_parameter("time_conv.bias")[rows] = bias[half * used : (half + 1) * used]


def _fit_growing(layer: Up, x: Tensor, goal: Tensor) -> Tensor:
    """Fit the convolution after upsampling, to goal (B, C', T, 2H, 2W); returns its output.

    The last one, whose goal are RGB frames, also gets a constant channel.
    """
    x = layer.double_frames(x)
    grown = functional.interpolate(
        x.transpose(1, 2).flatten(0, 1), scale_factor=2.0, mode="nearest-exact"
    )
    weight, bias = (layer.get_parameter(f"resample.1.{name}") for name in ("weight", "bias"))
    solved, offset = _solve_conv(grown, goal.transpose(1, 2).flatten(0, 1))
    used = min(goal.shape[1], len(weight))
    weight.mul_(_SPARE)
    weight[:used], bias[:used] = solved[:used], offset[:used]
    if goal.shape[1] == 3:
        weight[-1], bias[-1] = 0, _STEADY * goal.square().sum(1).mean().sqrt()
    return layer.resample[1](grown).unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def _fit(conv: CausalConv, x: Tensor, goal: Tensor) -> None:
    """Fit the newest frame's taps of a causal convolution.

    x (B, C, T, H, W) to goal (B, C', T, H, W); all other weights become zero.
    """
    solved, offset = _solve_conv(
        x.transpose(1, 2).flatten(0, 1), goal.transpose(1, 2).flatten(0, 1)
    )
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    used = min(goal.shape[1], len(weight))
    weight.zero_()
    weight[:used, :, -1], bias[:used] = solved[:used], offset[:used]


def _solve_conv(x: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """The 3x3 convolution from images x (N, C, H, W) to goal (N, C', H, W) with the least error.

    → weight (C', C, 3, 3), bias (C',).
    """
    channels = x.shape[1]
    step = max(1, len(x) * x.shape[2] * x.shape[3] // _MOST_ROWS)
    patches = functional.unfold(x[::step], 3, padding=1)  # (n, 9C, HW)
    weight, bias = _solve(patches, goal[::step].flatten(2))
    return weight.unflatten(1, (channels, 3, 3)), bias


def _solve(x: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression from x (N, C, …) to goal (N, C', …): weights (C', C) and bias (C',)."""
    rows, wanted = (value.movedim(1, -1).flatten(0, -2).double() for value in (x, goal))
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
    square = rows.T @ rows / len(rows)
    ridge = _RIDGE * square.diagonal()[:-1].mean() * torch.eye(len(square), dtype=rows.dtype)
    solved = torch.linalg.solve(square + ridge, rows.T @ wanted / len(rows)).T.float()
    return solved[:, :-1], solved[:, -1]
