"""Saliency: what changed, masks on cells, and the aligner that learns it."""

import math

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.training.alignment.saliency import (
    SaliencyAligner,
    changed_cells,
    contrast_loss,
    mask_loss,
    reduce_mask,
    saliency_losses,
)
from sama_core.training.alignment.saliency_diagnostics import (
    _self_entropy,
    _top_share,
    describe_attention,
    describe_saliency,
    overlap_of,
)


def test_changed_cells_are_the_share_of_changed_pixels():
    source = torch.zeros(1, 5, 8, 8, 3)
    target = source.clone()
    target[0, 0, :4, :4, 1] = 1  # the whole of a cell in the first frame
    target[0, 1:3, 4:, :2, 0] = 0.5  # half a cell in two of the four frames of the second slice
    target[0, :, :, :, 2] += 0.04  # less than the threshold
    found = changed_cells(source, target, (2, 2, 2))
    assert found.tolist() == [[[[1, 0], [0, 0]], [[0, 0], [0.25, 0]]]]


@pytest.mark.parametrize(("frames", "slices"), [(1, 1), (5, 2), (17, 5), (16, 8), (7, 3)])
def test_masks_are_reduced_to_slices(frames, slices):
    mask = torch.ones(2, frames, 12, 20)
    assert torch.equal(reduce_mask(mask, (slices, 3, 5)), torch.ones(2, slices, 3, 5))


def test_the_first_frame_is_a_slice_of_its_own():
    mask = torch.zeros(1, 9, 4, 4)
    mask[0, 0] = 1
    assert reduce_mask(mask, (3, 2, 2))[0, :, 0, 0].tolist() == [1, 0, 0]


def test_other_clips_are_refused():
    with pytest.raises(SamaError, match="source and target: got shapes"):
        changed_cells(torch.zeros(1, 5, 8, 8, 3), torch.zeros(1, 4, 8, 8, 3), (2, 2, 2))
    with pytest.raises(SamaError, match=r"mask: got shape \(5, 8, 8\)"):
        reduce_mask(torch.zeros(5, 8, 8), (2, 2, 2))


def test_losses_by_hand():
    saliency = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    expected = [-math.log(0.9), -math.log(0.5)]
    assert mask_loss(saliency, mask).tolist() == pytest.approx(expected)
    apart = torch.eye(3)
    certain = math.log(1 + 2 * math.exp(-1 / 0.07))
    assert contrast_loss(5 * apart, apart).tolist() == pytest.approx([certain] * 3, abs=1e-6)
    same = torch.ones(3, 4)
    assert contrast_loss(same, same).tolist() == pytest.approx([math.log(3)] * 3)
    alike = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    found = contrast_loss(same, same, alike=alike)  # the same text is no negative
    assert found.tolist() == pytest.approx([math.log(2), math.log(2), math.log(3)])


def test_tokens_under_the_mask_are_compared_with_the_text():
    """By hand: the projector is the identity of unit vectors, the first token lies under row 1's
    mask, the second under row 2's; each text's real row is its own token.
    """
    aligner = SaliencyAligner(2, 2, heads=1, blocks=(1, 1), hidden=2)
    with torch.no_grad():
        aligner.project[1].weight.copy_(torch.eye(2))
        aligner.project[1].bias.zero_()
    fused = torch.eye(2).expand(2, 2, 2)
    saliency = torch.full((2, 2), 0.5)
    text = torch.stack([torch.eye(2), torch.eye(2).flip(0)])
    real = torch.tensor([[True, False], [True, False]])
    masked, contrast = saliency_losses(aligner, (fused, saliency), text, real, torch.eye(2))
    assert masked.tolist() == pytest.approx([math.log(2)] * 2)
    certain = math.log(1 + math.exp(-1 / 0.07))
    assert contrast.tolist() == pytest.approx([certain] * 2, abs=1e-6)


