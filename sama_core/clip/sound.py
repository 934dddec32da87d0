"""The sound of a result: the source's own packets where they can be copied, AAC otherwise.

An mp4 takes the packets of most codecs. They are copied if nothing was done to the sound; else the
audio is encoded, as a stereo mix where AAC has no layout for its channels. What is no audio at all
is left out, and of a batch of sounds the first is taken; a remark says so. This is noticed only
after the edit, which must not be lost for that reason.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import av
import numpy as np
import torch
from torch import Tensor

from ..errors import ClipError, needed
from .audio import LAYOUTS
from .info import ClipInfo
from .packets import Packets, TrackPackets

AAC_RATES = {
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
}  # fmt: skip
USUAL_RATE = 48000
"""Samples per second of the AAC track, for audio of another rate than `AAC_RATES`."""
BITS_PER_CHANNEL = 128_000
CHUNK = 1 << 14
"""Samples handed to the encoder at a time."""
WARM_UP = 1 << 12
"""Samples after which FFmpeg's AAC encoder sounds right; without them 80 ms are muffled."""


@dataclass(frozen=True)
class ResultSound:
    """What a result sounds like, as `open_sound` chose it."""

    packets: TrackPackets | None
    """The source's packets, to be copied; None if the audio is encoded, or there is none."""
    audio: dict | None
    """ComfyUI AUDIO that a video file takes; None for a silent result."""
    remark: str | None
    """What the artist should know about it; None if there is nothing."""

    def add_to(self, container: av.container.OutputContainer, duration: Fraction) -> Packets:
        """Add a track to `container` and give its packets in order of time, for `duration` seconds.

        A copied track ends with a whole packet, played up to the end. Raises ClipError for audio
        that cannot be encoded.
        """
        if self.packets is not None:
            return self.packets.add_to(container)
        return iter(()) if self.audio is None else encode_audio(container, self.audio, duration)


@contextmanager
def open_sound(info: ClipInfo, audio: dict | None) -> Iterator[ResultSound]:
    """The sound of a result for the range of `info`, valid in this context; opens a file once.

    `audio` is ComfyUI AUDIO. Where it is what was read from the source, and an mp4 takes the
    source's packets, they are copied. Copied tracks keep all channels; of other audio with 7 or
    more than 8 channels a stereo mix is made.
    """
    usable, remark = _check_audio(audio)
    with _open_packets(info, usable) as packets:
        if packets is None and usable is not None and not _has_layout(usable):
            mixed = (
                f"The sound has {usable['waveform'].shape[1]} channels, which no video file takes: "
                "the result gets a stereo mix of it."
            )
            remark = f"{remark} {mixed}" if remark else mixed
            usable = _mix_to_stereo(usable)
        yield ResultSound(packets, usable, remark)


def fitting_sound(info: ClipInfo, audio: dict | None) -> tuple[dict | None, str | None]:
    """`audio` and `remark` of `ResultSound`; opens a file only where the answer depends on it."""
    usable, remark = _check_audio(audio)
    if usable is None or _has_layout(usable):
        return usable, remark
    with open_sound(info, audio) as sound:
        return sound.audio, sound.remark


@contextmanager
def _open_packets(info: ClipInfo, audio: dict | None) -> Iterator[TrackPackets | None]:
    """The source's packets, if its sound is `audio`, it is still the same clip, and of one form."""
    source = info.source
    if not _is_same(audio, info.audio) or not source.is_unchanged() or not _is_uniform(info):
        yield None
        return
    with source.packets(info.start_seconds, info.duration_seconds) as packets:
        yield packets


def _is_same(audio: dict | None, other: dict | None) -> bool:
    """Whether both are AUDIO of the same samples."""
    if not audio or not other or audio["sample_rate"] != other["sample_rate"]:
        return False
    waveform, others = audio["waveform"], other["waveform"]
    return waveform is others or torch.equal(waveform, others)


def _is_uniform(info: ClipInfo) -> bool:
    """Whether the sound keeps its rate and layout: an mp4 describes a track only once."""
    if info.sound_is_uniform is None:
        return info.source.sound(info.start_seconds, info.duration_seconds).uniform
    return info.sound_is_uniform


def _check_audio(audio: dict | None) -> tuple[dict | None, str | None]:
    """AUDIO (1, channels, samples) with a whole sample rate, or None; and what is left out, if
    anything is.
    """
    if audio is None:
        return None, None
    wrong = _why_not_sound(audio)
    if wrong:
        return None, f"The sound is left out, because it has {wrong}. The video is silent."
    usable = {**audio, "sample_rate": int(audio["sample_rate"])}
    count = len(audio["waveform"])
    if count == 1:
        return usable, None
    remark = f"The sound is a batch of {count}, and a video has one: the result gets the first."
    return {**usable, "waveform": audio["waveform"][:1]}, remark


