"""Objectives: losses worked out by hand, draws from explicit generators, gradients, and blame for
broken samples.
"""

import math

import pytest
import torch
from torch import Generator, Tensor

from sama_core import SamaDiT
from sama_core.errors import SamaError
from sama_core.training.objectives import (
    Breakdown,
    FlowMatching,
    JointObjective,
    Noised,
    SemanticAnchoring,
    add_noise,
    on_own_path,
)
from sama_core.training.objectives.mixture import JointInputs
from sama_core.training.objectives.noising import draw_sigmas, model_timestep, timestep_weight

SAMA_TENSORS = 11


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def per_sample(*seeds: int) -> list[Generator]:
    return [seeded(seed) for seed in seeds]


# --- noise and velocity ------------------------------------------------------------------------


def test_velocity_is_noise_minus_clean_and_the_path_is_straight():
    clean, sigma = torch.randn(3, 4, 2, 2, 2, generator=seeded(1)), torch.tensor([0.0, 0.25, 1.0])
    noised = add_noise(clean, sigma, seeded(7))
    noise = torch.randn(clean.shape, generator=seeded(7))
    assert torch.equal(noised.velocity, noise - clean)
    assert torch.equal(noised.noisy[0], clean[0])
    assert torch.equal(noised.noisy[2], noise[2])
    torch.testing.assert_close(noised.noisy[1], 0.75 * clean[1] + 0.25 * noise[1])
    torch.testing.assert_close(noised.noisy - sigma.view(3, 1, 1, 1, 1) * noised.velocity, clean)


def test_bfloat16_data_gets_the_same_noise_and_an_exact_velocity():
    clean = torch.randn(2, 65, 8, generator=seeded(1)).bfloat16()
    noised = add_noise(clean, torch.tensor([0.3, 0.6]), seeded(7))
    wide = add_noise(clean.float(), torch.tensor([0.3, 0.6]), seeded(7))
    assert noised.noisy.dtype == torch.bfloat16 and noised.velocity.dtype == torch.float32
    assert torch.equal(noised.velocity, wide.velocity)
    assert torch.equal(noised.noisy, wide.noisy.bfloat16())


def test_a_samples_own_generator_makes_it_independent_of_its_batch():
    objective, latents, tokens = (
        JointObjective(),
        torch.randn(4, 16, 1, 2, 2),
        torch.randn(4, 65, 8),
    )
    whole = objective.prepare(latents, tokens, per_sample(10, 11, 12, 13))
    rest = objective.prepare(latents[2:], tokens[2:], per_sample(12, 13))
    assert torch.equal(whole.sigma[2:], rest.sigma)
    assert torch.equal(whole.video.noisy[2:], rest.video.noisy)
    assert torch.equal(whole.semantic.noisy[2:], rest.semantic.noisy)


def test_generators_must_match_the_batch():
    with pytest.raises(SamaError, match="got 2, needs one, or one for each of 3 samples"):
        add_noise(torch.zeros(3, 2), torch.zeros(3), per_sample(0, 1))


# --- timesteps ---------------------------------------------------------------------------------


def test_sigmas_are_the_shifted_levels():
    sigmas = draw_sigmas(20_000, seeded())
    u = sigmas / (5 - 4 * sigmas) * 1000  # undo the shift
    torch.testing.assert_close(u, u.round(), rtol=0, atol=2e-3)
    assert (u.round().min(), u.round().max()) == (1, 1000)
    assert sigmas.max() == 1 and math.isclose(sigmas.min(), 0.005 / 1.004, rel_tol=1e-6)
    # Uniform u: its mean is 500.5 within 4 standard errors of 288.7 / sqrt(20000).
    assert abs(u.mean() - 500.5) < 4 * 288.7 / math.sqrt(20_000)
    # Half of the draws lie above the shifted middle, 5/6.
    assert abs((sigmas > 5 / 6).float().mean() - 0.5) < 4 * 0.5 / math.sqrt(20_000)


