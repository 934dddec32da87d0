"""SAMA Teacher Features and SAMA Alignment Loss, with ComfyUI's own Train LoRA."""

import json
import shutil

import pytest
import torch

from .graphs import output
from .training_graphs import Training


@pytest.fixture
def training(comfyui, small) -> Training:
    return Training(comfyui, small)


def aligned(training: Training, pair: list, **changes) -> list:
    """A SAMA Alignment Loss on the pair's samples, with the pixels as the teacher."""
    features = training.add(
        "SAMATeacherFeatures", frames=output(pair, 2), teacher="pixels", **changes.pop("of", {})
    )
    settings = {"method": "repa", "weight": 0.5, "block": 1, "projector_rate": 1e-3, **changes}
    return training.add("SAMAAlignmentLoss", model=training.model, features=features, **settings)


def test_the_gradient_is_that_of_the_sum(comfyui, small, training):
    """Backward through the identity gives d(loss + weight · alignment) / d(hidden states)."""
    from sama_core.comfyui.alignment_loss import AlignmentLoss
    from sama_core.training.alignment import Aligner
    from sama_core.training.alignment.config import AlignConfig

    config = AlignConfig(relation="tokens", distance="cosine", weight=0.5, block=1, hidden=(8,))
    torch.manual_seed(0)
    aligner = Aligner(config, 6, 2, (2, 2), (2, 2), 3)
    teacher = torch.randn(2, 2, 2, 3)
    patch = AlignmentLoss(aligner, {"clip": {"features": teacher}})
    whole = torch.randn(1, 3 + 8, 6, requires_grad=True)  # 3 tokens before the target's
    options = {"sama_pair": ("clip",), "sigmas": torch.tensor([0.7]), "grid_sizes": (2, 2, 2)}
    args = {"img": whole, "block_index": 0, "img_offset": 3, "transformer_options": options}
    with torch.no_grad():
        assert patch(args)["img"] is whole  # an edit is not aligned

    aligner.begin((2, 2, 2))
    aligner.watch(args)
    expected = aligner.losses({"features": teacher[None]}, torch.tensor([0.7])).mean()
    total = whole.square().mean() + 0.5 * expected
    (wanted,) = torch.autograd.grad(total, whole)

    before = [value.clone() for value in aligner.parameters()]
    passed = patch(args)["img"]
    assert torch.equal(passed, whole)
    passed.square().mean().backward()
    torch.testing.assert_close(whole.grad, wanted)
    assert patch.losses == [pytest.approx(expected.item())]
    assert all(not torch.equal(a, b) for a, b in zip(before, aligner.parameters(), strict=True))
    assert patch({**args, "block_index": 1})["img"] is whole


def test_the_alignment_is_multiplied_as_the_loss_is(comfyui):
    """By the scale of float16, the passes of a step, and the samples of a batch of several sizes:
    1000 / 4 / 2."""
    from sama_core.comfyui.alignment_loss import AlignmentLoss
    from sama_core.comfyui.train_lora import LossForAlignments
    from sama_core.training.alignment import Aligner
    from sama_core.training.alignment.config import AlignConfig

    config = AlignConfig(relation="tokens", distance="cosine", weight=0.5, block=1, hidden=(8,))
    teacher = {"clip": {"features": torch.randn(2, 2, 2, 3)}}
    patch = AlignmentLoss(Aligner(config, 6, 2, (2, 2), (2, 2), 3), teacher)
    hidden = torch.randn(1, 8, 6, requires_grad=True)
    options = {"sama_pair": ("clip",), "sigmas": torch.tensor([0.7]), "grid_sizes": (2, 2, 2)}
    args = {"img": hidden, "block_index": 0, "img_offset": 0, "transformer_options": options}
    loss = LossForAlignments(lambda predicted, clean: 0.0 * (predicted - clean).sum(), [patch])
    gradients = []
    for times in (1.0, 1000 / 4 / 2):
        patch._restart()
        (times * loss(patch(args)["img"], torch.zeros(1, 8, 6))).backward()
        gradients.append(hidden.grad.clone())
        hidden.grad = None
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], 125 * gradients[0])


def test_train_lora_is_aligned(training, comfyui):
    """The first loss is the same, the LoRA another one."""
    pair = training.pair(frames=0)
    plain = training.train(pair)
    held = training.train(pair, model=aligned(training, pair, weight=5.0))
    one, other = training.run(plain), training.run(held)
    assert one[1]["loss"][0] == pytest.approx(other[1]["loss"][0], rel=1e-5)
    name = "diffusion_model.blocks.0.self_attn.q.lora_down.weight"
    assert not torch.allclose(one[0][name], other[0][name])


def test_the_projector_goes_on_with_the_next_train_lora_of_a_graph(training, comfyui):
    pair = training.pair(frames=0)
    model = aligned(training, pair)
    first = training.train(pair, model=model, steps=6)
    second = training.train(pair, model=training.add("LoraModelLoader", **chained(model, first)))
    result = comfyui.run(training.nodes, keep=[model[0], second[0]]).check()
    options = result.values[model[0]][0].model_options["transformer_options"]
    (patch,) = options["patches"]["double_block"]
    (state,) = {step["step"].item() for step in patch.optimiser.state.values()}
    assert state == 8 and len(patch.losses) == 2


