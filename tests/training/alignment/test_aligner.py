"""The aligner beside a real small DiT: what it watches, and its loss for every row of the
tables.
"""

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.training.alignment import ARMS, AlignConfig, Aligner, make_targets
from sama_core.training.recipe import ConfigError

TINY = DitConfig(
    dim=32, ffn_dim=48, num_heads=2, num_layers=3, text_dim=8, freq_dim=16, in_dim=16, out_dim=16,
    semantic_dim=12, semantic_hidden=16, semantic_tokens=5,
)  # fmt: skip
SHAPE, CELLS, WIDTH = (3, 2, 3), (4, 6), 10
LATENTS = (2, 16, 3, 4, 6)


@pytest.fixture(scope="module")
def dit() -> SamaDiT:
    torch.manual_seed(0)
    model = SamaDiT(TINY)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return model


def aligner(config: AlignConfig, dim: int = 32, blocks: int = 3) -> Aligner:
    return Aligner(config, dim, blocks, SHAPE[1:], CELLS, WIDTH)


def run(dit: SamaDiT, part: Aligner, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    latents, source = (torch.randn(LATENTS, generator=draw) for _ in range(2))
    part.begin(SHAPE)
    patches = {"patches": {"double_block": [part.watch]}}
    text = torch.randn(2, 4, 8, generator=draw)
    semantic = torch.randn(2, 5, 12, generator=draw)
    return dit(latents, torch.tensor([500.0, 100.0]), text, source, semantic, patches)[0]


def targets(config: AlignConfig, tracks: bool = True, frames: int = 9) -> dict[str, torch.Tensor]:
    """Of a batch of two: a teacher's features on 3x5 cells, and a saliency."""
    draw = torch.Generator().manual_seed(1)
    names = ("forward", "backward") if tracks else ("features",)
    made = [
        make_targets(
            config,
            {name: torch.randn(frames, 3, 5, WIDTH, generator=draw) for name in names},
            CELLS,
            torch.rand(frames, *CELLS, generator=draw),
        )
        for _ in range(2)
    ]
    return {name: torch.stack([each[name] for each in made]) for name in made[0]}


@pytest.mark.parametrize("name", [name for name in ARMS if ARMS[name] is not None])
def test_every_row_has_a_loss_and_trains_projector_and_model(dit, name):
    config = ARMS[name]
    torch.manual_seed(0)
    part = aligner(config)
    run(dit, part)
    losses = part.losses(targets(config), torch.tensor([0.5, 0.1]))
    assert losses.shape == (2,) and losses.isfinite().all() and (losses > 0).all()
    weights = list(part.parameters())
    gradients = torch.autograd.grad(losses.sum(), [*weights, dit.blocks[0].self_attn.q.weight])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_masks_are_read_by_one_linear_layer_behind_the_projector_of_a_flow(dit):
    """SAM2VideoX §5, "+ mask": the projector is the flow's own, 256 channels at every frame."""
    part, flow = aligner(ARMS["mask_supervision"]), aligner(ARMS["sam2videox"])
    shapes = [
        [tuple(weight.shape) for weight in each.projectors.parameters()] for each in (part, flow)
    ]
    assert shapes[0] == shapes[1]
    assert tuple(part.head.weight.shape) == (1, 256) and flow.head is None
    run(dit, part)
    assert part._students[0].shape == (2, 9, *CELLS, 1)


def test_rows_differ_in_their_losses(dit):
    found = {}
    for name, config in ARMS.items():
        if config is not None:
            torch.manual_seed(0)
            part = aligner(config)
            run(dit, part)
            found[name] = part.losses(targets(config), torch.tensor([0.5, 0.1])).tolist()
    same_here = {"sara", "sara_named", "sara_changed"}  # they differ in where the saliency is from
    apart = {name: tuple(value) for name, value in found.items() if name not in same_here}
    assert len(set(apart.values())) == len(apart)
    assert len({tuple(found[name]) for name in same_here}) == 1


def test_watching_changes_nothing(dit):
    part = aligner(AlignConfig())
    watched = run(dit, part)
    part.begin(None)
    assert torch.equal(watched, run(dit, aligner(AlignConfig(block=1))))
    assert torch.equal(watched, run(dit, part))


def test_a_pass_without_gradients_is_not_projected(dit):
    part = aligner(AlignConfig())
    with torch.no_grad():
        run(dit, part)
    with pytest.raises(SamaError, match="no hidden states, needs those behind block 1"):
        part.losses(None, torch.ones(2))


def test_hidden_states_are_the_targets_behind_the_named_block(dit):
    part, seen = aligner(AlignConfig(block=2)), {}
    part.projectors[0].register_forward_pre_hook(lambda module, args: seen.update(tokens=args[0]))
    handle = dit.blocks[1].register_forward_hook(lambda module, args, out: seen.update(block=out))
    run(dit, part)
    handle.remove()
    assert torch.equal(seen["tokens"], seen["block"][:, -18:])


@pytest.mark.parametrize("made", [None, "one frame"])
def test_a_step_that_aligns_nothing_touches_every_weight(dit, made):
    config = ARMS["sam2videox"]
    part = aligner(config)
    run(dit, part)
    if made:
        part._students = [student[:, :1] for student in part._students]
        made = {"flow": torch.zeros(2, 0, *CELLS, 49)}
    losses = part.losses(made, torch.ones(2))
    assert losses.tolist() == [0, 0]
    gradients = torch.autograd.grad(losses.sum(), list(part.parameters()))
    assert all(gradient is not None and gradient.abs().sum() == 0 for gradient in gradients)


def test_noise_levels_outside_the_range_do_not_count(dit, monkeypatch):
    """Nor is anything computed for them: the pairs of a real clip are 5 TFLOP."""
    config = AlignConfig(router="all", sigma=(0.3, 0.6))
    part = aligner(config)
    run(dit, part)
    compared, compare = [], part._compare
    monkeypatch.setattr(
        part, "_compare", lambda *of: compared.append(len(of[0][0])) or compare(*of)
    )
    losses = part.losses(targets(config, tracks=False), torch.tensor([0.7, 0.5]))
    assert losses[0] == 0 and losses[1] > 0 and compared == [1]
    run(dit, part)
    assert part.losses(targets(config, tracks=False), torch.ones(2)).tolist() == [0, 0]
    assert compared == [1]


def test_a_samples_loss_is_its_own(dit):
    """Alone or in a batch: so SARA's sums are taken per sample."""
    config = ARMS["sara_named"]
    part = aligner(config)
    run(dit, part)
    students, made = part._students, targets(config, tracks=False)
    together = part.losses(made, torch.ones(2))
    for row in range(2):
        part._students = [student[row : row + 1] for student in students]
        alone = part.losses({name: value[row : row + 1] for name, value in made.items()},
                            torch.ones(1))  # fmt: skip
        assert torch.allclose(alone, together[row : row + 1], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: made.pop("features"), "teacher's features: got nothing"),
        (
            lambda made: made.update(features=torch.ones(2, 3, 5, 6, WIDTH)),
            r"got shape \(2, 3, 5, 6, 10\), needs at most 9 frames of 4x6 cells of 10 values",
        ),
        (
            lambda made: made.update(features=torch.ones(2, 3, *CELLS, 12)),
            r"got shape \(2, 3, 4, 6, 12\), needs at most 9 frames of 4x6 cells of 10 values",
        ),
        (
            lambda made: made.update(features=torch.ones(2, 10, *CELLS, WIDTH)),
            r"got shape \(2, 10, 4, 6, 10\), needs at most 9 frames",
        ),
        (lambda made: made.pop("saliency"), "teacher's saliency: got nothing"),
    ],
)
def test_another_teacher_is_refused(dit, change, words):
    config = ARMS["sara_named"]
    part = aligner(config)
    run(dit, part)
    made = targets(config, tracks=False)
    change(made)
    with pytest.raises(SamaError, match=words):
        part.losses(made, torch.ones(2))


