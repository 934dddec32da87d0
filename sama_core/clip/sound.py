"""The sound of a result: the source's own packets where an mp4 takes them, AAC otherwise.

The sound a result can carry: as it is where a file takes it, else a stereo mix of it, else none.
"""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import torch

from ..errors import ClipError, needed
from .audio import COPIED_CODECS, LAYOUTS, audible_track, begin_of
from .decode import opened
from .info import ClipInfo
from .samples import skip_ahead
from .source import FileSource

# Packets from before the range that a decoder needs to get going; an edit list keeps them silent.
RUN_UP = Fraction(8, 100)


AAC_RATES = {
    96000,
    88200,
    64000,
    48000,
    44100,
    32000,
    24000,
    22050,
    16000,
    12000,
    11025,
    8000,
    7350,
}


USUAL_RATE = 48000


BITS_PER_CHANNEL = 128_000


CHUNK = 1 << 14
"""Samples handed to the encoder at a time."""


WARM_UP = 1 << 12
"""Samples after which FFmpeg's AAC encoder sounds right; without them the first 80 ms are muffled."""


Packets = Iterator[av.Packet]


@contextmanager
def sound_of(
    container: av.container.OutputContainer, info: ClipInfo, audio: dict | None
) -> Iterator[Packets]:
    """Adds a track to `container` and gives its packets in order of time, for the range that `info` is about.

    `audio` is ComfyUI AUDIO. Where it is what was read from a file, and mp4 takes the file's codec, the file's
    packets are copied; a copied track ends with a whole packet, played up to the range's end. Else the audio is
    encoded, cut to the range. None gives no track. Raises ClipError for audio that cannot be encoded.
    """
    if audio is None:
        yield iter(())
        return
    with _copy(info, audio) as copy:
        yield (
            _encoded(container, audio, info.duration_seconds)
            if copy is None
            else copy.on(container)
        )


def is_copied(info: ClipInfo, audio: dict | None) -> bool:
    """Whether a result's sound is the source's packets: nothing was done to it, and an mp4 takes them."""
    with _copy(info, audio) as copy:
        return copy is not None


@dataclass(frozen=True)
class _Copy:
    """A track of an open file, and what of it sounds in a range."""

    track: av.AudioStream
    packets: list[tuple[av.Packet, int, int]]
    "Packets, in samples of the track: when they begin in the range, and how long they last."

    def on(self, container: av.container.OutputContainer) -> Packets:
        """Adds the track to `container` and gives the packets."""
        return self._packets(container.add_stream_from_template(self.track))

    def _packets(self, stream: av.AudioStream) -> Packets:
        for packet, begin, length in self.packets:
            packet.stream, packet.time_base = stream, Fraction(1, self.track.rate)
            packet.pts = packet.dts = begin
            packet.duration = length
            yield packet


@contextmanager
def _copy(info: ClipInfo, audio: dict | None) -> Iterator[_Copy | None]:
    """The source's sound, valid in this context, if it is `audio`, of one form, and a trial shows that mp4 takes it."""
    with ExitStack() as files:
        copy = None
        own = isinstance(info.source, FileSource) and _same(audio, info.audio)
        if own and info.source.is_unchanged() and _is_uniform(info):
            with suppress(av.error.FFmpegError, ClipError, ValueError):
                copy = _tried(
                    _range_packets(
                        files.enter_context(opened(info.source.stream, info.source.name)), info
                    )
                )
        yield copy


def _tried(copy: _Copy) -> _Copy | None:
    """`copy` if an mp4 can be made of it; raises FFmpegError or ValueError, or gives None, if not."""
    if copy.track.codec_context.codec.canonical_name not in COPIED_CODECS or not copy.packets:
        return None
    with av.open(io.BytesIO(), "w", format="mp4") as trial:
        for packet in copy.on(trial):
            trial.mux(packet)
    return copy


def _same(audio: dict | None, other: dict | None) -> bool:
    if not audio or not other or audio["sample_rate"] != other["sample_rate"]:
        return False
    return audio["waveform"] is other["waveform"] or torch.equal(
        audio["waveform"], other["waveform"]
    )


def _is_uniform(info: ClipInfo) -> bool:
    """An mp4 describes a track once: what changes its rate or layout inside cannot be copied."""
    if info.sound_is_uniform is None:
        return info.source.sound(info.start_seconds, info.duration_seconds).uniform
    return info.sound_is_uniform


def _range_packets(container: av.container.InputContainer, info: ClipInfo) -> _Copy:
    """The track, and its packets that sound in the range. Raises ValueError if it has none, or they are untimed."""
    track = audible_track(container)
    if track is None:
        raise ValueError("no sound")
    start, rate = begin_of(container, info.source.origin) + info.start_seconds, track.rate
    skip_ahead(container, track, start)
    packets, end = [], round(info.duration_seconds * rate)
    for packet, time in _timed(container.demux(track), track):
        begin, length = (
            round((time - start) * rate),
            round(packet.duration * track.time_base * rate),
        )
        if begin >= end:
            break
        if begin + length > -RUN_UP * rate:
            packets.append((packet, begin, max(1, min(length, end - begin))))
    return _Copy(track, packets)


