"""Writing pictures as they come: an H.264 mp4 to look at, and sound alone.

The results of edits are written by `save`, which gives the source's form back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from .colours import BT601_COLOURS, BT709_COLOURS, HD_HEIGHT, ToYuv, tag_encoder
from .save import ALIKE, TAGS, SoundTrack, check_size, complete_or_absent
from .sound_pieces import SoundPieces

CLOCK = 90_000
"""Ticks per second of the pictures' times."""
MP4 = {"movflags": f"{TAGS}+faststart"}


@dataclass(frozen=True)
class Look:
    """How a film is encoded."""

    crf: float
    """Constant rate factor of H.264; lower is better and larger."""
    preset: str
    """x264's."""
    keyframes: int = 250
    """A picture that stands alone comes at least this often; few make jumping in the film slow."""
    quick: bool = False
    """Leave out what makes decoding slow; the file is a tenth larger."""

    def options(self) -> dict[str, str]:
        """x264's."""
        given = {"crf": f"{self.crf:g}", "preset": self.preset, "g": str(self.keyframes), **ALIKE}
        return given | ({"tune": "fastdecode"} if self.quick else {})


PLAYER = Look(crf=12, preset="veryfast", keyframes=12, quick=True)
"""For the player: every frame is reached at once, and coding changes levels by one or two."""
KEPT = Look(crf=14, preset="faster")
"""For a film that is kept: looks like what was encoded."""


def write_film(
    path: Path,
    pictures: Iterable[tuple[Fraction, np.ndarray]],
    fps: Fraction,
    look: Look,
    sound: SoundPieces | None = None,
    duration: Fraction | None = None,
) -> None:
    """Write (time in seconds, uint8 (H, W, 3) with even sides) as H.264 4:2:0, with sound as AAC.

    Times rise from 0. `duration`, in seconds, is the film's: it ends the last picture, which else
    is shown for 1 / `fps`. The file appears whole or not at all. Raises ClipError where it cannot
    be written, and what the pictures raise.
    """
    with (
        complete_or_absent(path) as unfinished,
        av.open(str(unfinished), "w", format="mp4", options=MP4) as container,
    ):
        stream, to_yuv, track = None, None, SoundTrack(iter(()), is_mp4=True)
        for time, pixels in pictures:
            if stream is None or to_yuv is None:
                stream, to_yuv = _open_stream(container, pixels, fps, look)
                if sound is not None:
                    track = SoundTrack(sound.encode(container), is_mp4=True)
            picture = to_yuv(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24"))
            picture.pts, picture.time_base = round(time * CLOCK), Fraction(1, CLOCK)
            _mux(container, stream.encode(picture), fps, duration)
            container.mux(track.until(time))
        if stream is not None:
            _mux(container, stream.encode(None), fps, duration)
            container.mux(track.until(None))


def write_sound(path: Path, sound: SoundPieces) -> None:
    """Write sound as an mp4 without pictures. Raises ClipError where it cannot be written."""
    with (
        complete_or_absent(path) as unfinished,
        av.open(str(unfinished), "w", format="mp4", options=MP4) as container,
    ):
        for packet in sound.encode(container):
            container.mux(packet)


def _open_stream(
    container: av.container.OutputContainer, pixels: np.ndarray, fps: Fraction, look: Look
) -> tuple[av.VideoStream, ToYuv]:
    """A stream for pictures like `pixels`, and what converts them."""
    height, width = pixels.shape[:2]
    check_size(width, height)
    stream = container.add_stream(
        "libx264", rate=fps.limit_denominator(100_000), options=look.options()
    )
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    colours = BT709_COLOURS if height >= HD_HEIGHT else BT601_COLOURS
    context = stream.codec_context
    context.time_base = Fraction(1, CLOCK)
    context.max_b_frames = 0
    tag_encoder(context, colours)
    return stream, ToYuv("yuv420p", colours)


def _mux(
    container: av.container.OutputContainer,
    packets: Iterable[av.Packet],
    fps: Fraction,
    duration: Fraction | None,
) -> None:
    """Write packets; the length of the last one is not given by a following one."""
    for packet in packets:
        rest = None if duration is None else round(duration * CLOCK) - (packet.pts or 0)
        packet.duration = rest or round(CLOCK / fps)
        container.mux(packet)
