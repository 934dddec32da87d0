"""SARA's first stage in the toy world: it learns, and its files load."""

import pytest
import torch
from safetensors.torch import save_file

from sama_core.errors import RuntimeSetupError
from sama_core.shapes.learned_saliency import (
    InstructionEncoder,
    LearnedSaliency,
    draw_named,
    load_saliency,
    measure_saliency,
    train_saliency,
)
from sama_core.shapes.world import EditSampler


def test_training_lowers_the_loss_and_depends_on_its_arguments_alone():
    seen = []
    model = train_saliency(
        ["add", "remove"], 41, 8, report=lambda step, loss, found: seen.append((step, loss, found))
    )
    assert [step for step, _, _ in seen] == [0, 20, 40]
    assert seen[-1][1] < 0.8 * seen[0][1]
    assert set(seen[0][2]) == {"mean", "max", "coverage", "entropy"}
    again = train_saliency(["add", "remove"], 41, 8)
    assert all(
        torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items()
    )


def test_what_is_named_lies_on_cells():
    frames, texts, masks = draw_named(EditSampler(0, "test", ["add"], frames=5), 0, 6)
    assert frames.shape == (6, 5, 64, 64, 3) and len(texts) == 6
    assert masks.shape == (6, 2, 4, 4) and (masks.flatten(1).amax(1) > 0.1).all()


def test_the_overlap_of_a_saliency():
    truth = torch.tensor([[[[0.8, 0.5], [0.1, 0.0]]]])
    found = torch.tensor([[[[0.2, 0.0], [0.15, 0.0]]]])
    assert measure_saliency(truth, truth)["overlap"] == 1.0
    assert measure_saliency(found, truth)["overlap"] == pytest.approx(1 / 3)


def test_files(tmp_path):
    path = tmp_path / "saliency.safetensors"
    torch.manual_seed(0)
    model = LearnedSaliency(128).eval()
    save_file(model.state_dict(), path)
    frames, texts, _ = draw_named(EditSampler(0, "test", ["replace"], frames=1), 0, 2)
    words = InstructionEncoder()
    with torch.no_grad():
        assert torch.equal(
            model(frames, *words(texts))[1], load_saliency(path)(frames, *words(texts))[1]
        )
    path.write_bytes(b"no weights")
    with pytest.raises(RuntimeSetupError, match="saliency.*train_saliency"):
        load_saliency(path)
    with pytest.raises(RuntimeSetupError, match="nowhere"):
        load_saliency(tmp_path / "nowhere")
