"""Wan 2.1's VAE as a file: names and shapes of its tensors, and the constants of its latents."""

from ..geometry import WAN_21

Shape = tuple[int, ...]

# fmt: off
WAN_MEAN = (
    -0.7571, -0.7089, -0.9113,  0.1075, -0.1745,  0.9653, -0.1517,  1.5508,
     0.4134, -0.0715,  0.5517, -0.3632, -0.1922, -0.9497,  0.2503, -0.2921,
)
WAN_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)
# fmt: on
"""Mean and standard deviation per latent channel (wan/modules/vae.py, as in golden/vae_small)."""

LATENT_CHANNELS = WAN_21.channels
LEVELS = (1, 2, 4, 4)
"""Channels of each level, from full size down, in units of the base width."""


def vae_shapes(width: int) -> dict[str, Shape]:
    """Name and shape of every tensor of Wan 2.1's VAE at a base width (the official one has 96)."""
    inner = width * LEVELS[-1]
    return {
        **_conv("encoder.conv1", width, 3),
        **_conv("decoder.conv1", inner, LATENT_CHANNELS),
        **_downsamples(width),
        **_upsamples(width),
        **_ends("encoder", inner, last=inner, out=2 * LATENT_CHANNELS),
        **_ends("decoder", inner, last=width, out=3),
        **_conv("conv1", 2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, (1, 1, 1)),
        **_conv("conv2", LATENT_CHANNELS, LATENT_CHANNELS, (1, 1, 1)),
    }


def _downsamples(width: int) -> dict[str, Shape]:
    """Two residual units a level, then half the size and, from the second on, half the frames."""
    shapes: dict[str, Shape] = {}
    slot, channels = 0, width
    for level, out in enumerate(width * factor for factor in LEVELS):
        for _ in range(2):
            shapes |= _residual(f"encoder.downsamples.{slot}", channels, out)
            slot, channels = slot + 1, out
        if level < len(LEVELS) - 1:
            name = f"encoder.downsamples.{slot}"
            shapes |= _conv(f"{name}.resample.1", out, out, (3, 3))
            shapes |= _conv(f"{name}.time_conv", out, out, (3, 1, 1)) if level > 0 else {}
            slot += 1
    return shapes


def _upsamples(width: int) -> dict[str, Shape]:
    """Three residual units a level, then twice the size and, up to the second, twice the frames."""
    shapes: dict[str, Shape] = {}
    slot, channels = 0, width * LEVELS[-1]
    for level, out in enumerate(width * factor for factor in reversed(LEVELS)):
        for _ in range(3):
            shapes |= _residual(f"decoder.upsamples.{slot}", channels, out)
            slot, channels = slot + 1, out
        if level < len(LEVELS) - 1:
            name = f"decoder.upsamples.{slot}"
            shapes |= _conv(f"{name}.resample.1", out // 2, out, (3, 3))
            shapes |= _conv(f"{name}.time_conv", 2 * out, out, (3, 1, 1)) if level < 2 else {}
            slot, channels = slot + 1, out // 2
    return shapes


def _ends(side: str, inner: int, last: int, out: int) -> dict[str, Shape]:
    """The middle of one side, at `inner` channels, and its head, from `last` channels to `out`."""
    return {
        **_residual(f"{side}.middle.0", inner, inner),
        **_residual(f"{side}.middle.2", inner, inner),
        f"{side}.middle.1.norm.gamma": (inner, 1, 1),
        **_conv(f"{side}.middle.1.to_qkv", 3 * inner, inner, (1, 1)),
        **_conv(f"{side}.middle.1.proj", inner, inner, (1, 1)),
        f"{side}.head.0.gamma": (last, 1, 1, 1),
        **_conv(f"{side}.head.2", out, last),
    }


def _conv(name: str, out: int, into: int, kernel: Shape = (3, 3, 3)) -> dict[str, Shape]:
    return {f"{name}.weight": (out, into, *kernel), f"{name}.bias": (out,)}


def _residual(name: str, into: int, out: int) -> dict[str, Shape]:
    shapes = {
        f"{name}.residual.0.gamma": (into, 1, 1, 1),
        f"{name}.residual.3.gamma": (out, 1, 1, 1),
        **_conv(f"{name}.residual.2", out, into),
        **_conv(f"{name}.residual.6", out, out),
    }
    return shapes | (_conv(f"{name}.shortcut", out, into, (1, 1, 1)) if into != out else {})
