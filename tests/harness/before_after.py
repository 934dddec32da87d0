"""Makes the moving picture of the README: source and edit side by side, as an animated WebP.

    python3 run.py edit --instruction "make the circle red" --out edit.mp4
    python -m tests.harness.before_after workflows/moving_shapes.mp4 edit.mp4 \\
        docs/moving_shapes.webp

Run from the repository root. Left is the source, right the edit; nothing is drawn into them.
"""

import argparse
from pathlib import Path

import av
from PIL import Image

GAP = 8
QUALITY = 80


def read_frames(path: Path) -> tuple[list[Image.Image], float]:
    """All frames of a clip, and its frames per second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_image() for frame in container.decode(stream)]
        return frames, float(stream.average_rate)


def place_side_by_side(source: Image.Image, edit: Image.Image) -> Image.Image:
    """One picture of both, with a white gap between them."""
    pair = Image.new("RGB", (source.width + GAP + edit.width, source.height), "white")
    pair.paste(source, (0, 0))
    pair.paste(edit, (source.width + GAP, 0))
    return pair


def write_before_after(source: Path, edit: Path, target: Path) -> None:
    """Write the animation, which plays forward and back. Raises ValueError if the clips differ."""
    before, rate = read_frames(source)
    after, _ = read_frames(edit)
    pairs = [place_side_by_side(*pair) for pair in zip(before, after, strict=True)]
    pairs += pairs[-2:0:-1]
    pairs[0].save(
        target,
        save_all=True,
        append_images=pairs[1:],
        duration=round(1000 / rate),
        loop=0,
        quality=QUALITY,
        method=6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("source", "edit", "target"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    write_before_after(given.source, given.edit, given.target)


if __name__ == "__main__":
    main()
