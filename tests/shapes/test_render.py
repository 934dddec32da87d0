"""What the renderer draws: shapes, motion, backgrounds, styles."""

import pytest
import torch

from sama_core.shapes.world import (
    render,
    sample_scenes,
)
from sama_core.shapes.world.scene import (
    EMPTY,
    GROUNDS,
    STYLES,
)

from .conftest import colour_at, one_scene, only


def test_a_circle_has_its_colour_inside_and_the_background_outside():
    clip = render(one_scene(), frames=2)
    assert clip.shape == (1, 2, 64, 64, 3) and clip.dtype == torch.float32
    red, white = (
        pytest.approx([0.87, 0.13, 0.15], abs=1e-6),
        pytest.approx([0.95, 0.95, 0.95], abs=1e-6),
    )
    for x, y, expected in (
        (32, 32, red),
        (42, 32, red),
        (46, 32, white),
        (32, 46, white),
        (2, 2, white),
    ):
        assert colour_at(clip, 0, x, y) == expected
    # The circle's edge is 2 pixels wide: its area is that of a circle of 12.8 pixels.
    covered = (0.95 - clip[0, 0, ..., 1]).sum() / (0.95 - 0.13)
    assert covered == pytest.approx(torch.pi * 12.8**2, rel=0.01)


# x, y relative to the middle, radius 12.8: places that tell each shape from the others.
@pytest.mark.parametrize(
    "shape, inside, outside",
    [
        ("circle", [(0, 0), (7, 7), (0, -11)], [(10, 10), (0, 14)]),
        ("square", [(0, 0), (9, 9), (-10, 9)], [(13, 0), (0, -14)]),
        ("triangle", [(0, 0), (0, -12), (11, 6)], [(9, -8), (0, 11)]),
        ("star", [(0, 0), (0, -12), (11, -4), (-8, 10)], [(7, -10), (0, 12)]),
        ("cross", [(0, 0), (0, 13), (13, 0)], [(9, 9), (-9, 9)]),
        ("ring", [(10, 0), (0, -10), (7, 7)], [(0, 0), (3, 3), (12, 12)]),
    ],
)
def test_every_shape_covers_what_it_should(shape, inside, outside):
    clip = render(one_scene(shape), frames=1)
    for places, green in ((inside, 0.13), (outside, 0.95)):
        for x, y in places:
            assert clip[0, 0, 32 + y, 32 + x, 1] == pytest.approx(green, abs=0.02), (x, y)


def test_motion_turning_and_bouncing():
    # The room of a radius of 12.8 is 64 - 2 * 1.3 * 12.8 = 30.72 pixels.
    moving = one_scene(velocity=torch.tensor([[[0.25, 0.0], [0.0, 0.0]]]))
    clip = render(moving, frames=6)
    green = 0.95 - clip[0, ..., 1]
    columns = (green.sum(1) * torch.arange(64)).sum(-1) / green.sum((1, 2)) + 0.5
    assert columns.tolist() == pytest.approx([32, 39.68, 47.36, 39.68, 32, 24.32], abs=0.05)
    turned = render(one_scene("square", spin=torch.full((1, 2), torch.pi / 4)), frames=3)
    assert turned[0, 0, 42, 42, 1] < 0.2 and turned[0, 1, 42, 42, 1] > 0.9  # corner out, then side
    assert torch.allclose(turned[0, 0], turned[0, 2], atol=1e-4)


def test_backgrounds_have_the_named_colour_and_two_tones():
    white, dark = [0.95] * 3, pytest.approx([0.73] * 3, abs=0.02)
    empty = one_scene().replace(shape=torch.full((1, 2), EMPTY))
    stripes = render(empty.replace(ground=only(GROUNDS, "stripes")), frames=1)
    assert colour_at(stripes, 0, 4, 10) == pytest.approx([0.74] * 3, abs=0.02)
    assert colour_at(stripes, 0, 12, 10) == pytest.approx([0.94] * 3, abs=0.02)
    assert torch.equal(stripes[0, 0, 0], stripes[0, 0, 63])
    gradient = render(
        empty.replace(ground=only(GROUNDS, "gradient"), ground_angle=torch.tensor([torch.pi / 2])),
        1,
    )
    assert colour_at(gradient, 0, 30, 0) == pytest.approx(white, abs=1e-4)
    assert colour_at(gradient, 0, 30, 63) == dark
    checks = render(
        empty.replace(ground=only(GROUNDS, "checks"), ground_period=torch.tensor([0.5])), 1
    )
    assert (
        checks[0, 0, 8, 8, 0] < 0.76
        and checks[0, 0, 8, 24, 0] > 0.92
        and checks[0, 0, 24, 24, 0] < 0.76
    )
    dots = render(empty.replace(ground=only(GROUNDS, "dots")), 1)
    assert dots[0, 0, 16, 16, 0] < 0.76 and dots[0, 0, 8, 8, 0] > 0.94


def test_styles_are_functions_of_the_frames():
    clips = {name: render(one_scene(style=only(STYLES, name)), frames=1) for name in STYLES}
    luma = 0.299 * 0.87 + 0.587 * 0.13 + 0.114 * 0.15
    assert colour_at(clips["greyscale"], 0, 32, 32) == pytest.approx([luma] * 3, abs=1e-5)
    assert torch.allclose(clips["negative"], 1 - clips["normal"])
    assert colour_at(clips["sepia"], 0, 2, 2) == pytest.approx([0.96, 0.8405, 0.609], abs=1e-4)
    assert colour_at(clips["sketch"], 0, 32, 32) == pytest.approx([0.96] * 3, abs=1e-5)  # paper
    assert (
        clips["sketch"][0, 0, 32, 44].max() < 0.4
    )  # pencil at the edge, 12.8 pixels from the middle


def test_any_size_and_frame_count():
    wide = render(one_scene(), frames=1, height=48, width=96)
    assert wide.shape == (1, 1, 48, 96, 3)
    assert colour_at(wide, 0, 48, 24) == pytest.approx([0.87, 0.13, 0.15], abs=1e-6)
    scenes = sample_scenes(torch.Generator().manual_seed(0), 10)
    assert torch.equal(render(scenes, 9), render(scenes, 17)[:, :9])
    assert torch.allclose(render(scenes[7], 3), render(scenes, 3)[7:8])
    assert render(scenes, 2).movedim(-1, 1).is_contiguous()
