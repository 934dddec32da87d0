"""The projector: frames, cells and widths that come out, and what it does with them."""

import pytest
import torch

from sama_core.errors import ConditioningError
from sama_core.geometry import WAN_21
from sama_core.training.alignment import Projector
from sama_core.training.alignment.projector import frame_times, match_frames

SMALL = {"widths": (16, 8, 8)}


@pytest.mark.parametrize(("latent", "pixel"), [(1, 1), (5, 17), (13, 49), (21, 81)])
def test_latent_frames_become_pixel_frames(latent, pixel):
    project = Projector(12, 6, cells=(2, 3), grid=(2, 3), tracking=True, **SMALL)
    out = project(torch.randn(2, latent * 6, 12), (latent, 2, 3))
    assert out.shape == (2, pixel, 2, 3, 6) and WAN_21.frames_of(latent) == pixel


@pytest.mark.parametrize("tracking", [False, True])
@pytest.mark.parametrize("cells", [(2, 3), (4, 6), (16, 16), (1, 2)])
def test_cells_of_the_teacher(cells, tracking):
    widths = (16, 8, 8) if tracking else (16, 16)
    project = Projector(12, 6, cells, grid=(2, 3), tracking=tracking, widths=widths)
    out = project(torch.randn(2, 2 * 6, 12), (2, 2, 3))
    assert out.shape == (2, 5 if tracking else 2, *cells, 6)


def test_a_token_gives_the_cells_of_its_own_place():
    """Rows stay above rows, columns beside columns, frames after frames."""
    torch.manual_seed(0)
    project = Projector(4, 5, cells=(4, 6), grid=(2, 3), widths=(8, 8))
    tokens = torch.randn(1, 2 * 6, 4)
    out = project(tokens, (2, 2, 3))
    tokens[0, 6 + 3 + 2] += 1  # frame 1, row 1, column 2
    changed = (project(tokens, (2, 2, 3)) != out).any(-1)[0]
    expected = torch.zeros(2, 4, 6, dtype=torch.bool)
    expected[1, 2:, 4:] = True
    assert torch.equal(changed, expected)


def test_other_frames_than_the_teachers_are_resampled():
    student = torch.arange(3.0).view(1, 3, 1, 1, 1)
    assert match_frames(student, 6).flatten().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2]
    assert match_frames(student, 3) is student


def test_features_stand_at_the_middle_of_what_they_see():
    """Of 9 frames: each, those of Wan's latents, V-JEPA 2's pairs, and VideoMAE's pairs of 8."""
    assert frame_times(9, 9).tolist() == list(range(9))
    assert frame_times(3, 9).tolist() == [0, 2.5, 6.5]
    assert frame_times(5, 9).tolist() == [0, 1.5, 3.5, 5.5, 7.5]
    assert frame_times(4, 9).tolist() == [0.5, 2.5, 5.5, 7.5]  # of 0 1, 2 3, 5 6, 7 8
    assert frame_times(8, 81).tolist() == [2.5, 13.5, 24, 34.5, 45.5, 56, 66.5, 77.5]
    assert frame_times(1, 1).tolist() == [0]


def test_tokens_of_another_clip_are_refused():
    project = Projector(4, 5, cells=(2, 2), grid=(2, 2), widths=(8, 8))
    with pytest.raises(ConditioningError, match="11 tokens, needs 12 for 3 latent frames of 2x2"):
        project(torch.randn(1, 11, 4), (3, 2, 2))


@pytest.mark.parametrize("tracking", [False, True])
def test_every_weight_is_trained(tracking):
    widths = (16, 8, 8) if tracking else (16, 16)
    project = Projector(12, 6, (2, 3), grid=(2, 3), tracking=tracking, widths=widths)
    project(torch.randn(2, 2 * 6, 12), (2, 2, 3)).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in project.parameters())


def test_sizes_of_the_papers():
    tracking = Projector(3072, 256, cells=(30, 45), grid=(30, 45), tracking=True)
    assert [tuple(x.weight.shape[:2]) for x in tracking.layers if hasattr(x, "out_channels")] == [
        (512, 768), (256, 512), (256, 256),
    ]  # fmt: skip
    relations = Projector(5120, 1664, cells=(24, 24), grid=(24, 24))
    assert [tuple(x.weight.shape) for x in relations.layers if hasattr(x, "out_features")] == [
        (2048, 5120), (2048, 2048), (1664, 2048),
    ]  # fmt: skip


@pytest.mark.parametrize("tracking", [False, True])
def test_fewer_cells_than_tokens_under_autocast(tracking):
    """As `sama_14b_lora_edit.toml` has them; not every device resamples 16 bit."""
    torch.manual_seed(0)
    projector = Projector(32, 8, (2, 3), (4, 6), tracking, (16, 16))
    tokens = torch.randn(1, 2 * 4 * 6, 32)
    exact = projector(tokens, (2, 4, 6))
    with torch.autocast("cpu", torch.bfloat16):
        found = projector(tokens, (2, 4, 6))
    assert found.shape == exact.shape == (1, 5 if tracking else 2, 2, 3, 8)
    assert (found - exact).norm() < 0.05 * exact.norm()
    found.float().sum().backward()
    assert all(weight.grad is not None for weight in projector.parameters())


def test_gradients_of_two_latent_frames_in_16_bit():
    """They are those of the numbers, and not of what the memory held before."""
    torch.manual_seed(0)
    projector = Projector(64, 8, (4, 4), (4, 4), True, (16, 16, 16))
    tokens = torch.randn(1, 2 * 16, 64)

    def find(autocast: bool) -> torch.Tensor:
        projector.zero_grad()
        left = [torch.full((4**size,), torch.nan) for size in range(3, 11) for _ in range(6)]
        del left
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = projector(tokens, (2, 4, 4)).float().square().sum()
        loss.backward()
        return projector.shrink.weight.grad.clone()

    exact = find(autocast=False)
    for _ in range(8):
        assert (find(autocast=True) - exact).norm() < 0.05 * exact.norm()