def test_other_shifts():
    torch.testing.assert_close(
        draw_sigmas(500, seeded(), shift=1.0) * 1000,
        1000.0 - torch.randint(1000, (500,), generator=seeded()),
        rtol=0,
        atol=1e-3,
    )
    with pytest.raises(SamaError, match="needs more than 0"):
        draw_sigmas(1, seeded(), shift=0.0)


def test_model_is_told_bfloat16_timesteps():
    sigma = torch.tensor([0.99593, 0.99174, 0.98740, 0.5, 0.092593])
    assert model_timestep(sigma).tolist() == [996, 992, 988, 500, 92.5]


def test_uniform_weight_is_one():
    assert timestep_weight(torch.tensor([0.1, 1.0])).tolist() == [1, 1]


def test_bell_weight_has_mean_one_and_vanishes_at_pure_noise():
    levels = 1 - torch.arange(1000) / 1000
    levels = 5 * levels / (1 + 4 * levels)
    weights = timestep_weight(levels, 5.0, "bell")
    assert weights[0] == 0 and weights.min() == 0
    assert math.isclose(weights.double().mean(), 1, rel_tol=1e-6)
    # By hand: (e^0 - e^-½) and (e^-0.08 - e^-½), in the ratio 1 : 0.8046.
    middle, side = timestep_weight(torch.tensor([0.5, 0.7]), 5.0, "bell").tolist()
    assert math.isclose(
        side / middle, (math.exp(-0.08) - math.exp(-0.5)) / (1 - math.exp(-0.5)), rel_tol=1e-5
    )


def test_unknown_weighting_is_refused():
    with pytest.raises(SamaError, match="'cosmap', needs uniform or bell"):
        timestep_weight(torch.ones(1), weighting="cosmap")


# --- losses by hand ----------------------------------------------------------------------------


def test_flow_loss_is_the_mean_squared_error_of_each_sample():
    predicted = torch.tensor([[1.0, 2.0], [0.0, 0.0]]).view(2, 1, 1, 1, 2)
    velocity = torch.tensor([[0.0, 4.0], [3.0, 0.0]]).view(2, 1, 1, 1, 2)
    losses = FlowMatching().losses(predicted, velocity, torch.ones(2))
    assert losses.tolist() == [2.5, 4.5]


def test_element_weights_make_a_weighted_mean():
    predicted, velocity = torch.zeros(3, 2, 1, 1, 2), torch.tensor([1.0, 3.0]).expand(3, 2, 1, 1, 2)
    weight = torch.tensor([[2.0, 2.0], [3.0, 1.0], [0.0, 0.0]]).view(3, 1, 1, 1, 2)
    losses = FlowMatching().losses(predicted, velocity, torch.ones(3), weight)
    assert losses.tolist() == [5, 3, 0]  # (1 + 9) / 2, (3·1 + 1·9) / 4, nothing counts


def test_bell_weighting_scales_each_samples_loss():
    sigma = torch.tensor([0.5, 1.0])
    ones = torch.ones(2, 1, 1, 1, 1)
    losses = FlowMatching(timestep_weighting="bell").losses(ones, 0 * ones, sigma)
    assert torch.equal(losses, timestep_weight(sigma, weighting="bell")) and losses[1] == 0


def test_semantic_loss_is_the_mean_absolute_error_of_each_sample():
    predicted = torch.tensor([[[1.0, -2.0]], [[0.0, 0.0]]])
    velocity = torch.tensor([[[0.0, 2.0]], [[0.5, 0.0]]])
    assert SemanticAnchoring().losses(predicted, velocity).tolist() == [2.5, 0.25]


