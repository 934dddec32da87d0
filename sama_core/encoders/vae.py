"""Wan 2.1's video VAE for training: whole clips at once, any base width.

    encode   (B, 3, 4k+1, 8H, 8W) in [-1, 1] ──▶ (B, 16, k+1, H, W) mean of the latents, raw
    decode   (B, 16, k+1, H, W)              ──▶ (B, 3, 4k+1, 8H, 8W), not clamped

Names, shapes and results are those of the official VAE (`vae_layout.vae_shapes`). It reads a clip
in pieces, the first frame alone and then four at a time, and passes the last frames of each
convolution on to the next piece. All convolutions are causal, so one pass over the whole clip
gives the same numbers; `Down` and `Up` state what depends on the pieces.
Source: arXiv 2503.20314 §4.1 and the golden tensors; independent implementation.

Every residual unit has a `reach`, so that a short training computes only what it uses:
    "skip"    only the shortcut; exact while the unit's last weights are zero
    "planar"  only the newest of the three frames of a kernel; exact while the older taps are zero
    "full"    the whole unit
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .vae_layout import LATENT_CHANNELS, LEVELS

REACHES = ("skip", "planar", "full")


def normalised_silu(x: Tensor, gamma: Tensor) -> Tensor:
    """SiLU of x (B, C, …), scaled to root mean square 1 over channels, times gamma (C, 1, …)."""
    return functional.silu(_normalise(x, gamma))


def _normalise(x: Tensor, gamma: Tensor) -> Tensor:
    return functional.normalize(x, dim=1) * (x.shape[1] ** 0.5) * gamma


class Scale(nn.Module):
    """Root-mean-square norm over the channels, then SiLU."""

    activate: Callable[[Tensor, Tensor], Tensor] = staticmethod(normalised_silu)
    """Replaceable by a compiled version, for all instances."""

    def __init__(self, channels: int, dims: int = 3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, …) → the same shape."""
        return type(self).activate(x, self.gamma)


class CausalConv(nn.Conv3d):
    """A convolution that reads earlier frames, never later ones; zeros precede the first frame."""

    def __init__(self, into: int, out: int, kernel: int = 3):
        super().__init__(into, out, kernel)
        self.planar = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, T, H, W) → (B, out, T, H, W)."""
        size = self.kernel_size[0]
        if size > 1 and (self.planar or x.shape[2] == 1):
            return over_frames(x, self._newest_tap)
        return functional.conv3d(
            functional.pad(x, (0, 0, 0, 0, size - 1, 0)),
            self.weight,
            self.bias,
            padding=(0, size // 2, size // 2),
        )

    def _newest_tap(self, frames: Tensor) -> Tensor:
        """(BT, into, H, W) → (BT, out, H, W), as if all earlier frames were zero."""
        weight = self.weight[:, :, -1]
        return functional.conv2d(frames, weight, self.bias, padding=weight.shape[-1] // 2)


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
        """(B, into, T, H, W) → (B, out, T, H, W)."""
        return self.shortcut(x) if self.reach == "skip" else self.shortcut(x) + self.residual(x)


class Attention(nn.Module):
    """One head of self-attention within each frame, as a residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = Scale(channels, dims=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.reach = "full"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) → the same shape."""
        return x if self.reach == "skip" else x + over_frames(x, self._attend)

    def _attend(self, frames: Tensor) -> Tensor:
        """(BT, C, H, W) → the same shape."""
        q, k, v = (
            self.to_qkv(_normalise(frames, self.norm.gamma)).flatten(2).transpose(1, 2).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).unflatten(2, frames.shape[2:]))


class Down(nn.Module):
    """Halves height and width and, with `time`, the number of frames after the first.

    The first frame is not mixed with others. Every later output reads its two frames and the frame
    before them.
    """

    def __init__(self, channels: int, time: bool):
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2)
        )
        self.time_conv = (
            nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if time else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 1+2k, H, W) → (B, C, 1+k, H/2, W/2); without `time` all frames stay."""
        x = over_frames(x, self.resample)
        if self.time_conv is None or x.shape[2] == 1:
            return x
        return torch.cat([x[:, :, :1], self.time_conv(x)], 2)


