"""Wan 2.1's video VAE for training: whole clips at once, any base width.

    encode   (B, 3, 4k+1, 8H, 8W) in [-1, 1] ──▶ (B, 16, k+1, H, W) mean of the latents, raw
    decode   (B, 16, k+1, H, W)              ──▶ (B, 3, 4k+1, 8H, 8W), not clamped

Names, shapes and results are the official VAE's (`wan_vae_layout.vae_shapes`), which reads a clip in pieces and
carries the convolutions' last frames along: the first frame alone, then four at a time. Every convolution looks back
only, so one pass over the whole clip gives the same numbers; what the pieces decide is written out in `Down` and `Up`.
Source: arXiv 2503.20314 §4.1 and the golden tensors; independent implementation.

Every residual unit has a `reach`, so that a short training need not pay for what it does not use yet:
    "skip"    only the shortcut; equals the layout while the unit's last weights are zero
    "planar"  only the newest of the three frames a kernel sees; equals the layout while the older taps are zero
    "full"    the layout itself
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

LATENT_CHANNELS = 16
REACHES = ("skip", "planar", "full")
_LEVELS = (1, 2, 4, 4)


def normalised_silu(x: Tensor, gamma: Tensor) -> Tensor:
    """SiLU of x (B, C, ...) scaled to root mean square 1 over its channels, times gamma (C, 1, ...)."""
    return functional.silu(_normalise(x, gamma))


def _normalise(x: Tensor, gamma: Tensor) -> Tensor:
    return functional.normalize(x, dim=1) * (x.shape[1] ** 0.5) * gamma


class Scale(nn.Module):
    """Root-mean-square norm over the channels, and SiLU. `activate` may be replaced by a compiled version."""

    activate: Callable[[Tensor, Tensor], Tensor] = staticmethod(normalised_silu)

    def __init__(self, channels: int, dims: int = 3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

    def forward(self, x: Tensor) -> Tensor:
        return type(self).activate(x, self.gamma)


class CausalConv(nn.Conv3d):
    """A convolution that sees the frames before, never those after; before the first frame there are zeros."""

    def __init__(self, into: int, out: int, kernel: int = 3):
        super().__init__(into, out, kernel)
        self.planar = False

    def forward(self, x: Tensor) -> Tensor:
        size = self.kernel_size[0]
        if size > 1 and (self.planar or x.shape[2] == 1):
            return over_frames(
                x,
                lambda flat: functional.conv2d(
                    flat, self.weight[:, :, -1], self.bias, padding=size // 2
                ),
            )
        return functional.conv3d(
            functional.pad(x, (0, 0, 0, 0, size - 1, 0)),
            self.weight,
            self.bias,
            padding=(0, size // 2, size // 2),
        )


def over_frames(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """`change` applied to the frames of x (B, C, T, H, W) as one batch of images (BT, C, H, W)."""
    flat = change(x.transpose(1, 2).flatten(0, 1))
    return flat.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


class Residual(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, into: int, out: int):
        super().__init__()
        self.residual = nn.Sequential(
            Scale(into),
            nn.Identity(),
            CausalConv(into, out),
            Scale(out),
            nn.Identity(),
            nn.Identity(),
            CausalConv(out, out),
        )
        self.shortcut = CausalConv(into, out, 1) if into != out else nn.Identity()
        self.reach = "full"

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) if self.reach == "skip" else self.shortcut(x) + self.residual(x)


class Attention(nn.Module):
    """One head of self-attention within each frame."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = Scale(channels, dims=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.reach = "full"

    def forward(self, x: Tensor) -> Tensor:
        return x if self.reach == "skip" else x + over_frames(x, self._attend)

    def _attend(self, frames: Tensor) -> Tensor:
        """(BT, C, H, W) → the same."""
        q, k, v = (
            self.to_qkv(_normalise(frames, self.norm.gamma)).flatten(2).transpose(1, 2).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).unflatten(2, frames.shape[2:]))


class Down(nn.Module):
    """Half the height and width and, with `time`, half the frames after the first.

    The first frame is not mixed with any other. Each later result sees its two frames and the one before them.
    """

    def __init__(self, channels: int, time: bool):
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2)
        )
        if time:
            self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = over_frames(x, self.resample)
        if not hasattr(self, "time_conv") or x.shape[2] == 1:
            return x
        return torch.cat([x[:, :, :1], self.time_conv(x)], 2)