def test_total_is_flow_plus_a_tenth_of_semantic():
    video, tokens = torch.zeros(2, 1, 1, 1, 2), torch.zeros(2, 1, 2)
    inputs = JointInputs(
        torch.ones(2), torch.ones(2), Noised(video, video + 2), Noised(tokens, tokens - 3)
    )
    breakdown = JointObjective().losses((video, tokens), inputs)
    assert breakdown.flow.tolist() == [4, 4]
    assert breakdown.semantic.tolist() == [3, 3]
    torch.testing.assert_close(breakdown.total, torch.tensor([4.3, 4.3]))
    assert list(breakdown.parts()) == ["flow", "semantic", "total"]
    assert all(
        loss.shape == (2,) and loss.dtype == torch.float32 for loss in breakdown.parts().values()
    )


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(SamaError, match="predicted video velocity"):
        FlowMatching().losses(torch.zeros(2, 1, 1, 1, 1), torch.zeros(2, 1, 1, 1, 2), torch.ones(2))
    with pytest.raises(
        SamaError, match=r"predicted semantic velocity: got shape \(2, 1, 2\), needs \(2, 65, 2\)"
    ):
        SemanticAnchoring().losses(torch.zeros(2, 1, 2), torch.zeros(2, 65, 2))


# --- with a model ------------------------------------------------------------------------------


class Recorder:
    """A model that keeps what it is given and answers zeros."""

    def __call__(self, latents, timestep, context, source_latents, semantic_latents):
        self.given = latents, timestep, context, source_latents, semantic_latents
        return torch.zeros_like(latents), None if semantic_latents is None else torch.zeros_like(
            semantic_latents
        )


@pytest.fixture
def batch() -> dict[str, Tensor]:
    shapes = {
        "latents": (3, 16, 2, 6, 8),
        "context": (3, 9, 32),
        "source_latents": (3, 16, 2, 6, 8),
        "semantics": (3, 65, 48),
    }
    generator = seeded(5)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def dit(golden) -> SamaDiT:
    return SamaDiT.from_state_dict(golden("dit_small").state_dict(), num_heads=4)


def test_both_streams_share_one_timestep_per_sample(batch):
    model, objective = Recorder(), JointObjective()
    breakdown = objective(model, **batch, generators=seeded(3))
    inputs = objective.prepare(batch["latents"], batch["semantics"], seeded(3))
    latents, timestep, context, source, semantic = model.given
    assert (
        torch.equal(timestep, (inputs.sigma * 1000).bfloat16().float())
        and len(set(timestep.tolist())) == 3
    )
    sigma = inputs.sigma.view(3, 1, 1)
    torch.testing.assert_close(semantic, batch["semantics"] + sigma * inputs.semantic.velocity)
    torch.testing.assert_close(
        latents, batch["latents"] + sigma[..., None, None] * inputs.video.velocity
    )
    assert context is batch["context"] and source is batch["source_latents"]
    torch.testing.assert_close(breakdown.flow, inputs.video.velocity.square().flatten(1).mean(1))
    torch.testing.assert_close(
        breakdown.semantic, inputs.semantic.velocity.abs().flatten(1).mean(1)
    )


def test_without_anchoring_there_are_no_tokens_and_the_video_noise_is_the_same(batch):
    with_tokens, without = Recorder(), Recorder()
    JointObjective()(with_tokens, **batch, generators=seeded(3))
    breakdown = JointObjective(anchoring=None)(without, **batch, generators=seeded(3))
    assert without.given[4] is None
    assert all(
        torch.equal(a, b) for a, b in zip(with_tokens.given[:2], without.given[:2], strict=True)
    )
    assert torch.equal(breakdown.total, breakdown.flow) and not breakdown.semantic.any()


def test_same_generator_same_losses(dit, batch):
    def losses(seed: int) -> Tensor:
        return JointObjective()(dit, **batch, generators=seeded(seed)).total.detach()

    assert torch.equal(losses(1), losses(1))
    assert not torch.equal(losses(1), losses(2))


def test_losses_of_parts_are_the_losses_of_the_whole(dit, batch):
    """One generator per sample: two processes with a part each see what one would."""
    whole = JointObjective()(dit, **batch, generators=per_sample(1, 2, 3)).total
    for part, seeds in ((slice(0, 1), (1,)), (slice(1, 3), (2, 3))):
        inputs = {name: value[part] for name, value in batch.items()}
        torch.testing.assert_close(
            JointObjective()(dit, **inputs, generators=per_sample(*seeds)).total, whole[part]
        )


