"""The measure of anchors: the truth is nearest to its own drawing, other drawings to theirs; clips'
results are kept, and the gate's are taken for the same clips only.
"""

import json
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.shapes import anchors
from benchmarks.shapes.anchor_clips import anchor_clips, judge
from benchmarks.shapes.anchor_drawings import held_out_drawings
from sama_core.errors import SamaError
from sama_core.shapes.world.drawings import draw
from sama_core.shapes.world.wordings import DRAWN


@pytest.fixture(scope="module")
def clips():
    return anchor_clips(0, 0, 3)


def test_the_truth_is_its_own_drawing_and_the_source_is_none(clips):
    for row in range(3):
        assert judge(clips, row, clips.target[row]) == {
            "of_ten": True,
            "and_source": True,
            "most_like": True,
        }
        assert not judge(clips, row, clips.source[row])["and_source"]
        other = clips.last[row][(row + 1) % 10][None]
        assert not judge(clips, row, other)["of_ten"]


def test_only_the_objects_place_in_the_last_frame_counts(clips):
    elsewhere = clips.target[0].clone()
    elsewhere[:-1] = 0
    elsewhere[-1][~clips.near[0]] = 1
    assert judge(clips, 0, elsewhere)["of_ten"]


def test_a_faint_drawing_is_still_most_like_itself(clips):
    """A tenth of the heart is nearest to what covers least, but no other drawing is like it."""
    faint = torch.lerp(clips.empty[0], clips.target[0, -1], 0.1)[None]
    found = judge(clips, 0, faint)
    assert found["most_like"] and not found["of_ten"]


def test_a_clip_does_not_depend_on_its_batch(clips):
    alone = anchor_clips(0, 2, 1)
    assert torch.equal(alone.target[0], clips.target[2]) and alone.words == clips.words[2:]
    assert alone.drawing == [2] and "a new shape" in alone.words[0]


def test_training_has_neither_the_drawings_nor_the_wordings():
    own = torch.stack(list(held_out_drawings().values()))
    trained = draw(torch.Generator().manual_seed(0), 200)
    assert torch.cdist(own.flatten(1), trained.flatten(1)).min() > 5
    assert not set(DRAWN["train"]) & set(DRAWN["test"])


def test_results_are_kept(tmp_path):
    lines = anchors.Lines(tmp_path / "lines")
    lines.add("a 0", {"of_ten": True})
    again = anchors.Lines(tmp_path / "lines")
    assert again.missing(["a 0", "a 1"]) == [1] and again.found["a 0"] == {"of_ten": True}
    assert list(anchors._batches([0, 1, 2, 5, 6], 2)) == [[0, 1], [2], [5, 6]]


def test_the_gates_result_must_be_of_the_same_clips(tmp_path):
    row = {"clips": 2, "accuracy": 0.5, "accuracy_95": [0.1, 0.9]}
    path = tmp_path / "gate.json"
    path.write_text(json.dumps({"ran": {"seed": 0, "clips": 2}, "edits": {"remove": row}}))
    found = anchors.read_gate(path, Namespace(seed=0, edits=2))
    assert found["remove"]["share"] == 0.5
    with pytest.raises(SamaError, match="got seed 0, 2 clips, needs seed 1, 2 clips"):
        anchors.read_gate(path, Namespace(seed=1, edits=2))


def test_what_passes():
    good = {"with": {"of_ten": {"share": 0.8}}}
    edits = {"remove": {"with": {"share": 0.98}, "without": {"share": 0.99}}}
    assert anchors.judge_report(good, edits) == {"carried": True, "remove": True}
    edits["remove"]["with"]["share"] = 0.975
    assert anchors.judge_report({"with": {"of_ten": {"share": 0.79}}}, edits) == {
        "carried": False,
        "remove": False,
    }


def test_a_lora_is_added_to_its_layers(tmp_path):
    dit = torch.nn.ModuleDict({"q": torch.nn.Linear(3, 2, bias=False)})
    before = dit["q"].weight.clone()
    down, up = torch.ones(1, 3), torch.tensor([[1.0], [2.0]])
    names = ("diffusion_model.q.lora_A.weight", "diffusion_model.q.lora_B.weight")
    save_file(dict(zip(names, (down, up), strict=True)), tmp_path / "lora")
    anchors.apply_lora(dit, tmp_path / "lora")
    torch.testing.assert_close(dit["q"].weight - before, torch.tensor([[1.0] * 3, [2.0] * 3]))
