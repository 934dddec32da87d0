"""Reading the sound of a range of a video, exact to the sample, as ComfyUI AUDIO."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import torch
from av.stream import Disposition

from ..errors import ClipError, needed
from .apart import Died, read_samples_apart
from .decode import Stream, open_video
from .samples import Found, Wanted, read_samples

COPIED_CODECS = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}
"""Codecs that mp4 holds and players play. PCM and Vorbis fit in, but few players take them."""
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
"""The channel counts that AAC has a layout for."""
OWN_LAYOUT = {"aac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "alac"}
"""Codecs whose decoders give FFmpeg's own layouts, whatever channel order the file states.

Tried with PyAV 16.0, 17.0 and 18.1: 1 to 16 channels in 40 layouts, 20 kinds of file, and custom
orders in each.
"""
UNORDERED = {"matroska", "avi", "mpegts", "flv"}
"""Formats that cannot state a custom order."""
SAFE_UNORDERED = ("pcm_", "flac")
"""Beginnings of the names of codecs whose decoders take the order that the format states."""
USUAL_CHANNELS = 2
"""Channels of the silence that stands for sound which cannot be decoded."""


@dataclass(frozen=True)
class Sound:
    """The sound of a range."""

    audio: dict | None
    """ComfyUI AUDIO, silent where it cannot be decoded but copied; None if there is no sound."""
    remark: str = ""
    """What the artist should know about it; empty if there is nothing."""
    uniform: bool = True
    """Whether the file's packets keep one rate and layout, as an mp4 needs them."""


def read_sound(
    stream: Stream,
    name: str,
    origin: Fraction,
    start: float | Fraction,
    duration: float | Fraction,
    wait: Callable[[], None] = lambda: None,
) -> Sound:
    """The sound from `start` seconds after the first picture, for `duration` seconds (0: all).

    `origin` is when the first picture is shown, in seconds on the file's clock. AUDIO is
    {"waveform": float32 (1, channels, round(duration · sample_rate)), "sample_rate": int}: silence
    before, after and between what the track has, so pictures and sound stay together; where rate or
    layout change, those of the first packet. Sound that may kill its decoder is decoded in a
    process of its own. `wait()` is called now and then and may raise. Raises ClipError for negative
    times.
    """
    track = _look(stream, name, origin, start, duration)
    if track is None:
        return Sound(None)
    found = Found()
    try:
        audio = _gather(track.pieces(found, wait), found, track.wanted)
    except Died:
        return _replace_sound(track.codec, track.rate, track.wanted)
    return Sound(audio, track.remark(found), not found.changes)


def listen(
    stream: Stream,
    name: str,
    origin: Fraction,
    start: Fraction,
    duration: Fraction,
    wait: Callable[[], None] = lambda: None,
) -> "Heard":
    """What `read_sound` finds, without its samples, which are decoded and let go."""
    track = _look(stream, name, origin, start, duration)
    if track is None:
        return Heard()
    found = Found()
    try:
        for _ in track.pieces(found, wait):
            pass
    except Died:
        replaced = _replace_sound(track.codec, track.rate, track.wanted)
        return Heard(None, replaced.remark, replaced.audio is not None)
    return Heard(
        track if found.heard else None,
        track.remark(found),
        found.heard and not found.changes,
        found.rate,
        found.channels,
    )


@dataclass(frozen=True)
class Track:
    """A track of a file, and which of its samples are wanted."""

    stream: Stream
    """The file."""
    name: str
    """What errors call it."""
    wanted: Wanted
    """The range."""
    codec: str
    """FFmpeg's name."""
    rate: int
    """Samples per second, as the file states."""
    tracks: int
    """How many tracks the file has."""
    is_default: bool
    """Whether the file marks this one as its default."""
    is_safe: bool
    """See `_is_safe`."""

    def pieces(self, found: Found, wait: Callable[[], None] = lambda: None) -> Iterator[np.ndarray]:
        """The range's samples, float32 (n, channels), as they are decoded. Fills in `found`.

        Raises Died where the decoder crashes.
        """
        if not self.is_safe:
            yield from read_samples_apart(self.stream, self.wanted, found, wait)
            return
        with open_video(self.stream, self.name) as container:
            for piece in read_samples(container, self.wanted, found):
                wait()
                yield piece

    def remark(self, found: Found) -> str:
        """One remark on everything that is unusual; empty if nothing is."""
        return _remark(found, self.codec, self.tracks, self.is_default)


