"""The sound of a result: the source's own packets where an mp4 takes them, AAC otherwise."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import torch

from ..errors import ClipError, needed
from .audio import audible_track, first_picture_time, skip_ahead
from .decode import opened
from .info import ClipInfo
from .source import FileSource

# What mp4 holds and players play. PCM and Vorbis fit in too, but hardly any player takes them there.
COPIED_CODECS = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}
# Packets from before the range that a decoder needs to get going; an edit list keeps them silent.
RUN_UP = Fraction(8, 100)
AAC_RATES = {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
USUAL_RATE = 48000
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
BITS_PER_CHANNEL = 128_000
CHUNK = 1 << 14
"""Samples handed to the encoder at a time."""
WARM_UP = 1 << 12
"""Samples after which FFmpeg's AAC encoder sounds right; without them the first 80 ms are muffled."""

Packets = Iterator[av.Packet]


@contextmanager
def sound_of(container: av.container.OutputContainer, info: ClipInfo, audio: dict | None) -> Iterator[Packets]:
    """Adds a track to `container` and gives its packets in order of time, for the range that `info` is about.

    `audio` is ComfyUI AUDIO. Where it is what was read from a file, and mp4 takes the file's codec, the file's
    packets are copied; a copied track ends with a whole packet, played up to the range's end. Else the audio is
    encoded, cut to the range. None gives no track. Raises ClipError for audio that cannot be encoded.
    """
    if audio is None:
        yield iter(())
    elif is_copied(info, audio):
        with _range_packets(info) as (track, packets):
            copy = container.add_stream_from_template(track)
            yield _on_stream(packets, copy)
    else:
        yield _encoded(container, audio, info.duration_seconds)


def is_copied(info: ClipInfo, audio: dict | None) -> bool:
    """Whether a result's sound is the source's packets: nothing was done to it, and an mp4 takes them."""
    if not isinstance(info.source, FileSource) or not _same(audio, info.audio):
        return False
    try:
        with _range_packets(info) as (track, packets), av.open(io.BytesIO(), "w", format="mp4") as trial:
            if track.codec_context.codec.canonical_name not in COPIED_CODECS or not packets:
                return False
            for packet in _on_stream(packets, trial.add_stream_from_template(track)):
                trial.mux(packet)
    except (av.error.FFmpegError, ClipError, ValueError):
        return False
    return True


def _same(audio: dict | None, other: dict | None) -> bool:
    if not audio or not other or audio["sample_rate"] != other["sample_rate"]:
        return False
    return audio["waveform"] is other["waveform"] or torch.equal(audio["waveform"], other["waveform"])


@contextmanager
def _range_packets(info: ClipInfo) -> Iterator[tuple[av.AudioStream, list[av.Packet]]]:
    """The track, and its packets that sound in the range, timed from the range's begin. Raises ValueError if untimed.

    The packets are valid until the context ends.
    """
    with opened(info.source.stream, info.source.name) as container:
        track = audible_track(container)
        if track is None:
            raise ValueError("no sound")
        start, rate = first_picture_time(container) + info.start_seconds, track.rate
        skip_ahead(container, track, start)
        packets = []
        for packet, time in _timed(container.demux(track), track):
            begin, length = round((time - start) * rate), round(packet.duration * track.time_base * rate)
            end = round(info.duration_seconds * rate)
            if begin >= end:
                break
            if begin + length > -RUN_UP * rate:
                packet.time_base, packet.pts, packet.dts = Fraction(1, rate), begin, begin
                packet.duration = max(1, min(length, end - begin))
                packets.append(packet)
        yield track, packets


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


def _on_stream(packets: list[av.Packet], stream: av.AudioStream) -> Packets:
    for packet in packets:
        packet.stream = stream
        yield packet


def _encoded(container: av.container.OutputContainer, audio: dict, duration: Fraction) -> Packets:
    """Adds an AAC track and gives its packets as they are encoded."""
    waveform, rate = audio["waveform"], audio["sample_rate"]
    if waveform.dim() != 3 or not waveform.shape[0] or waveform.shape[1] not in LAYOUTS:
        raise ClipError(needed("audio", f"shape {tuple(waveform.shape)}", "(1, channels, samples) with 1 to 6 or 8 "
                               "channels", "Convert it to stereo."))
    samples = torch.nan_to_num(waveform[0, :, :round(duration * rate)].float()).clamp(-1, 1).cpu().numpy()
    layout = LAYOUTS[len(samples)]
    track = container.add_stream("aac", rate=rate if rate in AAC_RATES else USUAL_RATE, layout=layout)
    track.bit_rate = BITS_PER_CHANNEL * len(samples)
    return _aac_packets(track, samples, rate, layout)


def _aac_packets(track: av.AudioStream, samples: np.ndarray, rate: int, layout: str) -> Packets:
    """Encodes `samples`, (channels, n), from time 0 on; before that, unheard, their first ones backwards."""
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=track.rate)
    warm_up = samples[:, 1:WARM_UP + 1][:, ::-1]
    samples = np.concatenate([warm_up, samples], axis=1)
    for begin in range(0, samples.shape[1], CHUNK):
        piece = np.ascontiguousarray(samples[:, begin:begin + CHUNK])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, begin - warm_up.shape[1], Fraction(1, rate)
        for resampled in resampler.resample(frame):
            yield from track.encode(resampled)
    for resampled in resampler.resample(None):
        yield from track.encode(resampled)
    yield from track.encode(None)
