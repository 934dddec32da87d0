"""Names and shapes of the tensors of Wan 2.1's VAE, at any width."""

Shape = tuple[int, ...]


def vae_shapes(width: int) -> dict[str, Shape]:
    """Name and shape of every tensor of Wan 2.1's VAE at a base width (z 16, 1-2-4-4, two blocks a level)."""
    levels = [width, 2 * width, 4 * width, 4 * width]
    shapes: dict[str, Shape] = {}
    shapes |= _conv("encoder.conv1", levels[0], 3) | _conv("decoder.conv1", levels[3], 16)
    slot, channels = 0, levels[0]
    for level, out in enumerate(levels):
        for _ in range(2):
            shapes |= _residual(f"encoder.downsamples.{slot}", channels, out)
            slot, channels = slot + 1, out
        if level < 3:
            shapes |= _resample(
                f"encoder.downsamples.{slot}", out, out, time=level > 0, double=False
            )
            slot += 1
    slot = 0
    for level, out in enumerate(reversed(levels)):
        for _ in range(3):
            shapes |= _residual(f"decoder.upsamples.{slot}", channels, out)
            slot, channels = slot + 1, out
        if level < 3:
            shapes |= _resample(
                f"decoder.upsamples.{slot}", out, out // 2, time=level < 2, double=True
            )
            slot, channels = slot + 1, out // 2
    for side, inner, out in (("encoder", levels[3], 32), ("decoder", levels[3], 3)):
        shapes |= _residual(f"{side}.middle.0", inner, inner) | _residual(
            f"{side}.middle.2", inner, inner
        )
        shapes |= {f"{side}.middle.1.norm.gamma": (inner, 1, 1)}
        shapes |= _conv(f"{side}.middle.1.to_qkv", 3 * inner, inner, (1, 1))
        shapes |= _conv(f"{side}.middle.1.proj", inner, inner, (1, 1))
        last = inner if side == "encoder" else levels[0]
        shapes |= {f"{side}.head.0.gamma": (last, 1, 1, 1)} | _conv(f"{side}.head.2", out, last)
    return shapes | _conv("conv1", 32, 32, (1, 1, 1)) | _conv("conv2", 16, 16, (1, 1, 1))


def _conv(name: str, out: int, into: int, kernel: Shape = (3, 3, 3)) -> dict[str, Shape]:
    return {f"{name}.weight": (out, into, *kernel), f"{name}.bias": (out,)}


def _residual(name: str, into: int, out: int) -> dict[str, Shape]:
    shapes = {
        f"{name}.residual.0.gamma": (into, 1, 1, 1),
        f"{name}.residual.3.gamma": (out, 1, 1, 1),
    }
    shapes |= _conv(f"{name}.residual.2", out, into) | _conv(f"{name}.residual.6", out, out)
    return shapes | (_conv(f"{name}.shortcut", out, into, (1, 1, 1)) if into != out else {})


def _resample(name: str, into: int, out: int, time: bool, double: bool) -> dict[str, Shape]:
    shapes = _conv(f"{name}.resample.1", out, into, (3, 3))
    return shapes | (
        _conv(f"{name}.time_conv", 2 * into if double else into, into, (3, 1, 1)) if time else {}
    )


# Wan 2.1's latent constants (wan/modules/vae.py; the same as in tests/golden/vae_small).
WAN_MEAN = (
    -0.7571,
    -0.7089,
    -0.9113,
    0.1075,
    -0.1745,
    0.9653,
    -0.1517,
    1.5508,
    0.4134,
    -0.0715,
    0.5517,
    -0.3632,
    -0.1922,
    -0.9497,
    0.2503,
    -0.2921,
)


WAN_STD = (
    2.8184,
    1.4541,
    2.3275,
    2.6558,
    1.2196,
    1.7708,
    2.6052,
    2.0743,
    3.2687,
    2.1526,
    2.8652,
    1.5579,
    1.6382,
    1.1253,
    2.8251,
    1.9160,
)
