"""Starting weights from data: a linear codec, found by principal components and least squares, without a step.

The encoder's strided convolutions become block PCA (2x2 pixels, then mean and difference of two frames); the decoder's
convolutions are fitted, one after the other, to give back what the encoder had at that size. Residual units start at
zero. The two heads' norm and SiLU are kept nearly linear: one channel is constant and large, so that the norm hardly
varies, and the SiLU is used near 0, where it is x / 2.

A linear path was worth more than width in a first trial; the layout has no skip, so the path goes through
the layers themselves. Independent of the papers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...encoders.vae import LATENT_CHANNELS, CausalConv, Down, Residual, Up, WanVae

# Size of the constant channel next to the signal's norm, and the norm's scale before the SiLU.
_STEADY, _GENTLE = 3.0, 0.1
_RIDGE = 1e-4
# Standard deviation of channels that the linear path does not use.
_SPARE = 0.05


@torch.no_grad()
def linear_start(vae: WanVae, clips: Tensor, generator: torch.Generator) -> None:
    """Set all weights of `vae` from clips (B, 3, 4k+1, H, W) in [-1, 1], k ≥ 1; latents get unit variance on them."""
    _plain_start(vae, generator)
    sizes = _fit_encoder(vae, clips)
    _fit_decoder(vae, clips, sizes)


def _plain_start(vae: WanVae, generator: torch.Generator) -> None:
    """Residual units that do nothing yet; shortcuts that copy; everything else small."""
    for name, weight in vae.named_parameters():
        if name.endswith("gamma"):
            weight.fill_(1)
        elif name.endswith("bias") or ".residual.6." in name or ".proj." in name:
            weight.zero_()
        else:
            weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
    for unit in vae.modules():
        if isinstance(unit, Residual):
            unit.residual[2].weight[:, :, :-1] = 0
            if isinstance(unit.shortcut, CausalConv):
                unit.shortcut.weight.zero_()
                _copy(unit.shortcut.weight[:, :, -1, 0, 0])
    for conv in (vae.conv1, vae.conv2):
        conv.weight.zero_()
        _copy(conv.weight[:, :, 0, 0, 0])


def _copy(matrix: Tensor) -> None:
    """Identity on the channels both sides have; on the others what is there stays."""
    shared = min(matrix.shape)
    matrix[:shared, :shared] = torch.eye(shared)


def _fit_encoder(vae: WanVae, clips: Tensor) -> dict[str, Tensor]:
    """Block PCA level by level; returns what the encoder has before each change of size, by name."""
    encoder = vae.encoder
    encoder.conv1.weight.zero_()
    _copy(encoder.conv1.weight[:, :, -1, 1, 1])
    x, seen = encoder.conv1(clips), {}
    for index, layer in enumerate(encoder.downsamples):
        if isinstance(layer, Residual):
            x = layer.shortcut(x)
            continue
        seen[f"frames{index}"] = x
        x = _spatial_pca(layer, x)
        if layer.time_conv is not None:
            seen[f"pairs{index}"] = x
            x = _means_and_differences(layer, x)
    seen["last"] = x
    _steady_channel(encoder.downsamples[8], x)
    x = torch.cat(
        [x[:, :-1], torch.full_like(x[:, -1:], encoder.downsamples[8].time_conv.bias[-1].item())], 1
    )
    components = _Components(x[:, :-1].movedim(1, -1).flatten(0, -2), LATENT_CHANNELS)
    flat = (x[:, :-1].movedim(1, -1) - components.mean) @ components.basis / components.spread
    encoder.head[0].gamma.fill_(_GENTLE)
    _fit(encoder.head[2], encoder.head[0](x), flat.movedim(-1, 1))
    return seen


class _Components:
    """Leading principal components of rows (N, C): mean (C,), basis (C, K) and standard deviations (K,)."""

    def __init__(self, rows: Tensor, count: int):
        self.mean = rows.mean(0)
        values, vectors = torch.linalg.eigh(
            (rows - self.mean).T.double() @ (rows - self.mean).double() / len(rows)
        )
        self.basis = vectors.flip(1)[:, :count].float()
        # No component is blown up more than a thousandfold beside the first.
        self.spread = values.flip(0)[:count].clamp(min=1e-6 * values[-1].item()).sqrt().float()


def _spatial_pca(layer: Down, x: Tensor) -> Tensor:
    """Set the strided convolution to the components of 2x2 blocks."""
    conv = layer.resample[1]
    channels = x.shape[1]
    blocks = functional.pixel_unshuffle(
        x.transpose(1, 2).flatten(0, 1), 2
    )  # (BT, 4C, h, w), C outermost
    rows = blocks.movedim(1, -1).flatten(0, -2)
    rows = rows[:: max(1, len(rows) // 60_000)]
    # Around 0, not the mean: an offset is a component too, and convolutions at the border then need no bias.
    values, vectors = torch.linalg.eigh(rows.T.double() @ rows.double() / len(rows))
    basis = vectors.flip(1)[:, :channels].float()
    basis = basis * (values.flip(0)[:channels] > 1e-9)
    conv.weight.zero_()
    conv.bias.zero_()
    conv.weight[:, :, :2, :2] = basis.T.reshape(channels, channels, 2, 2)
    return torch.cat([layer.resample(frame)[:, :, None] for frame in x.unbind(2)], 2)


def _means_and_differences(layer: Down, x: Tensor) -> Tensor:
    """Most channels become the mean of two frames; the weakest make room for the strongest channels' differences."""
    channels = x.shape[1]
    kept = channels * 3 // 4
    layer.time_conv.weight.zero_()
    layer.time_conv.bias.zero_()
    taps = layer.time_conv.weight[..., 0, 0]  # (out, in, 3)
    for channel in range(kept):
        taps[channel, channel, 1:] = 0.5
    for channel in range(kept, channels - 1):
        taps[channel, channel - kept, 1], taps[channel, channel - kept, 2] = 0.5, -0.5
    return torch.cat([x[:, :, :1], layer.time_conv(x)], 2)


