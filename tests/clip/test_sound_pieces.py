"""Sound in pieces is the sound that is held whole: its samples, and what becomes of it."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from sama_core.clip import FileSource
from sama_core.clip.film import write_sound
from sama_core.clip.sound_pieces import SoundPieces

from ..harness.sound_files import clicks, write

DURATION = Fraction(5, 2)
"""Longer than the sound: silence follows."""


@pytest.mark.parametrize(
    ("name", "codec", "channels", "layout"),
    [
        ("mono.mp4", "aac", 1, "mono"),
        ("stereo.mkv", "flac", 2, "stereo"),
        ("seven.mkv", "flac", 7, "6.1"),
    ],
)
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 3)])
def test_of_a_file_as_of_audio(tmp_path, name, codec, channels, layout, start):
    write(tmp_path / name, clicks(channels, 2), codec, layout)
    source, files = FileSource(str(tmp_path / name)), []
    audio = source.audio(start, DURATION)
    pieces = SoundPieces.of_file(source.listen(start, DURATION, lambda: None), DURATION)
    whole = audio["waveform"][0].T.numpy()
    assert np.array_equal(np.concatenate(list(pieces.read())), whole)
    assert (pieces.rate, pieces.channels) == (audio["sample_rate"], channels)
    for sound in (pieces, SoundPieces.of_audio(audio)):
        files.append(tmp_path / f"{len(files)}.m4a")
        write_sound(files[-1], sound)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_is_no_sound():
    empty = {"waveform": torch.zeros(1, 2, 0), "sample_rate": 44_100}
    for audio in (None, {}, {"waveform": None}, empty):
        assert SoundPieces.of_audio(audio) is None
