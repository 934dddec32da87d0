"""Local Gram flow against values worked out by hand, and against the plain way of computing it."""

import math

import pytest
import torch
from torch.nn import functional

from sama_core.errors import SamaError
from sama_core.training.alignment import flow_distance, flow_divergence, fuse, local_gram_flow


def plain_flow(features, window, border):
    """Every product at once, by unfolding the next frame."""
    batch, frames, height, width, channels = features.shape
    reach = window // 2
    after = features[:, 1:].reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    inside = functional.unfold(torch.ones_like(after[:, :1]), window, padding=reach)
    shifted = functional.unfold(after, window, padding=reach)
    shifted = shifted.view(batch, frames - 1, channels, window**2, height, width)
    flow = (features[:, :-1].permute(0, 1, 4, 2, 3)[:, :, :, None] * shifted).sum(2)
    flow = flow.permute(0, 1, 3, 4, 2)
    outside = inside.view(batch, frames - 1, window**2, height, width).permute(0, 1, 3, 4, 2) == 0
    return flow.masked_fill(outside, -math.inf) if border == "mask" else flow


def one_hot_cells(height, width):
    """(1, h, w, h·w): every cell has a channel of its own."""
    return torch.eye(height * width).view(1, height, width, -1)


def test_one_down_and_two_right():
    cells = one_hot_cells(9, 9)
    moved = cells.roll((1, 2), dims=(1, 2))
    flow = local_gram_flow(torch.stack([cells, moved], dim=1))
    assert flow.shape == (1, 1, 9, 9, 49)
    assert (flow[0, 0, 3:5, 3:5].argmax(-1) == 33).all()  # (1 + 3) · 7 + (2 + 3)
    assert flow[0, 0, 3, 3, 33] == 1


def test_constant_features():
    flow = local_gram_flow(torch.ones(1, 2, 9, 9, 4) * math.sqrt(10))  # products of 40
    share = functional.softmax(flow, dim=-1)
    assert torch.allclose(share[0, 0, 4, 4], torch.full((49,), 1 / 49))
    corner = share[0, 0, 0, 0]
    assert corner[flow[0, 0, 0, 0].isfinite()].tolist() == pytest.approx([1 / 16] * 16)
    zeroed = functional.softmax(
        local_gram_flow(torch.ones(1, 2, 9, 9, 4) * math.sqrt(10), border="zero"), dim=-1
    )
    assert zeroed[0, 0, 0, 0].max().item() == pytest.approx(1 / (16 + 33 * math.exp(-40)))
    assert torch.allclose(zeroed[0, 0, 4, 4], torch.full((49,), 1 / 49))


def test_borders_differ_within_three_cells_only():
    features = torch.randn(2, 3, 10, 11, 5)
    masked, zeroed = (local_gram_flow(features, border=border) for border in ("mask", "zero"))
    assert torch.equal(masked[:, :, 3:-3, 3:-3], zeroed[:, :, 3:-3, 3:-3])
    differs = (masked != zeroed).any(-1)[0, 0]
    assert differs[:3].all() and differs[:, -3:].all() and not differs[3:-3, 3:-3].any()
    inside = masked.isfinite()
    assert torch.equal(masked[inside], zeroed[inside]) and (zeroed[~inside] == 0).all()


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize("size", [(5, 7, 7), (3, 2, 3), (2, 1, 9)])
def test_equals_the_plain_way_in_value_and_gradient(size, border):
    """Also where the window is larger than the picture."""
    mine, plain = (
        torch.randn(
            2, *size, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        ).requires_grad_()
        for _ in range(2)
    )
    found, expected = local_gram_flow(mine, border=border), plain_flow(plain, 7, border)
    assert torch.allclose(found, expected, atol=1e-12)
    weights = torch.randn_like(found.detach())
    for flow, features in ((found, mine), (expected, plain)):
        (flow.masked_fill(flow.isinf(), 0) * weights).sum().backward()
        assert features.grad.isfinite().all()
    assert torch.allclose(mine.grad, plain.grad, atol=1e-12)


def test_gradients_are_right_by_finite_differences():
    features = torch.randn(1, 3, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: local_gram_flow(x, 3, "zero"), features)