class Up(nn.Module):
    """Twice the height and width, half the channels and, with `time`, two frames for each after the first.

    The first frame is passed on and is not seen by those after it: for them zeros stand in its place.
    """

    def __init__(self, channels: int, time: bool):
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest-exact"),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
        )
        if time:
            self.time_conv = nn.Conv3d(channels, 2 * channels, (3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "time_conv") and x.shape[2] > 1:
            x = torch.cat([x[:, :, :1], self._double(x[:, :, 1:])], 2)
        return over_frames(x, self.resample)

    def _double(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C, 2T, H, W): the first half of the channels is the earlier frame of each pair."""
        pair = self.time_conv(functional.pad(x, (0, 0, 0, 0, 2, 0))).unflatten(1, (2, x.shape[1]))
        return pair.movedim(1, 3).flatten(2, 3)


class Encoder(nn.Module):
    """Clips to twice the latent channels (mean and log variance before `conv1`)."""

    def __init__(self, width: int):
        super().__init__()
        levels = [width * factor for factor in _LEVELS]
        self.conv1 = CausalConv(3, levels[0])
        layers, channels = [], levels[0]
        for level, out in enumerate(levels):
            layers += [Residual(channels, out), Residual(out, out)]
            if level < 3:
                layers.append(Down(out, time=level > 0))
            channels = out
        self.downsamples = nn.Sequential(*layers)
        self.middle = nn.Sequential(
            Residual(channels, channels), Attention(channels), Residual(channels, channels)
        )
        self.head = nn.Sequential(
            Scale(channels), nn.Identity(), CausalConv(channels, 2 * LATENT_CHANNELS)
        )

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.middle(self.downsamples(self.conv1(clips))))


class Decoder(nn.Module):
    """Latents (after `conv2`) to clips."""

    def __init__(self, width: int):
        super().__init__()
        levels = [width * factor for factor in reversed(_LEVELS)]
        channels = levels[0]
        self.conv1 = CausalConv(LATENT_CHANNELS, channels)
        self.middle = nn.Sequential(
            Residual(channels, channels), Attention(channels), Residual(channels, channels)
        )
        layers = []
        for level, out in enumerate(levels):
            layers += [Residual(channels, out), Residual(out, out), Residual(out, out)]
            channels = out
            if level < 3:
                layers.append(Up(out, time=level < 2))
                channels = out // 2
        self.upsamples = nn.Sequential(*layers)
        self.head = nn.Sequential(Scale(channels), nn.Identity(), CausalConv(channels, 3))

    def forward(self, latents: Tensor) -> Tensor:
        return self.head(self.upsamples(self.middle(self.conv1(latents))))


class WanVae(nn.Module):
    """The whole VAE; `state_dict()` has exactly the names and shapes of `wan_vae_layout.vae_shapes(width)`."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.encoder, self.decoder = Encoder(width), Decoder(width)
        self.conv1 = CausalConv(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1)
        self.conv2 = CausalConv(LATENT_CHANNELS, LATENT_CHANNELS, 1)

    def encode(self, clips: Tensor) -> Tensor:
        """(B, 3, 4k+1, 8H, 8W) in [-1, 1] → (B, 16, k+1, H, W), the mean; the log variance is dropped."""
        return self.conv1(self.encoder(clips))[:, :LATENT_CHANNELS]

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 16, k+1, H, W) → (B, 3, 4k+1, 8H, 8W)."""
        return self.decoder(self.conv2(latents))

    def set_reach(self, reach: str, prefixes: Iterable[str] = ("",)) -> None:
        """Give every residual unit whose name starts with one of `prefixes` this reach (see the head of the file)."""
        assert reach in REACHES, reach
        for name, unit in self.named_modules():
            if isinstance(unit, Residual | Attention) and name.startswith(tuple(prefixes)):
                unit.reach = reach
                for part in unit.modules():
                    if isinstance(part, CausalConv):
                        part.planar = reach == "planar"

    def skip_idle(self) -> None:
        """Give every residual unit the least reach that its weights need. Exact, and it stays so while they do not
        change; the embedded VAE's encoder gets five times faster.
        """
        for name, unit in self.named_modules():
            if isinstance(unit, Residual):
                first, last = unit.residual[2], unit.residual[6]
                taps = torch.cat(
                    [first.weight[:, :, :-1].flatten(), last.weight[:, :, :-1].flatten()]
                )
                if not last.weight.any() and not last.bias.any():
                    self.set_reach("skip", [name])
                elif not taps.any():
                    self.set_reach("planar", [name])


def load_wan_vae(weights: dict[str, Tensor]) -> WanVae:
    """A WanVae of the width that `weights` have. Raises RuntimeError naming what does not fit."""
    vae = WanVae(weights["encoder.conv1.weight"].shape[0])
    vae.load_state_dict({name: value.float() for name, value in weights.items()})
    return vae
