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
            shapes |= _resample(f"encoder.downsamples.{slot}", out, out, time=level > 0, double=False)
            slot += 1
    slot = 0
    for level, out in enumerate(reversed(levels)):
        for _ in range(3):
            shapes |= _residual(f"decoder.upsamples.{slot}", channels, out)
            slot, channels = slot + 1, out
        if level < 3:
            shapes |= _resample(f"decoder.upsamples.{slot}", out, out // 2, time=level < 2, double=True)
            slot, channels = slot + 1, out // 2
    for side, inner, out in (("encoder", levels[3], 32), ("decoder", levels[3], 3)):
        shapes |= _residual(f"{side}.middle.0", inner, inner) | _residual(f"{side}.middle.2", inner, inner)
        shapes |= {f"{side}.middle.1.norm.gamma": (inner, 1, 1)}
        shapes |= _conv(f"{side}.middle.1.to_qkv", 3 * inner, inner, (1, 1))
        shapes |= _conv(f"{side}.middle.1.proj", inner, inner, (1, 1))
        last = inner if side == "encoder" else levels[0]
        shapes |= {f"{side}.head.0.gamma": (last, 1, 1, 1)} | _conv(f"{side}.head.2", out, last)
    return shapes | _conv("conv1", 32, 32, (1, 1, 1)) | _conv("conv2", 16, 16, (1, 1, 1))


def _conv(name: str, out: int, into: int, kernel: Shape = (3, 3, 3)) -> dict[str, Shape]:
    return {f"{name}.weight": (out, into, *kernel), f"{name}.bias": (out,)}


def _residual(name: str, into: int, out: int) -> dict[str, Shape]:
    shapes = {f"{name}.residual.0.gamma": (into, 1, 1, 1), f"{name}.residual.3.gamma": (out, 1, 1, 1)}
    shapes |= _conv(f"{name}.residual.2", out, into) | _conv(f"{name}.residual.6", out, out)
    return shapes | (_conv(f"{name}.shortcut", out, into, (1, 1, 1)) if into != out else {})


def _resample(name: str, into: int, out: int, time: bool, double: bool) -> dict[str, Shape]:
    shapes = _conv(f"{name}.resample.1", out, into, (3, 3))
    return shapes | (_conv(f"{name}.time_conv", 2 * into if double else into, into, (3, 1, 1)) if time else {})