@dataclass(frozen=True)
class Heard:
    """What a range of a file sounds like, without the samples."""

    track: Track | None = None
    """The track that can be decoded; None for silence."""
    remark: str = ""
    """What the artist should know about it."""
    uniform: bool = False
    """Whether its packets can be copied: they keep one rate and layout, as an mp4 needs them."""
    rate: int = 0
    """Samples per second."""
    channels: int = 0
    """Channels."""


def _look(
    stream: Stream,
    name: str,
    origin: Fraction,
    start: float | Fraction,
    duration: float | Fraction,
) -> Track | None:
    """The audible track; None where the file has none. Raises ClipError for negative times."""
    if start < 0 or duration < 0:
        raise ClipError(
            needed(
                "sound range",
                f"start {start} s, length {duration} s",
                "0 or more seconds",
                "Check the start frame and the frame limit.",
            )
        )
    with open_video(stream, name) as container:
        track = audible_track(container)
        if track is None:
            return None
        begin = begin_of(container, origin) + Fraction(start)
        return Track(
            stream,
            name,
            Wanted(track.index, begin, Fraction(duration)),
            track.codec_context.codec.canonical_name,
            track.rate,
            len(_decodable(container)),
            _is_default(track),
            _is_safe(container, track),
        )


def audible_track(container: av.container.InputContainer) -> av.AudioStream | None:
    """The default track, else the first one, of those that can be decoded."""
    tracks = _decodable(container)
    return next((track for track in tracks if _is_default(track)), tracks[0] if tracks else None)


def begin_of(container: av.container.InputContainer, origin: Fraction) -> Fraction:
    """When the clip begins on the clock of its sound, in seconds.

    `origin` is when its first picture is shown on the file's clock.

    AVI has no presentation times, and FFmpeg guesses those of pictures some frames late: what is
    stored first counts.
    """
    if "avi" not in container.format.name.split(","):
        return origin
    begun = [stream for stream in container.streams.video if stream.start_time is not None]
    if not begun or begun[0].start_time is None or begun[0].time_base is None:
        return origin
    return begun[0].start_time * begun[0].time_base


def _decodable(container: av.container.InputContainer) -> list[av.AudioStream]:
    """Streams with a decoder, and so a codec context; a phone's spatial sound has none."""
    return [track for track in container.streams.audio if track.codec_context is not None]


def _is_default(track: av.AudioStream) -> bool:
    """Whether the file marks the track as its default."""
    return bool(track.disposition & Disposition.default)


def _is_safe(container: av.container.InputContainer, track: av.AudioStream) -> bool:
    """Whether decoding is certain to give FFmpeg's own layouts.

    This must not read the track's layout: PyAV frees a custom one when it is shown, see `samples`.
    """
    codec = track.codec_context.codec.canonical_name
    if codec in OWN_LAYOUT:
        return track.profile != "xHE-AAC"  # which can place its channels freely
    return bool(UNORDERED & set(container.format.name.split(","))) and codec.startswith(
        SAFE_UNORDERED
    )


def _gather(pieces: Iterable[np.ndarray], found: Found, wanted: Wanted) -> dict | None:
    """Pieces (n, channels) → AUDIO, silent at the end; None if no sample comes from the file."""
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


def _replace_sound(codec: str, rate: int, wanted: Wanted) -> Sound:
    """What stands in for sound whose decoder crashed."""
    if codec not in COPIED_CODECS or not wanted.duration:
        return Sound(
            None, f"The sound ({codec}) cannot be decoded: it is left out. Convert it to AAC first."
        )
    silence = torch.zeros(1, USUAL_CHANNELS, round(wanted.duration * rate))
    return Sound(
        {"waveform": silence, "sample_rate": rate},
        f"The sound ({codec}) cannot be decoded: the audio output is silence, and SAMA Finish "
        "Video copies the clip's own sound in its place.",
    )


def _remark(found: Found, codec: str, tracks: int, is_default: bool) -> str:
    """One remark on everything that is unusual; empty if nothing is."""
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
        which = "default" if is_default else "first"
        said.append(f"The clip has {tracks} sound tracks: the {which} one is taken.")
    return " ".join(said)


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"
