"""Video files with sound as recorders and editors make it.

Any layout and order, holes, changes, several tracks.
"""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

FPS, RATE, SIZE = 24, 48000, 32
X264 = {"g": "24", "bf": "0", "x264-params": "scenecut=0"}
LOWEST, STEP = 300, 100
"""Hertz: of the tone in the first channel, and from one channel to the next."""
LEFT, RIGHT, CENTRE, LOW, LEFT_BACK, RIGHT_BACK = range(1, 7)
"""QuickTime's names for channels, kAudioChannelLabel_…."""


def grey(number: int) -> av.VideoFrame:
    """A flat picture whose level tells its number modulo 50."""
    return av.VideoFrame.from_ndarray(
        np.full((SIZE, SIZE, 3), 5 * (number % 50), np.uint8), format="rgb24"
    )


def tones(channels: int, seconds: float = 1, rate: int = RATE) -> np.ndarray:
    """float32 (channels, n), another pitch in each channel."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack(
        [0.3 * np.sin(2 * np.pi * (LOWEST + STEP * place) * time) for place in range(channels)]
    )


def pitches(samples: np.ndarray, rate: int = RATE) -> list[int]:
    """For each channel the number of the channel of `tones` that it sounds like."""
    middle = samples[:, samples.shape[1] // 4 :][:, : rate // 2]
    loudest = np.abs(np.fft.rfft(middle * np.hanning(middle.shape[1]), axis=1)).argmax(axis=1)
    return [round((float(place) * rate / middle.shape[1] - LOWEST) / STEP) for place in loudest]


def clicks(channels: int, seconds: float, rate: int = RATE) -> np.ndarray:
    """float32 (channels, n): 10 ms of 1 kHz every half second, from a quarter on."""
    time = np.arange(round(seconds * rate)) / rate
    sounding = (time % 0.5 >= 0.25) & (time % 0.5 < 0.26)
    return np.repeat((0.6 * np.sin(2 * np.pi * 1000 * time) * sounding)[None], channels, 0)


def click_times(audio: dict) -> list[float]:
    """Seconds at which clicks begin in ComfyUI AUDIO."""
    loud = np.flatnonzero(audio["waveform"][0].abs().amax(0).numpy() > 0.15) / audio["sample_rate"]
    return [
        float(time) for place, time in enumerate(loud) if place == 0 or time - loud[place - 1] > 0.1
    ]


def write(
    path: Path,
    samples: np.ndarray,
    codec: str,
    layout: str,
    rate: int = RATE,
    seconds: float | None = None,
    begin: float = 0,
    first_picture: int = 0,
    skip: int = 0,
    silent: tuple[float, float] = (0, 0),
    more: tuple[np.ndarray, ...] = (),
    default: int | None = None,
    video: str = "libx264",
) -> str:
    """Pictures and `samples`, float32 (channels, n), from `begin` seconds on.

    `skip` leaves out the first packets of the pictures, `silent` the packets of sound in between
    (from, to). `more` are further sound tracks, of which number `default` is the default one, or
    none is for -1.
    """
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(video, rate=FPS, options=X264 if video == "libx264" else {})
        pictures.width = pictures.height = SIZE
        pictures.pix_fmt = "yuv420p"
        tracks = [
            (container.add_stream(codec, rate=rate, layout=layout), sound)
            for sound in (samples, *more)
        ]
        for number, (track, _) in enumerate(tracks):
            if default is not None:
                track.disposition = Disposition.default.value if number == default else 0
        packets = _coded_pictures(
            pictures, round((seconds or samples.shape[1] / rate) * FPS), begin, first_picture
        )
        packets = packets[skip:]
        for track, sound in tracks:
            packets += [
                packet
                for packet in _coded_sound(track, sound, layout, rate, begin)
                if not silent[0] <= packet.pts * packet.time_base - Fraction(begin) < silent[1]
            ]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return str(path)


def _coded_pictures(
    stream: av.VideoStream, count: int, begin: float, first: int
) -> list[av.Packet]:
    packets = []
    for number in range(count):
        picture = grey(number)
        picture.pts = first + round(begin * FPS) + number
        packets += stream.encode(picture)
    return packets + stream.encode(None)


def _coded_sound(
    track: av.AudioStream, samples: np.ndarray, layout: str, rate: int, begin: float
) -> list[av.Packet]:
    """Packed on its way in: PyAV cannot lay out planes of 8 channels and more."""
    packets = []
    for first in range(0, samples.shape[1], 1024):
        piece = np.ascontiguousarray(samples[:, first : first + 1024].T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = (
            rate,
            round(begin * rate) + first,
            Fraction(1, rate),
        )
        packets += track.encode(frame)
    return packets + track.encode(None)


def state_order(path: str, labels: list[int]) -> str:
    """Write into a mov or mp4 what the channels of its sound are, as QuickTime does.

    The file must not be written for streaming.
    """
    data = bytearray(Path(path).read_bytes())
    body = struct.pack(">IIII", 0, 0, 0, len(labels)) + b"".join(
        struct.pack(">I16x", label) for label in labels
    )
    around = _boxes_to_sound(data)
    begin, size = around[-1]
    place, old = begin + size, 0
    if (at := data.find(b"chan", begin, begin + size)) >= 0:
        place, old = at - 4, struct.unpack_from(">I", data, at - 4)[0]
    data[place : place + old] = struct.pack(">I4s", 8 + len(body), b"chan") + body
    for at, size in around:
        struct.pack_into(">I", data, at, size + 8 + len(body) - old)
    Path(path).write_bytes(data)
    return path


def _boxes_to_sound(data: bytearray) -> list[tuple[int, int]]:
    """Place and size of the boxes around the entry of the sound, from the outermost on."""
    assert data.find(b"moov") > data.find(b"mdat"), "chunk offsets would have to move along"
    trak = next(
        box
        for box in _boxes(data, *_inside(data, b"moov"))
        if data.find(b"smhd", box[0], sum(box)) > 0 and data[box[0] + 4 : box[0] + 8] == b"trak"
    )
    found = [_inside_box(data, 0, len(data), b"moov"), trak]
    for name in (b"mdia", b"minf", b"stbl", b"stsd"):
        at, size = found[-1]
        found.append(_inside_box(data, at + 8, at + size, name))
    entry = found[-1][0] + 16
    return [*found, (entry, struct.unpack_from(">I", data, entry)[0])]


def _boxes(data: bytearray, begin: int, end: int) -> list[tuple[int, int]]:
    found = []
    while begin + 8 <= end:
        size = struct.unpack_from(">I", data, begin)[0]
        found.append((begin, size))
        begin += size
    return found


def _inside(data: bytearray, name: bytes) -> tuple[int, int]:
    at, size = _inside_box(data, 0, len(data), name)
    return at + 8, at + size


def _inside_box(data: bytearray, begin: int, end: int, name: bytes) -> tuple[int, int]:
    return next(box for box in _boxes(data, begin, end) if data[box[0] + 4 : box[0] + 8] == name)
