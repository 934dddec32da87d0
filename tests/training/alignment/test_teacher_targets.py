"""What is made of a teacher's features: fused, matched to the cells, with the ends of each
direction.
"""

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.training.alignment import (
    ARMS,
    AlignConfig,
    flow_divergence,
    local_gram_flow,
    make_targets,
)
from sama_core.training.alignment.teacher_targets import fit_half_precision, resize_cells

FLOW = {"relation": "flow", "distance": "kl"}


def directions(frames=4):
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(frames, 5, 6, 3, generator=draw) for name in ("forward", "backward")}


def flow_of(features):
    return local_gram_flow(features[None])[0]


def test_the_pair_beside_a_prompted_frame_is_the_other_directions():
    given = directions()
    made = make_targets(AlignConfig(**FLOW), given, (5, 6))["flow"]
    forward, backward = flow_of(given["forward"]), flow_of(given["backward"])
    assert torch.equal(made[0], backward[0]) and torch.equal(made[-1], forward[-1])
    inside = forward[1].isfinite()
    assert torch.allclose(made[1][inside], ((forward[1] + backward[1]) / 2)[inside])
    kept = make_targets(AlignConfig(**FLOW, ends="keep", k=0.25), given, (5, 6))["flow"]
    mixed = 0.25 * forward[0][inside] + 0.75 * backward[0][inside]
    assert torch.allclose(kept[0][inside], mixed, atol=1e-6)


def test_fusions():
    given = directions()
    made = {
        name: make_targets(ARMS[f"sam2videox_{name}"], given, (5, 6))
        for name in ("forward", "separate", "features", "without_flow")
    }
    forward, backward = given["forward"], given["backward"]
    assert torch.equal(made["forward"]["flow"], flow_of(forward))
    assert torch.equal(made["separate"]["backward"], flow_of(backward))
    assert torch.allclose(made["without_flow"]["features"], (forward + backward) / 2)
    assert torch.equal(made["features"]["flow"], flow_of(made["without_flow"]["features"]))


def test_both_ways_are_the_clip_and_the_clip_turned_round():
    given = directions()
    made = make_targets(AlignConfig(**FLOW, both_ways=True), given, (5, 6))["flow"]
    turned = {name: value.flip(0) for name, value in given.items()}
    there = make_targets(AlignConfig(**FLOW), given, (5, 6))["flow"]
    # Turned round, the prompted frames change places, and with them the ends' directions.
    back = make_targets(
        AlignConfig(**FLOW), {"forward": turned["backward"], "backward": turned["forward"]}, (5, 6)
    )["flow"]
    assert torch.equal(made[:3], there) and torch.equal(made[3:], back)


def test_a_flow_of_large_products_keeps_its_distributions_in_half_precision():
    """Of 256 channels of deviation 2, as smooth as a clip's: products of about 1000."""
    draw = torch.Generator().manual_seed(0)
    steps = 0.02 * torch.randn(3, 9, 9, 256, generator=draw).cumsum(1).cumsum(2)
    features = {"features": 2 * torch.randn(256, generator=draw) + steps}
    config = AlignConfig(**FLOW)
    exact = make_targets(config, features, (9, 9))
    kept = fit_half_precision(config, exact)["flow"].half().float()
    assert exact["flow"][exact["flow"].isfinite()].mean() > 900
    assert flow_divergence(exact["flow"][None], kept[None]).item() < 1e-6
    rounded = exact["flow"].half().float()
    assert flow_divergence(exact["flow"][None], rounded[None]).item() > 1e-3
    assert torch.equal(kept.isneginf(), exact["flow"].isneginf())


def test_other_targets_are_kept_as_they_are():
    square = AlignConfig(relation="flow", distance="square")
    made = make_targets(square, {"features": directions()["forward"]}, (5, 6))
    assert fit_half_precision(square, made) is made
    assert square.targets_key() != AlignConfig(**FLOW).targets_key()


def test_a_teacher_of_one_direction_has_one_flow():
    features = directions()["forward"]
    made = make_targets(AlignConfig(**FLOW), {"features": features}, (5, 6))
    assert torch.equal(made["flow"], flow_of(features))


def test_cells_are_the_students():
    features = torch.arange(4.0).view(1, 2, 2, 1).expand(3, 2, 2, 1)
    assert torch.equal(resize_cells(features, (2, 2)), features)
    assert resize_cells(features, (1, 1)).flatten().tolist() == pytest.approx([1.5] * 3)
    assert resize_cells(features, (4, 6)).shape == (3, 4, 6, 1)


def test_what_is_missing_is_named():
    features = {"features": torch.ones(2, 2, 2, 1)}
    with pytest.raises(SamaError, match="saliency: got none, needs named"):
        make_targets(ARMS["sara_named"], features, (2, 2))
    with pytest.raises(SamaError, match="teacher: got forward, needs backward features"):
        make_targets(AlignConfig(**FLOW), {"forward": torch.ones(2, 2, 2, 1)}, (2, 2))