def _steady_channel(layer: Down, x: Tensor) -> None:
    """Make the last channel a large constant, in the first frame and in those after it."""
    size = _STEADY * x[:, :-1].square().sum(1).mean().sqrt().item()
    layer.resample[1].weight[-1], layer.resample[1].bias[-1] = 0, size
    layer.time_conv.weight[-1], layer.time_conv.bias[-1] = 0, size


def _fit_decoder(vae: WanVae, clips: Tensor, sizes: dict[str, Tensor]) -> None:
    """Least squares for every convolution of the linear path, each on what those before it really give."""
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
    decoder.head[0].gamma.fill_(_GENTLE)
    _fit(decoder.head[2], decoder.head[0](x), clips)


def _fit_doubling(layer: Up, x: Tensor, goal: Tensor) -> None:
    """`time_conv` on all frames but the first: x (B, C, 1+T, …) to goal (B, C', 1+2T, …)."""
    used, channels = goal.shape[1], x.shape[1]
    past = functional.pad(x[:, :, 1:], (0, 0, 0, 0, 2, 0))
    frames = x.shape[2] - 1
    inputs = torch.cat([past[:, :, tap : tap + frames] for tap in range(3)], 1)
    pair = goal[:, :, 1:].unflatten(2, (frames, 2))
    weight, bias = _solve(inputs, torch.cat([pair[:, :, :, 0], pair[:, :, :, 1]], 1))
    weight = weight.unflatten(1, (3, channels)).transpose(1, 2)  # (2 used, C, 3)
    layer.time_conv.weight.mul_(_SPARE)
    for half in range(2):
        rows = slice(half * channels, half * channels + used)
        layer.time_conv.weight[rows] = weight[half * used : (half + 1) * used, :, :, None, None]
        layer.time_conv.bias[rows] = bias[half * used : (half + 1) * used]


def _fit_growing(layer: Up, x: Tensor, goal: Tensor) -> Tensor:
    """The convolution after upsampling, to goal (B, C', T, 2H, 2W); with room for it, a constant channel too."""
    x = layer.double_frames(x)
    grown = functional.interpolate(
        x.transpose(1, 2).flatten(0, 1), scale_factor=2.0, mode="nearest-exact"
    )
    conv: nn.Conv2d = layer.resample[1]
    weight, bias = _solve_conv(grown, goal.transpose(1, 2).flatten(0, 1))
    used = min(goal.shape[1], conv.weight.shape[0])
    conv.weight.mul_(_SPARE)
    conv.weight[:used], conv.bias[:used] = weight[:used], bias[:used]
    if goal.shape[1] == 3:
        conv.weight[-1], conv.bias[-1] = 0, _STEADY * goal.square().sum(1).mean().sqrt()
    return conv(grown).unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def _fit(conv: CausalConv, x: Tensor, goal: Tensor) -> None:
    """The newest frame's taps of a causal convolution, from x (B, C, T, H, W) to goal (B, C', T, H, W)."""
    weight, bias = _solve_conv(x.transpose(1, 2).flatten(0, 1), goal.transpose(1, 2).flatten(0, 1))
    used = min(goal.shape[1], conv.weight.shape[0])
    conv.weight.zero_()
    conv.weight[:used, :, -1], conv.bias[:used] = weight[:used], bias[:used]


def _solve_conv(x: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """3x3 weights (C', C, 3, 3) and bias (C',) that take images x (N, C, H, W) nearest to goal (N, C', H, W)."""
    channels = x.shape[1]
    step = max(1, len(x) * x.shape[2] * x.shape[3] // 60_000)
    patches = functional.unfold(x[::step], 3, padding=1)  # (n, 9C, HW)
    weight, bias = _solve(patches, goal[::step].flatten(2))
    return weight.unflatten(1, (channels, 3, 3)), bias


def _solve(x: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression over all but dimension 1: weights (C', C) and bias (C',)."""
    rows, wanted = (value.movedim(1, -1).flatten(0, -2).double() for value in (x, goal))
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
    square = rows.T @ rows / len(rows)
    ridge = _RIDGE * square.diagonal()[:-1].mean() * torch.eye(len(square), dtype=rows.dtype)
    solved = torch.linalg.solve(square + ridge, rows.T @ wanted / len(rows)).T.float()
    return solved[:, :-1], solved[:, -1]