def chained(model: list, lora: list) -> dict:
    return {"model": model, "lora": lora, "strength_model": 1.0, "bypass": False}


@pytest.mark.parametrize("settings", [{"gradient_checkpointing": True}, {"bypass_mode": True}])
def test_alignment_under_settings_of_train_lora(training, settings):
    pair = training.pair()
    model = aligned(training, pair, method="trd")
    plain = training.run(training.train(pair, model=model))[0]
    other = training.run(training.train(pair, model=model, **settings))[0]
    for name in plain:
        torch.testing.assert_close(other[name], plain[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["sam2videox", "crepa", "moalign", "sam2videox_without_flow"])
def test_other_methods(training, method):
    pair = training.pair(frames=9)
    model = aligned(training, pair, method=method)
    _, losses, _ = training.run(training.train(pair, model=model, steps=1))
    assert len(losses["loss"]) == 1


def test_a_method_that_needs_a_mask_says_so(training, comfyui):
    pair = training.pair(frames=0)
    link = aligned(training, pair, method="sara_named")
    assert "no mask" in comfyui.run(training.nodes, keep=[link[0]]).errors[0]
    mask = training.add("SolidMask", value=1.0, width=32, height=32)
    link = aligned(training, pair, method="sara_named", of={"mask": mask})
    training.run(training.train(pair, model=link, steps=1))


def test_masks_that_are_all_black_are_refused(training, comfyui):
    pair = training.pair(frames=0)
    mask = training.add("SolidMask", value=0.0, width=32, height=32)
    link = aligned(training, pair, method="sara_named", of={"mask": mask})
    assert "masks that are all black" in comfyui.run(training.nodes, keep=[link[0]]).errors[0]


def test_frames_smaller_than_a_cell_are_refused(training, comfyui):
    small = training.add("EmptyImage", width=8, height=32, batch_size=1, color=3)
    link = training.add("SAMATeacherFeatures", frames=small, teacher="pixels")
    said = comfyui.run(training.nodes, keep=[link[0]]).errors[0]
    assert "frames: got 8x32, needs sides of 16 pixels and more" in said


def list_of(graph, *values) -> list:
    return graph.add("CreateList", **{f"inputs.input{n}": one for n, one in enumerate(values)})


@pytest.mark.parametrize("name", ["model", "weight"])
def test_several_models_or_settings_are_refused_and_not_the_first_taken(training, comfyui, name):
    link = aligned(training, training.pair())
    weights = [training.add("PrimitiveFloat", value=value) for value in (0.5, 1.0)]
    several = {"model": (training.model, training.model), "weight": weights}[name]
    training.nodes[link[0]]["inputs"][name] = list_of(training, *several)
    said = comfyui.run(training.nodes, keep=[link[0]]).errors[0]
    assert f"{name}: got a list of 2, needs one. Connect one alone" in said
    training.nodes[link[0]]["inputs"][name] = list_of(training, several[0])
    comfyui.run(training.nodes, keep=[link[0]]).check()


def test_as_many_alignments_as_samples_act_in_every_step(training, comfyui):
    """Train LoRA takes a list of that length for one entry of each sample."""
    pair = training.pair()
    held = aligned(training, pair)
    features = training.nodes[held[0]]["inputs"]["features"]
    settings = {"method": "trd", "weight": 0.5, "block": 1, "projector_rate": 1e-3}
    twice = training.add("SAMAAlignmentLoss", model=held, features=features, **settings)
    link = training.train(pair, model=twice, steps=2)
    result = comfyui.run(training.nodes, keep=[link[0], twice[0]]).check()
    options = result.values[twice[0]][0].model_options["transformer_options"]
    assert [len(one.losses) for one in options["patches"]["double_block"]] == [2, 2]


def test_features_are_kept_on_disk(training, comfyui, monkeypatch):
    from sama_core.comfyui import teacher_features

    looks, original = [], teacher_features._look
    monkeypatch.setattr(
        teacher_features, "_look", lambda *given: looks.append(1) or original(*given)
    )
    pair = training.pair(frames=9, instruction="kept")
    link = training.add("SAMATeacherFeatures", frames=output(pair, 2), teacher="pixels")
    first = comfyui.run(training.nodes, keep=[link[0]]).check().values[link[0]][0]
    made = len(looks)
    again = comfyui.run(training.nodes, keep=[link[0]]).check().values[link[0]][0]
    assert len(looks) == made and torch.equal(first.made["features"], again.made["features"])
    assert list((comfyui.base / "user" / "sama_features").rglob("*.safetensors"))
    assert tuple(first.made["features"].shape) == (9, 2, 2, 64)


def test_teachers_are_listed_by_their_folders(comfyui):
    from sama_core.comfyui.teacher_features import list_teachers

    folders = comfyui.models("sama_teachers")
    for name, kind in (("my-dino", "dinov3_vit"), ("strange", "bert")):
        (folders / name).mkdir()
        (folders / name / "config.json").write_text(json.dumps({"model_type": kind}))
    listed = list_teachers()
    for name in ("my-dino", "strange"):
        shutil.rmtree(folders / name)  # else other tests find them in the node's list
    assert listed == ["pixels", "my-dino"]
