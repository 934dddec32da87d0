"""The sound that belongs to a range of a video, to the sample, in ComfyUI's AUDIO form."""

from fractions import Fraction

import av
import numpy as np
import torch

from ..errors import ClipError, needed
from .decode import Stream, opened, unusable

# AAC and MP3 need the packets before a jump to sound right.
PREROLL_SECONDS = 1


def read_audio(stream: Stream, name: str, start_seconds: float | Fraction,
               duration_seconds: float | Fraction) -> dict | None:
    """Sound from `start_seconds` after the first picture, for `duration_seconds` (0 = to the end).

    Returns {"waveform": float32 (1, channels, round(duration · sample_rate)), "sample_rate": int}.
    Where the track starts later or ends earlier than the range, the rest is silence, so pictures and
    sound stay together. None if the video has no sound, or none in this range.
    Raises ClipError for negative times and damaged sound.
    """
    if start_seconds < 0 or duration_seconds < 0:
        raise ClipError(needed("sound range", f"start {start_seconds} s, length {duration_seconds} s",
                               "0 or more seconds", "Check the start frame and the frame limit."))
    with opened(stream, name) as container:
        track = audible_track(container)
        if track is None:
            return None
        try:
            return _collect(container, track, Fraction(start_seconds), Fraction(duration_seconds))
        except av.error.FFmpegError as error:
            raise unusable(name, "damaged sound", "intact sound for the chosen frames") from error


def audible_track(container: av.container.InputContainer) -> av.AudioStream | None:
    """The last track that can be decoded, the one ComfyUI's own video loader takes."""
    return next((track for track in reversed(container.streams.audio) if track.codec_context is not None), None)


def _collect(container: av.container.InputContainer, track: av.AudioStream,
             start: Fraction, duration: Fraction) -> dict | None:
    origin = first_picture_time(container)
    skip_ahead(container, track, origin + start)
    pieces, position, rate = [], None, 0
    for piece in _float_pieces(container, track):
        if position is None:
            rate = piece.sample_rate
            position = round((piece.pts * piece.time_base - origin) * rate) - round(start * rate)
            wanted = round(duration * rate) or None
            pieces.append(np.zeros((piece.layout.nb_channels, max(0, position)), np.float32))
        if wanted is not None and position >= wanted:
            break
        pieces.append(piece.to_ndarray()[:, max(0, -position):])
        position += piece.samples
    if position is None or not any(piece.shape[1] for piece in pieces[1:]):
        return None
    return {"waveform": _exact_length(np.concatenate(pieces, axis=1), wanted), "sample_rate": rate}


def _exact_length(samples: np.ndarray, wanted: int | None) -> torch.Tensor:
    """(channels, n) → float32 (1, channels, wanted): cut, or ended with silence."""
    if wanted is not None:
        samples = np.pad(samples[:, :wanted], ((0, 0), (0, max(0, wanted - samples.shape[1]))))
    return torch.from_numpy(np.ascontiguousarray(samples))[None]


def _float_pieces(container: av.container.InputContainer, track: av.AudioStream):
    """Decoded frames as planar float32."""
    resampler = av.AudioResampler(format="fltp")
    for frame in container.decode(track):
        yield from resampler.resample(frame)


def first_picture_time(container: av.container.InputContainer) -> Fraction:
    """Seconds at which the first picture is shown, on the container's clock."""
    for stream in container.streams.video:
        if stream.start_time is not None:
            return stream.start_time * stream.time_base
    return Fraction(0)


def skip_ahead(container: av.container.InputContainer, track: av.AudioStream, seconds: Fraction) -> None:
    # Only mp4 and mov store exact sample times; elsewhere the samples are counted from the beginning.
    if "mp4" in container.format.name.split(",") and seconds > 2 * PREROLL_SECONDS:
        container.seek(int((seconds - PREROLL_SECONDS) / track.time_base), stream=track)
