"""Token relation distillation against values worked out by hand, and against the dense form."""

import math

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from sama_core.errors import SamaError
from sama_core.training.alignment import pair_weight, routed_trd

CASES = [{}, {"decay": 2.0}, {"margin": 0.1}]
ROUTERS = ["or", "and", "xor", "all"]


def dense_trd(student, teacher, saliency, router, decay=math.inf, margin=0.0, one_mean=False):
    """The equations as they stand, with every pair at once."""
    _, frames, count, _ = student.shape
    one, other = (functional.normalize(x, dim=-1).flatten(1, 2) for x in (student, teacher))
    difference = (other @ other.mT - one @ one.mT).abs().sub(margin).clamp(min=0)
    flat = saliency.flatten(1)
    weight = pair_weight(flat[:, :, None], flat[:, None, :], router)
    frame = torch.arange(frames).repeat_interleave(count)
    gap = (frame[:, None] - frame[None]).abs()
    weight = weight * torch.exp(-gap / decay)
    parts = [gap >= 0] if one_mean else [gap == 0, gap > 0]
    return sum(
        (difference * weight * part).sum((1, 2)) / ((weight * part).sum((1, 2)) + 1e-6)
        for part in parts
    )


@pytest.mark.parametrize(("router", "total"), [("and", 4), ("or", 12), ("xor", 8), ("all", 16)])
def test_pairs_that_routers_keep(router, total):
    saliency = torch.tensor([1.0, 1, 0, 0])
    assert pair_weight(saliency[:, None], saliency[None], router).sum() == total


def test_or_of_a_half():
    saliency = torch.tensor([1.0, 0.5, 0])
    assert pair_weight(saliency[:, None], saliency[None], "or").tolist() == [
        [1, 1, 1], [1, 0.75, 0.5], [1, 0.5, 0],
    ]  # fmt: skip


def test_or_is_and_plus_xor_for_zeros_and_ones_only():
    saliency = torch.tensor([1.0, 0, 1])
    weights = {r: pair_weight(saliency[:, None], saliency[None], r) for r in ROUTERS}
    assert torch.equal(weights["or"], weights["and"] + weights["xor"])
    half = torch.tensor(0.5)
    assert [pair_weight(half, half, r).item() for r in ("or", "and", "xor")] == [0.75, 0.25, 0]


@pytest.mark.parametrize(("router", "loss"), [("all", 1), ("and", 0), ("xor", 2), ("or", 4 / 3)])
def test_two_frames_of_two_tokens(router, loss):
    """All of the student's tokens are alike; the teacher's two are orthogonal, the first is
    salient.
    """
    student = torch.ones(1, 2, 2, 3)
    teacher = torch.eye(2).expand(1, 2, 2, 2)
    saliency = torch.tensor([1.0, 0]).expand(1, 2, 2)
    assert routed_trd(student, teacher, saliency, router).item() == pytest.approx(loss, abs=1e-5)


def test_equal_saliency_is_the_uniform_loss():
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    uniform = routed_trd(student, teacher)
    full, none = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)
    for router in ("or", "and", "all"):
        assert torch.allclose(routed_trd(student, teacher, full, router), uniform, atol=1e-5)
    assert routed_trd(student, teacher, full, "xor").abs().max() == 0
    assert routed_trd(student, teacher, none, "or").abs().max() == 0


@pytest.mark.parametrize("one_mean", [False, True])
@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("router", ROUTERS)
def test_equals_the_dense_form_in_value_and_gradient(router, options, one_mean):
    draw = torch.Generator().manual_seed(0)
    student = torch.randn(2, 3, 5, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 5, 4, generator=draw, dtype=torch.float64)
    saliency = torch.rand(2, 3, 5, generator=draw, dtype=torch.float64)
    found = routed_trd(student, teacher, saliency, router, one_mean=one_mean, **options)
    expected = dense_trd(student, teacher, saliency, router, one_mean=one_mean, **options)
    assert found.shape == (2,) and torch.allclose(found, expected, atol=1e-6, rtol=0)
    outer = torch.tensor([0.7, -1.3], dtype=torch.float64)
    gradients = [
        torch.autograd.grad((loss * outer).sum(), student)[0] for loss in (found, expected)
    ]
    assert torch.allclose(*gradients, atol=1e-6, rtol=0) and gradients[0].abs().max() > 1e-3


def test_autocast_rounds_nothing():
    """The trainer's losses are computed under it; differences of relations are small."""
    draw = torch.Generator().manual_seed(0)
    teacher = torch.randn(1, 2, 8, 32, generator=draw)
    student = (teacher + 0.02 * torch.randn(1, 2, 8, 32, generator=draw)).requires_grad_(True)
    exact = routed_trd(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        found = routed_trd(student, teacher)
    assert torch.equal(found, exact)
    assert torch.equal(*(torch.autograd.grad(loss.sum(), student)[0] for loss in (found, exact)))


class WithoutFloat64(TorchDispatchMode):
    """As a device that has none: Apple's."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        assert getattr(made, "dtype", None) != torch.float64, function
        return made


@pytest.mark.parametrize("router", ROUTERS)
def test_a_device_needs_no_float64(router):
    tokens = [torch.randn(1, 3, 4, 8) for _ in range(2)]
    with WithoutFloat64():
        routed_trd(tokens[0].requires_grad_(), tokens[1], torch.rand(1, 3, 4), router)


def test_another_router_across_frames():
    """SARA's row "w/o temporal mask": saliency weighs the pairs within a frame alone."""
    student, teacher = torch.randn(1, 3, 4, 5), torch.randn(1, 3, 4, 5)
    saliency = torch.rand(1, 3, 4)
    both = routed_trd(student, teacher, saliency, "or", temporal_router="all")
    within = routed_trd(student, teacher, saliency, "or", temporal_weight=0)
    across = routed_trd(student, teacher) - routed_trd(student, teacher, temporal_weight=0)
    assert torch.allclose(both, within + across, atol=1e-5)


def test_a_single_frame_has_its_own_pairs_only():
    student, teacher = torch.randn(1, 1, 4, 5), torch.randn(1, 1, 4, 5)
    assert torch.allclose(
        routed_trd(student, teacher), routed_trd(student, teacher, temporal_weight=0)
    )


def test_a_tokens_length_does_not_matter():
    student, teacher = torch.randn(1, 2, 4, 5), torch.randn(1, 2, 4, 5)
    assert torch.allclose(routed_trd(3 * student, teacher), routed_trd(student, 0.1 * teacher))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher": torch.ones(1, 2, 5, 4)}, "teacher tokens.*one grid"),
        ({"saliency": torch.ones(1, 2, 5)}, "saliency.*grid"),
        ({"router": "nor", "saliency": torch.ones(1, 2, 3)}, "router: got nor"),
    ],
)
def test_what_cannot_be_is_refused(change, words):
    given = {"student": torch.ones(1, 2, 3, 4), "teacher": torch.ones(1, 2, 3, 4), **change}
    with pytest.raises(SamaError, match=words):
        routed_trd(**given)
