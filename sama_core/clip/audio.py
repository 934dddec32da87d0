"""The sound that belongs to a range of a video, to the sample, in ComfyUI's AUDIO form."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import torch
from av.stream import Disposition

from ..errors import ClipError, needed
from .apart import Died, read_samples_apart
from .decode import Stream, opened
from .samples import Found, Wanted, read_samples

# What mp4 holds and players play. PCM and Vorbis fit in too, but hardly any player takes them there.
COPIED_CODECS = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
"""The channel counts that AAC has a layout for."""
# Tried with PyAV 16.0, 17.0 and 18.1: 1 to 16 channels in 40 layouts, 20 kinds of file, and custom orders in each.
OWN_LAYOUT = {"aac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "alac"}
"""Codecs whose decoders give FFmpeg's own layouts, whatever order the file states."""
UNORDERED = {"matroska", "avi", "mpegts", "flv"}
"""Formats that cannot state a custom order; the decoders below take what the format states."""
SAFE_UNORDERED = ("pcm_", "flac")
USUAL_CHANNELS = 2


@dataclass(frozen=True)
class Sound:
    """The sound of a range."""

    audio: dict | None
    "ComfyUI AUDIO; None if the range has no sound. Silence where it could not be decoded but can be copied."
    remark: str = ""
    "What the artist should know about it; empty if there is nothing."
    uniform: bool = True
    "Whether the file's packets keep one rate and layout, as an mp4 needs them."


def read_sound(
    stream: Stream,
    name: str,
    origin: Fraction,
    start: float | Fraction,
    duration: float | Fraction,
    wait: Callable[[], None] = lambda: None,
) -> Sound:
    """The sound from `start` seconds after the first picture on, for `duration` seconds (0 = to the end).

    `origin` is when the first picture is shown, in seconds on the file's clock. AUDIO is {"waveform": float32
    (1, channels, round(duration · sample_rate)), "sample_rate": int}: silence before, after and between what the
    track has, so pictures and sound stay together; where rate or layout change, those of the first packet. Sound
    that may kill its decoder is decoded in a process of its own. `wait()` is called now and then and may raise.
    Raises ClipError for negative times.
    """
    if start < 0 or duration < 0:
        raise ClipError(
            needed(
                "sound range",
                f"start {start} s, length {duration} s",
                "0 or more seconds",
                "Check the start frame and the frame limit.",
            )
        )
    found = Found()
    with opened(stream, name) as container:
        track, tracks = audible_track(container), len(_decodable(container))
        if track is None:
            return Sound(None)
        wanted = Wanted(
            track.index, begin_of(container, origin) + Fraction(start), Fraction(duration)
        )
        codec, rate, is_default = (
            track.codec_context.codec.canonical_name,
            track.rate,
            _is_default(track),
        )
        apart = not _is_safe(container, track)
        if not apart:
            audio = _gathered(_waiting(read_samples(container, wanted, found), wait), found, wanted)
    if apart:
        try:
            audio = _gathered(read_samples_apart(stream, wanted, found, wait), found, wanted)
        except Died:
            return _unheard(codec, rate, wanted)
    return Sound(audio, _remark(found, codec, tracks, is_default), not found.changes)


def audible_track(container: av.container.InputContainer) -> av.AudioStream | None:
    """The default track, else the first one, of those that can be decoded."""
    tracks = _decodable(container)
    return next((track for track in tracks if _is_default(track)), tracks[0] if tracks else None)


def begin_of(container: av.container.InputContainer, origin: Fraction) -> Fraction:
    """When the clip begins on the clock of its sound, in seconds; `origin` is that of its first picture.

    AVI has no presentation times, and FFmpeg guesses those of pictures some frames late: what is stored first counts.
    """
    if "avi" not in container.format.name.split(","):
        return origin
    begun = (stream for stream in container.streams.video if stream.start_time is not None)
    return next((stream.start_time * stream.time_base for stream in begun), origin)


def _decodable(container: av.container.InputContainer) -> list[av.AudioStream]:
    """Streams without a decoder, as of a phone's spatial sound, have no codec context."""
    return [track for track in container.streams.audio if track.codec_context is not None]


def _is_default(track: av.AudioStream) -> bool:
    return bool(track.disposition & Disposition.default)


def _is_safe(container: av.container.InputContainer, track: av.AudioStream) -> bool:
    """Whether decoding gives FFmpeg's own layouts for certain. The track's own layout must not be asked for it:
    showing a custom one frees it, see `samples.py`."""
    codec = track.codec_context.codec.canonical_name
    if codec in OWN_LAYOUT:
        return track.profile != "xHE-AAC"  # which can place its channels freely
    return bool(UNORDERED & set(container.format.name.split(","))) and codec.startswith(
        SAFE_UNORDERED
    )


def _waiting(pieces: Iterable[np.ndarray], wait: Callable[[], None]) -> Iterable[np.ndarray]:
    for piece in pieces:
        wait()
        yield piece


def _gathered(pieces: Iterable[np.ndarray], found: Found, wanted: Wanted) -> dict | None:
    """(n, channels) each → AUDIO, ended with silence; None if none of it comes from the file."""
    kept = deque(piece for piece in pieces if len(piece))
    if not found.heard:
        return None
    count = round(wanted.duration * found.rate) if wanted.duration else sum(map(len, kept))
    waveform, begin = torch.zeros(1, found.channels, count), 0
    while kept:
        piece = kept.popleft()
        waveform[0, :, begin : begin + len(piece)] = torch.from_numpy(piece.T.copy())
        begin += len(piece)
    return {"waveform": waveform, "sample_rate": found.rate}


def _unheard(codec: str, rate: int, wanted: Wanted) -> Sound:
    """What stands for sound whose decoder died."""
    if codec not in COPIED_CODECS or not wanted.duration:
        return Sound(
            None, f"The sound ({codec}) cannot be decoded: it is left out. Convert it to AAC first."
        )
    silence = torch.zeros(1, USUAL_CHANNELS, round(wanted.duration * rate))
    return Sound(
        {"waveform": silence, "sample_rate": rate},
        f"The sound ({codec}) cannot be decoded: the audio output is silence, and SAMA Finish Video copies "
        "the clip's own sound in its place.",
    )


def _remark(found: Found, codec: str, tracks: int, is_default: bool) -> str:
    """At most one remark on all that is unusual."""
    said = []
    if not found.rate and found.damaged:
        said.append(
            f"The sound ({codec}) cannot be decoded: it is left out. Export the clip again."
        )
    elif found.damaged:
        said.append("Parts of the sound are damaged: silence stands in their place.")
    if found.changes:
        said.append(
            "The sound changes its rate or its channels: all of it is brought to "
            f"{found.rate} Hz and {_channels(found.channels)}."
        )
    if tracks > 1:
        said.append(
            f"The clip has {tracks} sound tracks: the {'default' if is_default else 'first'} one is taken."
        )
    return " ".join(said)


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"