class Up(nn.Module):
    """Doubles height and width, halves the channels and, with `time`, doubles the later frames.

    The first frame stays one frame. Later frames do not read it: zeros take its place.
    """

    def __init__(self, channels: int, time: bool):
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest-exact"),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
        )
        self.time_conv = nn.Conv3d(channels, 2 * channels, (3, 1, 1)) if time else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 1+k, H, W) → (B, C/2, 1+2k, 2H, 2W); without `time` all frames stay."""
        return over_frames(self.double_frames(x), self.resample)

    def double_frames(self, x: Tensor) -> Tensor:
        """(B, C, 1+k, H, W) → (B, C, 1+2k, H, W); without `time`, or for one frame, `x` itself.

        The first half of the channels of `time_conv` is the earlier frame of each pair.
        """
        if self.time_conv is None or x.shape[2] == 1:
            return x
        first, later = x[:, :, :1], x[:, :, 1:]
        pairs = self.time_conv(functional.pad(later, (0, 0, 0, 0, 2, 0)))
        pairs = pairs.unflatten(1, (2, x.shape[1])).movedim(1, 3)
        return torch.cat([first, pairs.flatten(2, 3)], 2)


class Encoder(nn.Module):
    """Clips → mean and log variance of the latents, before `conv1`."""

    def __init__(self, width: int):
        super().__init__()
        levels = [width * factor for factor in LEVELS]
        self.conv1 = CausalConv(3, levels[0])
        layers: list[nn.Module] = []
        channels = levels[0]
        for level, out in enumerate(levels):
            layers += [Residual(channels, out), Residual(out, out)]
            if level < len(levels) - 1:
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
        """(B, 3, 4k+1, 8H, 8W) → (B, twice the latent channels, k+1, H, W)."""
        return self.head(self.middle(self.downsamples(self.conv1(clips))))


class Decoder(nn.Module):
    """Latents, after `conv2` → clips."""

    def __init__(self, width: int):
        super().__init__()
        levels = [width * factor for factor in reversed(LEVELS)]
        channels = levels[0]
        self.conv1 = CausalConv(LATENT_CHANNELS, channels)
        self.middle = nn.Sequential(
            Residual(channels, channels), Attention(channels), Residual(channels, channels)
        )
        layers: list[nn.Module] = []
        for level, out in enumerate(levels):
            layers += [Residual(channels, out), Residual(out, out), Residual(out, out)]
            channels = out
            if level < len(levels) - 1:
                layers.append(Up(out, time=level < 2))
                channels = out // 2
        self.upsamples = nn.Sequential(*layers)
        self.head = nn.Sequential(Scale(channels), nn.Identity(), CausalConv(channels, 3))

    def forward(self, latents: Tensor) -> Tensor:
        """(B, latent channels, k+1, H, W) → (B, 3, 4k+1, 8H, 8W)."""
        return self.head(self.upsamples(self.middle(self.conv1(latents))))


class WanVae(nn.Module):
    """The whole VAE; `state_dict()` has the names and shapes of `vae_layout.vae_shapes(width)`."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.encoder, self.decoder = Encoder(width), Decoder(width)
        self.conv1 = CausalConv(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1)
        self.conv2 = CausalConv(LATENT_CHANNELS, LATENT_CHANNELS, 1)

    def encode(self, clips: Tensor) -> Tensor:
        """(B, 3, 4k+1, 8H, 8W) in [-1, 1] → (B, 16, k+1, H, W), the mean; no log variance."""
        return self.conv1(self.encoder(clips))[:, :LATENT_CHANNELS]

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 16, k+1, H, W) → (B, 3, 4k+1, 8H, 8W), not clamped."""
        return self.decoder(self.conv2(latents))

    def set_reach(self, reach: str, prefixes: Iterable[str] = ("",)) -> None:
        """Set the reach (one of REACHES) of the residual units whose names start with a prefix."""
        assert reach in REACHES, reach
        for name, unit in self.named_modules():
            if isinstance(unit, Residual | Attention) and name.startswith(tuple(prefixes)):
                unit.reach = reach
                for part in unit.modules():
                    if isinstance(part, CausalConv):
                        part.planar = reach == "planar"

    def skip_idle(self) -> None:
        """Set every residual unit to the smallest reach that its weights need.

        Exact as long as the weights do not change. The encoder of the embedded VAE becomes five
        times faster.
        """
        for name, unit in self.named_modules():
            if isinstance(unit, Residual):
                first, last, bias = (
                    unit.get_parameter(f"residual.{key}")
                    for key in ("2.weight", "6.weight", "6.bias")
                )
                if not last.any() and not bias.any():
                    self.set_reach("skip", [name])
                elif not first[:, :, :-1].any() and not last[:, :, :-1].any():
                    self.set_reach("planar", [name])


def load_wan_vae(weights: dict[str, Tensor]) -> WanVae:
    """A WanVae in float32, as wide as `weights`. Raises RuntimeError naming what does not fit."""
    vae = WanVae(weights["encoder.conv1.weight"].shape[0])
    vae.load_state_dict({name: value.float() for name, value in weights.items()})
    return vae