def test_diagnostics_by_hand():
    found = describe_saliency(torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
    assert found == pytest.approx(
        {"mean": 0.5, "max": 0.75, "coverage": 0.25, "entropy": math.log(2) / 2}
    )


def test_the_overlap_of_a_saliency():
    """Above a half of its own largest value each: one cell of the two that are named."""
    truth = torch.tensor([[0.8, 0.5, 0.1, 0.0]])
    assert overlap_of(truth, truth) == 1.0
    assert overlap_of(torch.tensor([[0.2, 0.0, 0.05, 0.0]]), truth) == 0.5


def test_diagnostics_of_attention_by_hand():
    """Attention that is alike over 3 of 4 words: H = log 3, so 1 − log 3 / log 4. A block that
    passes tokens on as they are changes neither their attention nor their variance.
    """
    torch.manual_seed(0)
    aligner = SaliencyAligner(8, 4, heads=2, blocks=(1, 1), hidden=8)
    with torch.no_grad():
        for block in (*aligner.cross, *aligner.among):
            block.attention.in_proj_weight.zero_()
            block.attention.in_proj_bias.zero_()
            block.attention.out_proj.weight.zero_()
            block.feed_forward[2].weight.zero_()
            block.feed_forward[2].bias.zero_()
    real = torch.tensor([[True, True, True, False]])
    tokens, text = torch.randn(1, 6, 8), torch.randn(1, 4, 4)
    found = describe_attention(aligner, tokens, text, real)
    expected = {"focus": 1 - math.log(3) / math.log(4)}
    expected |= {"self_entropy_change": 0, "top3_change": 0}
    assert found == pytest.approx(expected, abs=1e-6)
    # A feed-forward that adds one large vector to each token makes them alike to one another.
    with torch.no_grad():
        aligner.among[0].feed_forward[2].bias.copy_(100 * torch.eye(8)[0])
    assert describe_attention(aligner, tokens, text, real)["self_entropy_change"] > 0.01


def test_what_tokens_are_like_is_computed_in_float32_under_autocast():
    """A card has no eigenvalues of numbers of 16 bit."""
    torch.manual_seed(0)
    aligner = SaliencyAligner(8, 4, heads=2, blocks=(1, 1), hidden=8)
    tokens, text, real = torch.randn(1, 6, 8), torch.randn(1, 4, 4), torch.ones(1, 4).bool()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fused = aligner(tokens, text, real)[0]
        found = describe_attention(aligner, tokens, text, real)
    assert found["top3_change"] == _top_share(fused) - _top_share(tokens)
    assert found["self_entropy_change"] == _self_entropy(fused) - _self_entropy(tokens)


def test_activations_that_are_computed_again_give_the_same_gradients():
    torch.manual_seed(0)
    aligner = SaliencyAligner(16, 8, heads=2, blocks=(1, 1), hidden=16)
    tokens, text = torch.randn(2, 6, 16), torch.randn(2, 3, 8)
    found = []
    for recompute in (False, True):
        aligner.recompute = recompute
        aligner.zero_grad()
        aligner(tokens, text)[1].sum().backward()
        found.append([weight.grad.clone() for weight in aligner.cross.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_aligner_learns_what_the_text_names():
    """Tokens of two kinds at random places; the text names one of the kinds. In 150 steps of seed
    0.
    """
    torch.manual_seed(0)
    kinds = torch.randn(2, 16)
    aligner = SaliencyAligner(16, 8, heads=2, blocks=(1, 1), hidden=16)
    words = torch.randn(2, 8)
    optimiser = torch.optim.AdamW(aligner.parameters(), lr=3e-3)

    def draw(count: int):
        which = torch.randint(2, (count, 12))
        named = torch.randint(2, (count,))
        text = torch.stack([words[named], torch.zeros(count, 8)], dim=1)
        real = torch.tensor([[True, False]]).expand(count, 2)
        return kinds[which] + 0.1 * torch.randn(count, 12, 16), text, real, which == named[:, None]

    for _ in range(150):
        tokens, text, real, mask = draw(32)
        fused, saliency = aligner(tokens, text, real)
        loss = mask_loss(saliency, mask).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    tokens, text, real, mask = draw(64)
    fused, saliency = aligner(tokens, text, real)
    assert fused.shape == tokens.shape and aligner.project(fused).shape == (64, 12, 8)
    assert ((saliency > 0.5) == mask).float().mean() > 0.95


def test_padding_of_the_text_changes_nothing():
    aligner = SaliencyAligner(16, 8, heads=2)
    tokens, text = torch.randn(2, 6, 16), torch.randn(2, 5, 8)
    real = torch.tensor([[True, True, False, False, False]] * 2)
    padded = text.clone()
    padded[:, 2:] = 99.0
    one, other = (aligner(tokens, each, real)[1] for each in (text, padded))
    assert torch.allclose(one, other)
    assert torch.allclose(one, aligner(tokens, text[:, :2])[1], atol=1e-6)