def sama_tensors(dit: SamaDiT) -> dict[str, Tensor]:
    prefixes = ("segment_embedding.", "siglip_feat_mlp.", "semantic_head.")
    return {name: value for name, value in dit.named_parameters() if name.startswith(prefixes)}


def test_gradient_reaches_all_sama_tensors(dit, batch):
    JointObjective()(dit, **batch, generators=seeded()).total.mean().backward()
    tensors = sama_tensors(dit)
    assert len(tensors) == SAMA_TENSORS
    assert [
        name for name, value in tensors.items() if value.grad is None or not value.grad.any()
    ] == []
    assert (
        dit.segment_embedding.weight.grad.abs().sum(1).gt(0).all()
    )  # source, semantic and target row
    assert all(value.grad is not None and value.grad.any() for value in dit.parameters())


def test_unsupervised_tokens_leave_the_head_alone(dit, batch):
    """λ = 0 keeps the tokens: the projector still learns through the video, the head does not."""
    JointObjective(anchoring=SemanticAnchoring(weight=0.0))(
        dit, **batch, generators=seeded()
    ).total.mean().backward()
    moved = {
        name
        for name, value in sama_tensors(dit).items()
        if value.grad is not None and value.grad.any()
    }
    assert len(moved) == 7 and not any(name.startswith("semantic_head.") for name in moved)


def test_a_few_steps_lower_both_losses(dit, batch):
    objective, optimizer = JointObjective(), torch.optim.Adam(dit.parameters(), 3e-3)
    history: list[Breakdown] = []
    for _ in range(30):
        history.append(
            objective(dit, **batch, generators=seeded())
        )  # the same noise: a fit, not a training
        optimizer.zero_grad()
        history[-1].total.mean().backward()
        optimizer.step()
    for name, factor in {
        "flow": 0.8,
        "semantic": 0.9,
        "total": 0.8,
    }.items():  # λ makes the semantic part slow
        assert history[-1].parts()[name].mean() < factor * history[0].parts()[name].mean(), name


def test_missing_or_wrong_semantic_targets_are_refused(batch):
    with pytest.raises(
        SamaError, match="semantic targets: got none, needs the tokens of 3 anchor frames"
    ):
        JointObjective()(Recorder(), **(batch | {"semantics": None}), generators=seeded())
    with pytest.raises(SamaError, match="got 2 samples"):
        JointObjective()(
            Recorder(), **(batch | {"semantics": batch["semantics"][:2]}), generators=seeded()
        )