def _why_not_sound(audio: dict) -> str | None:
    """What keeps `audio` from being ComfyUI AUDIO: float (batch, channels, samples) and a rate."""
    if not hasattr(audio, "get"):
        return f"the form {type(audio).__name__}"
    waveform, rate = audio.get("waveform"), audio.get("sample_rate")
    if not isinstance(waveform, Tensor):
        return "no waveform"
    if waveform.dim() != 3 or not waveform.shape[0] or not waveform.shape[1]:
        return f"the shape {tuple(waveform.shape)} instead of (1, channels, samples)"
    try:
        return None if rate is not None and int(rate) >= 1 else f"the sample rate {rate}"
    except (TypeError, ValueError, OverflowError):
        return f"the sample rate {rate}"


def _has_layout(audio: dict) -> bool:
    """Whether AAC has a layout for so many channels."""
    return audio["waveform"].shape[1] in LAYOUTS


def encodable(audio: dict | None) -> dict | None:
    """`audio` as `encode_audio` takes it, a stereo mix where needed; None where it is no sound."""
    usable, _ = _check_audio(audio)
    return usable if usable is None or _has_layout(usable) else _mix_to_stereo(usable)


def _mix_to_stereo(audio: dict) -> dict:
    """AUDIO with left and right alone, see `mix_to_stereo`."""
    samples = audio["waveform"].float().cpu().movedim(1, -1).numpy()
    return {**audio, "waveform": torch.from_numpy(mix_to_stereo(samples)).movedim(-1, 1)}


def mix_to_stereo(samples: np.ndarray) -> np.ndarray:
    """Samples (…, channels) → (…, 2): left and right lead every usual order of channels, and the
    others come from the middle.
    """
    return (samples[..., :2] + samples[..., 2:].mean(-1, keepdims=True)) / 2


def encode_audio(
    container: av.container.OutputContainer, audio: dict, duration: Fraction
) -> Packets:
    """Add an AAC track and give its packets as they are encoded."""
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
    waveform = waveform[0, :, : round(duration * rate)]
    pieces = (piece.T.numpy() for piece in waveform.float().cpu().split(CHUNK, dim=1))
    return encode_pieces(container, pieces, rate, len(waveform))


def encode_pieces(
    container: av.container.OutputContainer, pieces: Iterable[np.ndarray], rate: int, channels: int
) -> Packets:
    """Add an AAC track for samples, float (n, channels) one after the other, and give its packets.

    Each is made when it is asked for. `channels` are 1 to 6 or 8.
    """
    layout = LAYOUTS[channels]
    track = container.add_stream(
        "aac", rate=rate if rate in AAC_RATES else USUAL_RATE, layout=layout
    )
    track.bit_rate = BITS_PER_CHANNEL * channels
    return _aac_packets(track, map(_tidy, pieces), rate, layout)


def _tidy(samples: np.ndarray) -> np.ndarray:
    """Samples as numbers from -1 to 1."""
    return np.nan_to_num(samples.astype(np.float32), posinf=1, neginf=-1).clip(-1, 1)


def _aac_packets(
    track: av.AudioStream, pieces: Iterator[np.ndarray], rate: int, layout: str
) -> Packets:
    """Encode pieces (n, channels) from time 0 on.

    Before that, unheard, their first samples run backwards, to warm up the encoder.
    """
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=track.rate)
    blocks = _blocks(pieces, WARM_UP + 1)
    first = next(blocks, None)
    if first is None:
        return
    warm_up = first[1 : WARM_UP + 1][::-1]
    begin = -len(warm_up)
    for block in _blocks(chain([warm_up, first], blocks), CHUNK):
        # Packed samples: PyAV writes planes of 8 channels beyond the end of the frame.
        packed = np.ascontiguousarray(block).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = begin
        begin += len(block)
        for resampled in resampler.resample(frame):
            yield from track.encode(resampled)
    for resampled in resampler.resample(None):
        yield from track.encode(resampled)
    yield from track.encode(None)


def _blocks(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Samples (n, channels) anew in blocks of `size`; the last one may be shorter."""
    held: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count >= size:
            joined = np.concatenate(held)
            whole = count - count % size
            yield from np.split(joined[:whole], whole // size)
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)
