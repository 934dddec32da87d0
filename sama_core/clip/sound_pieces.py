"""Sound that is handed on piece by piece: of a file, decoded each time, or of AUDIO in memory.

A minute of sound takes 23 MB as ComfyUI's AUDIO; of a file, none of it is held here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from .audio import LAYOUTS, USUAL_CHANNELS, Heard, Track
from .packets import Packets
from .samples import PIECE, Found
from .sound import CHUNK, encodable, encode_pieces, mix_to_stereo


@dataclass(frozen=True)
class SoundPieces:
    """The sound of a range."""

    rate: int
    """Samples per second."""
    channels: int
    """Channels."""
    read: Callable[[], Iterator[np.ndarray]]
    """Gives its samples from the beginning, float (n, channels) one after the other."""

    @classmethod
    def of_audio(cls, audio: dict | None) -> "SoundPieces | None":
        """ComfyUI AUDIO; None for what is none, or empty."""
        usable = encodable(audio)
        if usable is None or not usable["waveform"].shape[-1]:
            return None
        waveform = usable["waveform"][0]

        def read() -> Iterator[np.ndarray]:
            return (piece.T.float().cpu().numpy() for piece in waveform.split(CHUNK, dim=1))

        return cls(usable["sample_rate"], len(waveform), read)

    @classmethod
    def of_file(
        cls, heard: Heard, duration: Fraction, wait: Callable[[], None] = lambda: None
    ) -> "SoundPieces | None":
        """What `listen` has heard, for `duration` seconds; None where that was nothing.

        `wait()` is called now and then while it is read, and may raise.
        """
        track, count = heard.track, round(duration * heard.rate)
        if track is None or not count:
            return None
        return cls(heard.rate, heard.channels, lambda: _fill(track, heard.channels, count, wait))

    def encode(self, container: av.container.OutputContainer) -> Packets:
        """Add an AAC track and give its packets, each made when it is asked for: a stereo mix where
        AAC has no layout for so many channels.
        """
        if self.channels in LAYOUTS:
            return encode_pieces(container, self.read(), self.rate, self.channels)
        mixed = map(mix_to_stereo, self.read())
        return encode_pieces(container, mixed, self.rate, USUAL_CHANNELS)


def _fill(
    track: Track, channels: int, count: int, wait: Callable[[], None]
) -> Iterator[np.ndarray]:
    """The track's samples (n, channels), with silence behind them up to `count`."""
    done = 0
    for piece in track.pieces(Found(), wait):
        yield piece
        done += len(piece)
    while done < count:
        length = min(PIECE, count - done)
        yield np.zeros((length, channels), np.float32)
        done += length
