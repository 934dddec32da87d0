"""What tests of clips ask of a sound."""

from pathlib import Path

import av

from sama_core.clip import ClipInfo
from sama_core.clip.sound import open_sound


def is_copied(info: ClipInfo, audio: dict | None) -> bool:
    """Whether a result's sound is the source's own packets."""
    with open_sound(info, audio) as sound:
        return sound.packets is not None


def sound_tracks(path: Path) -> int:
    """How many sound tracks a file has."""
    with av.open(str(path)) as container:
        return len(container.streams.audio)
