"""Anchored samples: the first latent frame is given clean and costs nothing; without a share every
loss is what it was.
"""

from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from sama_core.training.config import TrainConfig
from sama_core.training.objective import SamaObjective, TrainBatch
from sama_core.training.objectives import (
    FlowMatching,
    JointObjective,
    SemanticAnchoring,
    draw_anchored,
    on_own_path,
)
from sama_core.training.recipe import ConfigError

CONFIG = TrainConfig(
    stage=1, data="rows.jsonl", model="model", output="out", steps=1, batch_size=3, frames=9
)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def three() -> list[Generator]:
    return [seeded(number) for number in range(3)]


def batch(frames: int = 3, **more) -> TrainBatch:
    latents = torch.randn(3, 16, frames, 2, 2, generator=seeded(5))
    tokens = torch.randn(3, 5, 8, generator=seeded(6))
    return TrainBatch(latents, latents + 1, torch.zeros(3, 4, 8), tokens, ["a", "b", "c"], **more)


class Watching:
    """A model that predicts a constant for each latent frame, and keeps what it was given."""

    def __init__(self, *by_frame: float):
        self.by_frame, self.seen = torch.tensor(by_frame), []

    def __call__(self, video, timestep, text, source, semantic) -> tuple[Tensor, Tensor]:
        self.seen.append((video, timestep))
        return self.by_frame.view(1, 1, -1, 1, 1).expand_as(video), torch.zeros_like(semantic)


def losses(share: float, model=None, of: TrainBatch | None = None, **settings) -> Tensor:
    config = replace(CONFIG, anchor_share=share, **settings)
    return SamaObjective(config)(model or Watching(1, 2, 3), of or batch(), three()).flow


def test_the_first_frame_is_given_clean_at_the_clips_own_timestep():
    model, clean = Watching(0, 0, 0), batch().target_latents
    losses(1.0, model)
    video, timestep = model.seen[0]
    plain = JointObjective().prepare(clean, batch().semantic, three())
    assert torch.equal(video[:, :, 0], clean[:, :, 0])
    assert torch.equal(video[:, :, 1:], plain.video.noisy[:, :, 1:])
    assert torch.equal(timestep, plain.timestep) and timestep.min() > 0


def test_nothing_is_lost_on_the_first_frame():
    """The loss is the mean over the other frames, whatever is predicted for the first one."""
    plain = JointObjective().prepare(batch().target_latents, batch().semantic, three())
    wanted = torch.tensor([2.0, 3.0]).view(1, 1, 2, 1, 1)
    by_hand = (wanted - plain.video.velocity[:, :, 1:]).square().flatten(1).mean(1)
    torch.testing.assert_close(losses(1.0, Watching(1, 2, 3)), by_hand)
    assert torch.equal(losses(1.0, Watching(1, 2, 3)), losses(1.0, Watching(99, 2, 3)))
    assert not torch.equal(losses(1.0, Watching(1, 2, 3)), losses(1.0, Watching(1, 2, 4)))


@pytest.mark.parametrize("own_path", [0.0, 0.5])
def test_without_a_share_every_loss_is_what_it_was(own_path):
    of, model = batch(), Watching(1, 2, 3)
    found = SamaObjective(replace(CONFIG, own_path_share=own_path))(model, of, three())
    joint, generators = JointObjective(FlowMatching(5.0), SemanticAnchoring(0.1)), three()
    inputs = joint.prepare(of.target_latents, of.semantic, generators)
    if own_path:
        inputs = on_own_path(model, inputs, of.text, of.source_latents, own_path, generators)
    before = joint.losses(joint.predict(model, inputs, of.text, of.source_latents), inputs)
    assert torch.equal(found.total, before.total) and torch.equal(found.flow, before.flow)


def test_on_its_own_path_the_first_frame_stays_clean():
    model, clean = Watching(7, 7, 7), batch().target_latents
    losses(1.0, model, own_path_share=1.0)
    (step, _), (video, _) = model.seen
    assert torch.equal(video[:, :, 0], clean[:, :, 0])
    torch.testing.assert_close(step[:, :, 0], clean[: len(step), :, 0])


def test_pictures_have_nothing_to_carry():
    assert torch.equal(
        losses(1.0, Watching(1), batch(frames=1)), losses(0.0, Watching(1), batch(frames=1))
    )


def test_a_batch_names_samples_that_are_always_anchored():
    model, of = Watching(0, 0, 0), batch(anchored=torch.tensor([False, True, False]))
    losses(0.0, model, of)
    kept = (model.seen[0][0][:, :, 0] == of.target_latents[:, :, 0]).flatten(1).all(1)
    assert kept.tolist() == [False, True, False]


def test_about_a_share_is_drawn_each_by_its_own_generator():
    many = [seeded(number) for number in range(2000)]
    drawn = draw_anchored(2000, 0.25, many)
    assert 0.22 < drawn.float().mean() < 0.28
    assert torch.equal(
        drawn[700:], draw_anchored(1300, 0.25, [seeded(n) for n in range(700, 2000)])
    )


def test_a_share_is_a_share():
    with pytest.raises(ConfigError, match="anchor_share: got 1.5, needs 0 to 1"):
        replace(CONFIG, anchor_share=1.5)
