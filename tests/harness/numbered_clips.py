"""Clips whose every picture carries its number.

Eight squares in the top row, white is 1, the highest bit left.
"""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SQUARE, WIDTH, HEIGHT = 8, 64, 48
CLOSED = {"crf": "4", "g": "12", "bf": "0", "sc_threshold": "0"}


def numbered_picture(number: int) -> np.ndarray:
    """uint8 (HEIGHT, WIDTH, 3): the number over four colours, so that turned pictures differ."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    bits = [number >> place & 1 for place in range(7, -1, -1)]
    picture[:SQUARE] = np.repeat(bits, SQUARE)[None, :, None] * 255
    picture[16:32, :32], picture[16:32, 32:], picture[32:, :32], picture[32:, 32:] = (
        (200, 30, 30),
        (30, 200, 30),
        (30, 30, 200),
        (180, 180, 30),
    )
    return picture


def number_in(picture: np.ndarray) -> int:
    """The number in an upright picture of any type.

    White is above half of what is brightest in it.
    """
    pixels = np.asarray(picture).astype(float)
    row = pixels[SQUARE // 2, SQUARE // 2 :: SQUARE].mean(-1) > pixels.max() / 2
    return sum(int(bit) << place for place, bit in zip(range(7, -1, -1), row, strict=True))


def write_numbered(
    path: Path,
    stamps: Sequence[int],
    clock: int = 1000,
    codec: str = "libx264",
    options: dict | None = None,
    rate: Fraction | int = 24,
    dropped: Iterable[int] = (),
) -> str:
    """One picture for each stamp, in ticks of `clock`; packets with the numbers `dropped` are left
    out.

    Equal stamps are written where the container takes them, as matroska does.
    """
    dropped = set(dropped)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=rate, options=CLOSED if options is None else options
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, clock)
        for packet in _encode(stream, len(stamps), clock):
            if packet.pts in dropped:
                continue
            time = stamps[packet.pts]
            packet.pts, packet.dts = (
                time,
                None if options and options.get("bf") not in (None, "0") else time,
            )
            packet.time_base, packet.duration = Fraction(1, clock), 0
            container.mux(packet)
    return str(path)


def _encode(stream: av.VideoStream, count: int, clock: int):
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, clock)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def restamp_matroska(path: str, stamp: int, wrong: int) -> None:
    """Replace a packet's time by `wrong` (ms) in a file of one track and one cluster."""
    data = bytearray(Path(path).read_bytes())
    places = [
        place
        for place in range(len(data))
        if data[place : place + 3] == b"\x81" + struct.pack(">h", stamp)
        and data[place + 3] in (0, 0x80)
    ]
    assert len(places) == 1, places
    data[places[0] + 1 : places[0] + 3] = struct.pack(">h", wrong)
    Path(path).write_bytes(data)