@pytest.mark.parametrize("name", ["latents", "source_latents", "context", "semantics"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_sample_is_found_by_its_loss(dit, batch, name, bad):
    batch[name][1].view(-1)[3] = bad
    with torch.no_grad():
        breakdown = JointObjective()(dit, **batch, generators=per_sample(1, 2, 3))
    assert breakdown.broken() == [1]
    assert torch.isfinite(breakdown.total[[0, 2]]).all() and not torch.isfinite(breakdown.total[1])


def test_no_sample_is_broken_when_all_losses_are_finite():
    assert Breakdown(*torch.ones(3, 4)).broken() == []


# --- the model's own path ----------------------------------------------------------------------

SIGMAS = [0.9, 0.5, 0.2]


class FirstStep:
    """Predicts the velocities that lead to the clean batch, with mistakes of 1 in the video and 2
    in the tokens.

    The context is each sample's number, so that it knows which ones it is asked for.
    """

    def __init__(self, inputs: JointInputs):
        self.inputs, self.given = inputs, None

    def __call__(self, video, timestep, context, source, semantic):
        self.given, rows = (video, timestep, context, source, semantic), context[:, 0].long()
        return self.inputs.video.velocity[rows] + 1, self.inputs.semantic.velocity[rows] + 2


@pytest.fixture
def on_the_data_path() -> JointInputs:
    sigma = torch.tensor(SIGMAS)
    return JointInputs(
        sigma,
        model_timestep(sigma),
        add_noise(torch.ones(3, 16, 1, 2, 2), sigma, seeded(1)),
        add_noise(torch.ones(3, 5, 8), sigma, seeded(2)),
    )


NUMBERS = torch.arange(3.0)[:, None]


def test_own_path_is_where_one_euler_step_leads(on_the_data_path):
    """A mistake of d in the velocity moves x_σ by (σ - 1)·d; what is left to learn still leads to
    the clean batch.
    """
    before, model = on_the_data_path, FirstStep(on_the_data_path)
    after = on_own_path(model, before, NUMBERS, NUMBERS, 1.0, seeded())
    for stream, old, mistake in (
        (after.video, before.video, 1),
        (after.semantic, before.semantic, 2),
    ):
        moved = (stream.noisy - old.noisy).flatten(1)
        for row, sigma in enumerate(SIGMAS[:2]):
            torch.testing.assert_close(
                moved[row], torch.full_like(moved[row], mistake * (sigma - 1))
            )
            clean = stream.noisy[row] - sigma * stream.velocity[row]
            torch.testing.assert_close(clean, torch.ones_like(clean))
    assert torch.equal(after.sigma, before.sigma) and torch.equal(after.timestep, before.timestep)


def test_low_levels_stay_on_the_data_path(on_the_data_path):
    before, model = on_the_data_path, FirstStep(on_the_data_path)
    after = on_own_path(model, before, NUMBERS, NUMBERS, 1.0, seeded())
    assert model.given[2].flatten().tolist() == [0, 1]
    for stream, old in ((after.video, before.video), (after.semantic, before.semantic)):
        assert torch.equal(stream.noisy[2], old.noisy[2]) and torch.equal(
            stream.velocity[2], old.velocity[2]
        )


def test_own_path_begins_at_pure_noise_with_the_samples_own_conditions(on_the_data_path):
    model = FirstStep(on_the_data_path)
    on_own_path(model, on_the_data_path, NUMBERS, NUMBERS + 7, 1.0, seeded())
    video, timestep, context, source, semantic = model.given
    assert timestep.tolist() == [1000, 1000]
    torch.testing.assert_close(
        video, on_the_data_path.video.velocity[:2] + 1
    )  # noise = velocity + clean
    torch.testing.assert_close(semantic, on_the_data_path.semantic.velocity[:2] + 1)
    assert torch.equal(source, context + 7)


def test_without_a_share_the_model_is_called_and_nothing_moves(on_the_data_path):
    model = FirstStep(on_the_data_path)
    assert on_own_path(model, on_the_data_path, NUMBERS, NUMBERS, 0.0, seeded()) is on_the_data_path
    assert len(model.given[0]) == 1


def test_about_a_share_takes_its_own_path():
    sigma = torch.full((400,), 0.5)
    inputs = JointInputs(
        sigma,
        model_timestep(sigma),
        add_noise(torch.ones(400, 1), sigma, seeded(1)),
        add_noise(torch.ones(400, 1), sigma, seeded(2)),
    )
    numbers = torch.arange(400.0)[:, None]
    after = on_own_path(FirstStep(inputs), inputs, numbers, numbers, 0.3, seeded())
    moved = (after.video.noisy != inputs.video.noisy).flatten()
    assert 90 < moved.sum() < 150
    assert torch.equal(moved, (after.semantic.noisy != inputs.semantic.noisy).flatten())


def test_no_gradient_runs_through_the_first_step(on_the_data_path):
    weight = torch.ones((), requires_grad=True)
    model = FirstStep(on_the_data_path)
    after = on_own_path(
        lambda *given: tuple(weight * part for part in model(*given)),
        on_the_data_path,
        NUMBERS,
        NUMBERS,
        1.0,
        seeded(),
    )
    assert not after.video.noisy.requires_grad and not after.video.velocity.requires_grad
