"""The clips in the pack: what their generator draws, scenes of the world that training shows."""

import math

import numpy as np
import pytest
import torch

from sama_core import embedded
from sama_core.clip import ClipRange, FileSource
from sama_core.shapes.demo_clip import demo_frames, demo_scene, main
from sama_core.shapes.world.draw import held_out_pairs
from sama_core.shapes.world.scene import centres, contrasting_grounds

# Indices into COLOURS and SHAPES.
RED, YELLOW, BLUE = 0, 2, 5
CIRCLE, TRIANGLE = 0, 2


CLIPS = {17: embedded.CLIP, 49: embedded.LONG_CLIP}
each_length = pytest.mark.parametrize("frames", CLIPS)


@each_length
def test_the_scene_is_a_blue_circle_and_a_yellow_triangle_that_turns(frames):
    scene = demo_scene(frames)
    assert scene.colour.tolist() == [[BLUE, YELLOW]] and scene.shape.tolist() == [
        [CIRCLE, TRIANGLE]
    ]
    assert int(scene.style[0]) == 0 and abs(scene.spin[0, 1]) * 16 > math.radians(5)
    shown = [colour * 6 + CIRCLE for colour in (BLUE, RED)] + [YELLOW * 6 + TRIANGLE]
    assert not held_out_pairs()[shown].any()
    red = torch.tensor([[RED]])
    assert contrasting_grounds(red, torch.ones(1, 1, dtype=torch.bool))[0, scene.ground_colour[0]]


@each_length
def test_the_file_is_that_scene(frames):
    """Decoded, it differs from what the generator draws by no more than H.264 does."""
    source = FileSource(str(CLIPS[frames]))
    facts = source.facts()
    assert (facts.width, facts.height, facts.fps, facts.frame_count, source.audio(0, 0)) == (
        256,
        256,
        12,
        frames,
        None,
    )
    shown = np.stack(list(source.frames(ClipRange()))).astype(int)
    assert np.abs(shown - np.stack(demo_frames(frames))).mean() < 2


@each_length
def test_both_move_and_are_where_the_scene_says(frames):
    shown = np.stack(list(FileSource(str(CLIPS[frames])).frames(ClipRange()))).astype(int)
    places = (centres(demo_scene(frames), frames, 256, 256)[0] * 256).round().int()
    assert all((path[0] - path[16]).float().norm() > 20 for path in places)
    for path, colour in zip(places, ((36, 79, 235), (247, 222, 41)), strict=True):
        for frame, (x, y) in zip(shown, path.tolist(), strict=True):
            # The named colour, with the scene's small tint and what the codec changes.
            assert np.abs(frame[y, x] - np.array(colour)).max() < 20


def test_the_command_writes_only_where_it_is_asked_to(tmp_path, monkeypatch, capsys):
    written, own = tmp_path / "clip.mp4", tmp_path / "own.mp4"
    long = tmp_path / "long.mp4"
    monkeypatch.setattr("sama_core.shapes.demo_clip.CLIP", own)
    monkeypatch.setattr("sama_core.shapes.demo_clip.LONG_CLIP", long)
    for arguments, code in ((["--help"], 0), ([], 2), (["--out", str(written), "--in-pack"], 2)):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == code and not list(tmp_path.iterdir())
    assert "one of the arguments --out --in-pack is required" in capsys.readouterr().err
    main(["--out", str(written)])
    assert list(tmp_path.iterdir()) == [written]
    main(["--in-pack"])
    assert own.read_bytes() == written.read_bytes()
    assert len(list(FileSource(str(long)).frames(ClipRange()))) == 49