def test_half_precision_is_choose_dtype_float32():
    features = torch.randn(1, 2, 4, 4, 8).bfloat16().requires_grad_()
    flow = local_gram_flow(features, 3)
    assert flow.dtype == torch.float32
    flow.masked_fill(flow.isinf(), 0).sum().backward()
    assert features.grad.dtype == torch.bfloat16 and features.grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: local_gram_flow(torch.ones(1, 1, 4, 4, 2)), "two frames"),
        (lambda: local_gram_flow(torch.ones(2, 4, 4, 2)), r"\(B, T, h, w, C\)"),
        (lambda: local_gram_flow(torch.ones(1, 2, 4, 4, 2), window=6), "6.*odd"),
        (lambda: local_gram_flow(torch.ones(1, 2, 4, 4, 2), border="clamp"), "clamp.*mask or zero"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(SamaError, match=words):
        make()


# --- divergence, distance, fusion ----------------------------------------------------------------


def logits(*shares):
    return torch.tensor(shares).log().view(1, 1, 1, 1, -1)


def test_divergence_of_two_shares():
    found = flow_divergence(logits(0.75, 0.25), logits(0.5, 0.5), temperature=1.0)
    assert found.item() == pytest.approx(0.130812, abs=1e-6)


def test_divergence_is_zero_for_flows_equal_up_to_a_constant_and_sees_scale():
    flow = torch.randn(2, 3, 4, 4, 49)
    offset = flow + torch.randn(2, 3, 4, 4, 1)
    assert flow_divergence(flow, offset).abs().max() < 1e-5
    assert (flow_divergence(flow, 2 * flow) > 0.01).all()
    assert (flow_divergence(flow, torch.randn(2, 3, 4, 4, 49)) > 0.01).all()


def test_neighbours_out_of_frame_take_no_part():
    features, other = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    teacher, student = local_gram_flow(features), local_gram_flow(other)
    for loss in (flow_divergence, flow_distance):
        value = loss(teacher, student)
        assert value.shape == (2,) and value.isfinite().all() and (value > 0).all()
        (gradient,) = torch.autograd.grad(value.sum(), other, retain_graph=True)
        assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_distance_is_the_mean_square_of_what_is_in_frame():
    teacher = torch.zeros(1, 1, 1, 1, 4)
    student = torch.tensor([3.0, 1.0, 7.0, 9.0]).view(1, 1, 1, 1, 4)
    assert flow_distance(teacher, student).item() == pytest.approx((9 + 1 + 49 + 81) / 4)
    teacher[..., 2:] = -math.inf
    assert flow_distance(teacher, student).item() == pytest.approx(5)


def test_weights_choose_positions():
    teacher, student = torch.randn(2, 2, 3, 3, 9), torch.randn(2, 2, 3, 3, 9)
    weight = torch.zeros(2, 2, 3, 3)
    weight[0, 1, 2, 0] = 0.3
    for loss in (flow_divergence, flow_distance):
        found = loss(teacher, student, weight=weight)
        alone = loss(teacher[:1, 1:, 2:, :1], student[:1, 1:, 2:, :1])
        assert found[0].item() == pytest.approx(alone.item(), rel=1e-5)
        assert found[1] == 0  # nothing salient
        assert torch.allclose(loss(teacher, student, weight=torch.ones(2, 2, 3, 3)),
                              loss(teacher, student), rtol=1e-5)  # fmt: skip


def test_fusion_of_flows_is_not_the_flow_of_fused_features():
    """a = (1, 0), b = (0, 1), c = (0, 1), d = (1, 0): no direction sees a match, the mixture
    does.
    """
    a, b, c, d = (torch.tensor(x) for x in ((1.0, 0.0), (0.0, 1.0), (0.0, 1.0), (1.0, 0.0)))
    forward, backward = (torch.stack(x).view(1, 2, 1, 1, 2) for x in ((a, c), (b, d)))
    mixed = local_gram_flow((forward + backward) / 2, window=1)
    fused = fuse(local_gram_flow(forward, 1), local_gram_flow(backward, 1), 0.5)
    assert mixed.item() == 0.5 and fused.item() == 0


def test_fusion_takes_a_share_for_each_pair_of_frames_and_keeps_the_border():
    forward, backward = torch.randn(1, 3, 4, 4, 2), torch.randn(1, 3, 4, 4, 2)
    one, other = local_gram_flow(forward), local_gram_flow(backward)
    fused = fuse(one, other, torch.tensor([0.0, 1.0]))
    assert torch.equal(fused[:, 0], other[:, 0]) and torch.equal(fused[:, 1], one[:, 1])
    assert torch.equal(fused.isfinite(), one.isfinite())
