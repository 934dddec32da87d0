"""Jobs of `clip_jobs` on the clips of a batch: frames as a film, small pictures and scores.

A clip is given as the path of a video, or as the list of its frames' paths.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    import numpy as np

SCORED_FRAMES, SCORED_WIDTH, SMALL = 49, 480, 240
"""Scores are of the first frames at most so wide; pictures in the report are so wide. Pixels."""
LINEAR = {"exr": {"apply_trc": "iec61966_2_1"}}
"""Decoders of light instead of code values, and FFmpeg's option that gives sRGB."""


def join_frames(frames: list[str], fps: str, target: str) -> dict:
    """Writes frames as a lossless film with exact times (FFV1 in NUT), 16-bit ones in 16 bits.

    Raises ValueError for a frame that cannot be read or has another size.
    """
    import av

    rate = Fraction(fps)
    first = _decode(frames[0])
    deep = max(part.bits for part in first.format.components) > 8
    form = "gbrp16le" if deep else "bgr0"
    with av.open(f"file:{target}", "w", format="nut") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, form
        for number, path in enumerate(frames):
            picture = _decode(path)
            if (picture.width, picture.height) != (first.width, first.height):
                raise ValueError(
                    f"frame {Path(path).name}: got {picture.width}x{picture.height} pixels, needs "
                    f"{first.width}x{first.height} as the first frame. Render it again."
                )
            shown = _opaque(picture, deep).reformat(format=form)
            shown.pts, shown.time_base = number, 1 / rate
            container.mux(stream.encode(shown))
        container.mux(stream.encode(None))
    return {"frames": len(frames), "width": first.width, "height": first.height, "deep": deep}


def frames_size(frames: list[str]) -> dict:
    """`width`, `height` and `frames` of a clip of frames."""
    first = _decode(frames[0])
    return {"width": first.width, "height": first.height, "frames": len(frames)}


def measure_row(source: str | list[str], edited: str | list[str], small: str) -> dict[str, Any]:
    """Writes a picture of each clip's middle and measures the edit against its source.

    `small` is the pictures' path without their ends `_before.jpg` and `_after.jpg`. Scores are
    numbers or None, see the keys below. Raises ValueError for a clip that cannot be read.
    """
    import torch

    from ...region.paste import changed_mask
    from ...scores import measure

    before, after = _first_frames(source), _first_frames(edited)
    count = min(len(before), len(after))
    for frames, end in ((before, "before"), (after, "after")):
        _write_small(frames[count // 2], Path(f"{small}_{end}.jpg"))
    was, became = (
        torch.stack([torch.from_numpy(frame) for frame in frames[:count]]).float() / 255
        for frames in (before, after)
    )
    if was.shape != became.shape or min(was.shape[1:3]) < 16:
        return {"frames": count}
    mask = changed_mask(was, became)
    found = measure(was, became, mask)
    assert found.exclusivity is not None
    return {
        "frames": count,
        "changed": _plain((mask > 0).float().mean()),
        "kept_db": _plain(found.exclusivity.outside_db),
        "flicker": _plain(found.flicker.levels),
        "motion_follow": _plain(found.motion.follow),
    }


def _plain(number: Any) -> float | None:
    """A number for JSON; None where nothing was measured."""
    value = float(number)
    return round(value, 4) if math.isfinite(value) else None


def _first_frames(clip: str | list[str]) -> "list[np.ndarray]":
    """uint8 RGB frames (H, W, 3), shrunk to SCORED_WIDTH; shrunk as they come."""
    return [_shrink(frame, SCORED_WIDTH) for frame in _frames(clip)]


def _frames(clip: str | list[str]) -> "Iterator[np.ndarray]":
    import av

    from ...clip import ClipRange, FileSource

    if isinstance(clip, str):
        yield from FileSource(clip).frames(ClipRange(frames=SCORED_FRAMES))
        return
    for path in clip[:SCORED_FRAMES]:
        picture = _decode(path)
        assert isinstance(picture, av.VideoFrame)
        yield _opaque(picture, False).to_ndarray(format="rgb24")


def _shrink(frame: "np.ndarray", width: int) -> "np.ndarray":
    import numpy as np
    from PIL import Image

    if frame.shape[1] <= width:
        return frame
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))


def _write_small(frame: "np.ndarray", path: Path) -> None:
    from PIL import Image

    from ...weights.write import whole_file

    with whole_file(path) as partial:
        Image.fromarray(_shrink(frame, SMALL)).save(partial, "JPEG", quality=82)


def _decode(path: str) -> "av.VideoFrame":
    """The picture in an image file. Raises ValueError if there is none."""
    import av

    try:
        with av.open(f"file:{path}", container_options={"pattern_type": "none"}) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = LINEAR.get(stream.codec_context.name, {})
            return next(container.decode(stream))
    except (av.error.FFmpegError, StopIteration, IndexError, OSError) as error:
        raise ValueError(
            f"frame {Path(path).name}: got a file that cannot be read as a picture, needs PNG, "
            "TIFF or EXR. Render it again."
        ) from error


def _opaque(picture: "av.VideoFrame", deep: bool) -> "av.VideoFrame":
    """The picture in RGB without alpha: what is transparent lies on black."""
    import av
    import numpy as np

    from ...clip.picture import WHITE, has_alpha, pixels_of

    if picture.format.is_rgb and not has_alpha(picture):
        return picture
    pixels = pixels_of(picture, deep)
    if not deep:
        return av.VideoFrame.from_ndarray(pixels, "rgb24")
    whole = np.round(pixels * (65535 / WHITE[pixels.dtype])).clip(0, 65535).astype(np.uint16)
    return av.VideoFrame.from_ndarray(whole, "rgb48le")
