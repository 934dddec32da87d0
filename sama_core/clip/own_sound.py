"""A clip's own sound in a result of any length: copied, or encoded while it is decoded.

`sound` puts ComfyUI's AUDIO into a result, which is held whole: 23 MB a minute. Here the track is
decoded once to see what it is, and nothing of it is kept.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av

from .audio import Heard
from .info import ClipInfo
from .packets import Packets, TrackPackets
from .sound import fitting_sound, open_sound
from .sound_pieces import SoundPieces

AddTo = Callable[[av.container.OutputContainer], Packets]
"""Adds a track to a file and gives its packets in order of time."""


@dataclass(frozen=True)
class OwnSound:
    """The sound of a whole clip: that of its file, or AUDIO where its source holds such."""

    info: ClipInfo
    """The clip."""
    heard: Heard
    """What was found in its file; of AUDIO, only what the artist should know."""
    audio: dict | None = None
    """ComfyUI AUDIO of the range, for sources that are no files."""

    @classmethod
    def of(cls, info: ClipInfo, wait: Callable[[], None], audio: dict | None = None) -> "OwnSound":
        """Listens to the clip's range once. `wait()` is called now and then and may raise."""
        if audio is not None:
            _, remark = fitting_sound(info, audio)
            return cls(info.with_sound(audio), Heard(remark=remark or ""), audio)
        return cls(info, info.source.listen(info.start_seconds, info.duration_seconds, wait))

    def digest(self) -> str:
        """Digits that tell sound in memory from any other; empty for that of the clip's file."""
        if self.audio is None:
            return ""
        waveform = self.audio["waveform"].cpu().float().contiguous()
        about = f"sound {tuple(waveform.shape)} {self.audio['sample_rate']}"
        found = hashlib.sha256(about.encode())
        found.update(waveform.numpy().data)
        return found.hexdigest()

    @contextmanager
    def open(self) -> Iterator[AddTo]:
        """What adds the sound to an mp4, valid in this context; packets are copied where it takes
        them.
        """
        info = self.info
        if self.audio is not None:
            with open_sound(info, self.audio) as sound:
                yield lambda container: sound.add_to(container, info.duration_seconds)
            return
        with self._packets() as packets:
            yield self._encode if packets is None else packets.add_to

    @contextmanager
    def _packets(self) -> Iterator[TrackPackets | None]:
        info = self.info
        if not self.heard.uniform:
            yield None
            return
        with info.source.packets(info.start_seconds, info.duration_seconds) as packets:
            yield packets

    def _encode(self, container: av.container.OutputContainer) -> Packets:
        """The samples as AAC, a stereo mix where it has no layout for so many channels."""
        sound = SoundPieces.of_file(self.heard, self.info.duration_seconds)
        return iter(()) if sound is None else sound.encode(container)