def _timed(packets: Packets, track: av.AudioStream) -> Iterator[tuple[av.Packet, Fraction]]:
    """Packets with their times in seconds, to the sample where the file's clock is coarser (matroska, MPEG-TS).

    Packets of one length follow each other without gaps, usually from 0 on; that is believed as long as the stated
    times agree to a tick.
    """
    step, tick = Fraction(track.codec_context.frame_size, track.rate), track.time_base
    first, number = None, 0
    for packet in packets:
        if not packet.size:
            continue
        if packet.pts is None:
            raise ValueError("packets without times")
        stated = packet.pts * tick
        if first is None or abs(first + number * step - stated) > tick:
            whole = round(stated / step) * step if step else stated
            first, number = whole if abs(whole - stated) < tick else stated, 0
        yield packet, first + number * step
        number += 1


def _encoded(container: av.container.OutputContainer, audio: dict, duration: Fraction) -> Packets:
    """Adds an AAC track and gives its packets as they are encoded."""
    waveform, rate = audio["waveform"], audio["sample_rate"]
    if waveform.dim() != 3 or not waveform.shape[0] or waveform.shape[1] not in LAYOUTS:
        raise ClipError(
            needed(
                "audio",
                f"shape {tuple(waveform.shape)}",
                "(1, channels, samples) with 1 to 6 or 8 channels",
                "Convert it to stereo.",
            )
        )
    samples = (
        torch.nan_to_num(waveform[0, :, : round(duration * rate)].float())
        .clamp(-1, 1)
        .cpu()
        .numpy()
    )
    layout = LAYOUTS[len(samples)]
    track = container.add_stream(
        "aac", rate=rate if rate in AAC_RATES else USUAL_RATE, layout=layout
    )
    track.bit_rate = BITS_PER_CHANNEL * len(samples)
    return _aac_packets(track, samples, rate, layout)


def _aac_packets(track: av.AudioStream, samples: np.ndarray, rate: int, layout: str) -> Packets:
    """Encodes `samples`, (channels, n), from time 0 on; before that, unheard, their first ones backwards."""
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=track.rate)
    warm_up = samples[:, 1 : WARM_UP + 1][:, ::-1]
    samples = np.concatenate([warm_up, samples], axis=1)
    for begin in range(0, samples.shape[1], CHUNK):
        # Packed: PyAV lays planes of 8 channels beyond the end of the frame.
        piece = np.ascontiguousarray(samples[:, begin : begin + CHUNK].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = (
            rate,
            begin - warm_up.shape[1],
            Fraction(1, rate),
        )
        for resampled in resampler.resample(frame):
            yield from track.encode(resampled)
    for resampled in resampler.resample(None):
        yield from track.encode(resampled)
    yield from track.encode(None)


def fitting_sound(info: ClipInfo, audio: dict | None) -> tuple[dict | None, str | None]:
    """ComfyUI AUDIO → (AUDIO that a video file takes, or None; what the artist should know, or None).

    AAC has no layout for some channel counts, 7 among them. A copied track keeps all of its channels. What is no
    AUDIO at all is left out: by the time it is seen, the edit is made, and must not be lost to it.
    """
    if audio is None:
        return None, None
    wrong = _why_not_sound(audio)
    if wrong:
        return None, f"The sound is left out, because it has {wrong}. The video is silent."
    audio = {**audio, "sample_rate": int(audio["sample_rate"])}
    channels = audio["waveform"].shape[1]
    if channels in LAYOUTS or is_copied(info, audio):
        return audio, None
    return _in_stereo(audio), (
        f"The sound has {channels} channels, which no video file takes: the result gets a "
        "stereo mix of it."
    )


def _why_not_sound(audio: dict) -> str | None:
    """What keeps `audio` from being ComfyUI AUDIO: float (batch, channels, samples) and a rate."""
    if not hasattr(audio, "get"):
        return f"the form {type(audio).__name__}"
    waveform, rate = audio.get("waveform"), audio.get("sample_rate")
    if not isinstance(waveform, torch.Tensor):
        return "no waveform"
    if waveform.dim() != 3 or not waveform.shape[0] or not waveform.shape[1]:
        return f"the shape {tuple(waveform.shape)} instead of (1, channels, samples)"
    try:
        return None if int(rate) >= 1 else f"the sample rate {rate}"
    except (TypeError, ValueError, OverflowError):
        return f"the sample rate {rate}"


def _in_stereo(audio: dict) -> dict:
    """Left and right lead every usual order of three and more channels; all others are heard in the middle."""
    waveform = audio["waveform"].float()
    middle = waveform[:, 2:].mean(dim=1, keepdim=True)
    return {**audio, "waveform": (waveform[:, :2] + middle) / 2}