def test_another_window_is_refused(dit):
    config = ARMS["sam2videox"]
    part = aligner(config)
    run(dit, part)
    words = r"flow: got shape \(2, 8, 4, 6, 25\), needs at most 8 frames of 4x6 cells of 49 values"
    with pytest.raises(SamaError, match=words):
        part.losses({"flow": torch.zeros(2, 8, *CELLS, 25)}, torch.ones(2))


@pytest.mark.parametrize("frames", [3, 5])
def test_a_teacher_of_another_stride_has_the_students_frames_brought_to_its_own(dit, frames):
    """3 slices of 9 frames, as Wan's latents, or 5, as V-JEPA 2's."""
    config = ARMS["trd"]
    part = aligner(config)
    run(dit, part)
    losses = part.losses(targets(config, tracks=False, frames=frames), torch.ones(2))
    assert losses.isfinite().all() and (losses > 0).all()


def test_a_teachers_frames_meet_the_students_of_their_time(dit):
    """Tokens that change with time alone: a latent frame k is of the middle of its pixel frames."""
    part = aligner(ARMS["repa"])
    part.begin(SHAPE)
    part._students = [torch.tensor([0.0, 2.5, 6.5]).view(1, 3, 1, 1, 1).expand(2, 3, *CELLS, WIDTH)]
    found = part._match(part._students[0], 9)[0, :, 0, 0, 0]
    torch.testing.assert_close(found, torch.arange(9.0).clamp(max=6.5))
    found = part._match(part._students[0], 5)[0, :, 0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0, 1.5, 3.5, 5.5, 6.5]))


@pytest.mark.parametrize("name", ["sara_named", "sam2videox_salient", "repa"])
def test_a_sample_without_features_gives_0_and_changes_no_other(dit, name):
    config = ARMS[name]
    part = aligner(config)
    run(dit, part)
    students, made = part._students, targets(config, tracks=False)
    every = part.losses(made, torch.ones(2))
    part._students = students
    made = {name: value * torch.tensor([0.0, 1.0]).view(2, *[1] * (value.ndim - 1))
            for name, value in made.items()}  # fmt: skip
    found = part.losses({**made, "known": torch.tensor([False, True])}, torch.ones(2))
    assert found[0] == 0 and torch.allclose(found[1], every[1], atol=1e-6)
    part._students = students
    none = part.losses({**made, "known": torch.zeros(2, dtype=torch.bool)}, torch.ones(2))
    assert none.tolist() == [0, 0]
    assert all(
        gradient is not None
        for gradient in torch.autograd.grad(none.sum(), list(part.parameters()))
    )


@pytest.mark.parametrize("name", ["sara_named", "sara_and", "sara_xor", "sam2videox_salient"])
def test_a_saliency_of_0_gives_a_loss_of_0(dit, name):
    """No pair and no position counts: sums of weights are 0, and their EPSILON keeps it finite."""
    config = ARMS[name]
    part = aligner(config)
    run(dit, part)
    made = targets(config, tracks=False)
    made["saliency"] = torch.zeros_like(made["saliency"])
    losses = part.losses(made, torch.ones(2))
    assert losses.tolist() == [0, 0]
    gradients = torch.autograd.grad(losses.sum(), list(part.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_block_outside_the_model_is_refused():
    with pytest.raises(ConfigError, match="align.block: got 9, needs 1 to 3"):
        aligner(AlignConfig(block=9))
