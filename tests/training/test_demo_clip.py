"""The clip in the pack: what its generator draws, and a scene of the world that training shows."""

import numpy as np
import torch

from sama_core import embedded
from sama_core.clip import ClipRange, FileSource
from sama_core.training.data.scene import centres, standing_out
from sama_core.training.data.worlds import held_out
from sama_core.training.demo_clip import demo_frames, demo_scene

# Indices into COLOURS and SHAPES.
RED, BLUE = 0, 5
CIRCLE = 0


def test_the_scene_is_a_blue_circle():
    scene = demo_scene()
    assert scene.present.tolist() == [[True, False]]
    assert (int(scene.colour[0, 0]), int(scene.shape[0, 0]), int(scene.style[0])) == (BLUE, CIRCLE, 0)
    assert held_out()[[colour * 6 + CIRCLE for colour in (BLUE, RED)]].tolist() == [False, False]
    red = torch.tensor([[RED]])
    assert standing_out(red, torch.ones(1, 1, dtype=torch.bool))[0, scene.ground_colour[0]]


def test_the_file_is_that_scene():
    """Decoded, it differs from what the generator draws by no more than H.264 does."""
    source = FileSource(str(embedded.CLIP))
    facts = source.facts()
    assert (facts.width, facts.height, facts.fps, facts.frame_count, facts.has_audio) == (256, 256, 12, 17, False)
    shown = np.stack(list(source.frames(ClipRange()))).astype(int)
    assert np.abs(shown - np.stack(demo_frames())).mean() < 2


def test_the_circle_moves_and_is_where_the_scene_says():
    shown = np.stack(list(FileSource(str(embedded.CLIP)).frames(ClipRange()))).astype(int)
    places = (centres(demo_scene(), 17, 256, 256)[0] * 256).round().int()
    assert (places[0, 0] - places[0, 16]).float().norm() > 30
    for frame, (x, y) in zip(shown, places[0].tolist(), strict=True):
        # The named colour, with the scene's small tint and what the codec changes.
        assert np.abs(frame[y, x] - np.array((36, 79, 235))).max() < 20
