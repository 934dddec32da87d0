"""ComfyUI's own Train LoRA, unchanged, on SAMA: the joint state, its loss, and each sample's own
conditioning."""

import pytest
import torch

from .graphs import output, spoken
from .training_graphs import Training


@pytest.fixture
def training(comfyui, small) -> Training:
    return Training(comfyui, small)


@pytest.fixture
def seen(comfyui, monkeypatch) -> list[dict]:
    """What the DiT gets in every pass of a training."""
    from sama_core.comfyui.model import PackedSamaDiT

    passes, original = [], PackedSamaDiT._forward_packed

    def watch(self, x, timestep, context, transformer_options, **named):
        given = {"x": x, "timestep": timestep, "context": context}
        passes.append({**given, **named, "sigmas": transformer_options["sigmas"]})
        return original(self, x, timestep, context, transformer_options, **named)

    monkeypatch.setattr(PackedSamaDiT, "_forward_packed", watch)
    return passes


def learned(lora: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The factors of a LoRA that begin at zero in ComfyUI's training."""
    return {name: value for name, value in lora.items() if name.endswith("lora_down.weight")}


def test_a_source_in_reference_latents_trains(training):
    """The list on which Train LoRA stops: `TypeError: iteration over a 0-d tensor`."""
    source = training.add(
        "SAMASourceVideo",
        video=training.load("before.mp4"),
        frames=5,
        start=0,
        stride=1,
        area=32 * 32,
        fps=24.0,
    )
    words = training.add("SAMAInstruction", clip=training.clip, instruction="x", edit_tag=True)
    prompts = training.add(
        "SAMAEditConditioning",
        positive=words,
        negative=output(words, 1),
        vae=training.vae,
        frames=source,
        tiling="automatic",
    )
    link = training.train(output(prompts, 3), prompts)
    lora, losses, steps = training.run(link)
    assert steps == 2 and len(losses["loss"]) == 2
    assert learned(lora)["diffusion_model.blocks.1.self_attn.q.lora_down.weight"].abs().sum() > 0


def test_samples_are_targets_with_their_semantic_tokens(training, comfyui, seen, monkeypatch):
    """Loss over both streams: the video's mean and a tenth of the semantic tokens' mean."""
    from sama_core.comfyui import train_lora

    calls, original = [], train_lora.JointLoss.__call__

    def watch(self, predicted, clean):
        calls.append((self, predicted.detach(), clean.detach(), original(self, predicted, clean)))
        return calls[-1][-1]

    monkeypatch.setattr(train_lora.JointLoss, "__call__", watch)
    pair = training.pair()
    link = training.train(pair)
    result = comfyui.run(training.nodes, keep=[link[0], pair[0]]).check()
    latents, positive, target = result.values[pair[0]]
    assert len(latents) == len(positive) == len(target) == 2
    assert [tuple(each.shape) for each in target] == [(5, 32, 32, 3)] * 2

    model = comfyui.run(training.nodes, keep=[training.model[0]]).check()
    sama = model.values[training.model[0]][0].model
    whole = [sama.process_latent_in(each["samples"]) for each in latents]
    for loss, predicted, clean, value in calls:
        assert any(torch.allclose(clean, each.float(), atol=1e-5) for each in whole)
        cut = 16 * 2 * 4 * 4
        assert loss.semantic == 65 * 48 and clean.shape[-1] == cut + 65 * 48
        wrong = (predicted - clean).square()
        expected = wrong[..., :cut].mean() + 0.1 * wrong[..., cut:].mean()
        torch.testing.assert_close(value, expected)

    from sama_core.training.semantics.pixel_encoder import PixelEncoder

    tokens = PixelEncoder(48).encode(target[1][:1])
    torch.testing.assert_close(latents[1]["samples"][0, 0, cut:].view(1, 65, 48), tokens)


def test_levels_follow_the_models_shift(training, seen, monkeypatch):
    """A level u of Train LoRA is 5u / (1 + 4u) at SAMA's shift of 5, and the model gets it as it
    was trained: in thousandths, rounded to bfloat16."""
    from comfy.model_sampling import ModelSamplingDiscreteFlow

    drawn, original = [], ModelSamplingDiscreteFlow.percent_to_sigma

    def watch(self, percent):
        drawn.append(percent)
        return original(self, percent)

    monkeypatch.setattr(ModelSamplingDiscreteFlow, "percent_to_sigma", watch)
    training.run(training.train(training.pair(), steps=4))
    levels = [1 - percent for percent in drawn[-4:]]
    got = [each["sigmas"].item() for each in seen]
    assert got == pytest.approx([5 * u / (1 + 4 * u) for u in levels], rel=1e-5)
    for each in seen:
        rounded = (each["sigmas"] * 1000).to(torch.bfloat16).float()
        torch.testing.assert_close(each["timestep"].float(), rounded)


def test_samples_of_a_batch_have_their_own_source_and_text(training, seen):
    """ComfyUI alone would give every sample the mean over all conditioning of the batch."""
    training.run(training.train(training.pair(), batch_size=2))
    assert len(seen) == 2
    for each in seen:
        assert (
            each["source_latents"].shape[0] == each["context"].shape[0] == each["x"].shape[0] == 2
        )
        assert not torch.equal(each["source_latents"][0], each["source_latents"][1])
        assert len(set(each["sama_pair"])) == 2


def test_a_batch_learns_what_its_samples_say_alone(training, seen):
    """The source goes with the target that it belongs to."""
    pair = training.pair()
    training.run(training.train(pair, batch_size=2, steps=1))
    both = seen[0]
    seen.clear()
    training.run(training.train(pair, steps=4))
    alone = {each["sama_pair"][0]: each["source_latents"] for each in seen}
    for name, source in zip(both["sama_pair"], both["source_latents"], strict=True):
        torch.testing.assert_close(source, alone[name][0])


@pytest.mark.parametrize(
    "settings",
    [
        {"bypass_mode": True},
        {"gradient_checkpointing": True, "checkpoint_depth": 2},
        {"gradient_checkpointing": True, "checkpoint_depth": 3, "offloading": True},
        {"training_dtype": "bf16", "lora_dtype": "bf16", "grad_accumulation_steps": 2},
        {"algorithm": "LoKr", "loss_function": "Huber"},
    ],
    ids=["bypass", "checkpoints", "offloading", "bfloat16", "lokr"],
)
def test_settings_of_train_lora(training, settings):
    lora, losses, _ = training.run(training.train(training.pair(), **settings))
    assert all(torch.isfinite(value).all() for value in lora.values())
    assert all(0 < loss < 100 for loss in losses["loss"])
    changed = [name for name, value in lora.items() if value.float().abs().sum() > 0]
    assert any("blocks.1.self_attn.q" in name for name in changed)


@pytest.mark.parametrize("settings", [{"bypass_mode": True}, {"gradient_checkpointing": True}])
def test_settings_that_change_no_number(training, settings):
    pair = training.pair()
    plain = training.run(training.train(pair))[1]["loss"]
    other = training.run(training.train(pair, **settings))[1]["loss"]
    torch.testing.assert_close(torch.tensor(other), torch.tensor(plain), rtol=1e-4, atol=1e-6)


def test_samples_of_two_sizes(training, seen):
    """Train LoRA hands such samples on as they were given: neither packed nor normalised."""
    short = training.pair(frames=5)
    longer = training.pair(frames=9, instruction="remove the circle")
    merged = [training.add("JoinLists", first=one, second=two) for one, two in _both(short, longer)]
    lora, losses, _ = training.run(training.train(*merged, steps=6))
    sizes = {each["source_latents"].shape[2] for each in seen}
    assert sizes == {2, 3} and all(loss < 100 for loss in losses["loss"])
    assert learned(lora)


def test_samples_of_two_sizes_divide_their_alignment_as_their_loss(training, comfyui):
    """Two samples a step: Train LoRA takes the mean of their losses, each of its own pass."""
    short, longer = training.pair(frames=5), training.pair(frames=9)
    merged = [training.add("JoinLists", first=one, second=two) for one, two in _both(short, longer)]
    features = training.add("SAMATeacherFeatures", frames=output(short, 2), teacher="pixels")
    settings = {"method": "repa", "weight": 0.5, "block": 1, "projector_rate": 1e-3}
    model = training.add("SAMAAlignmentLoss", model=training.model, features=features, **settings)
    link = training.train(*merged, model=model, batch_size=2, steps=1)
    result = comfyui.run(training.nodes, keep=[link[0], model[0]]).check()
    options = result.values[model[0]][0].model_options["transformer_options"]
    assert [one.scale for one in options["patches"]["double_block"]] == [0.5]


def _both(one: list, two: list) -> list:
    return [(one, two), (output(one, 1), output(two, 1))]


@pytest.fixture(autouse=True)
def join_lists(comfyui):
    """A node that puts two lists behind each other, as packs of such nodes have one."""
    import nodes

    class JoinLists:
        INPUT_IS_LIST, OUTPUT_IS_LIST = True, (True,)
        RETURN_TYPES, FUNCTION, CATEGORY = ("*",), "join", "harness"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"first": ("*", {}), "second": ("*", {})}}

        @classmethod
        def VALIDATE_INPUTS(cls, input_types):  # noqa: N802
            return True

        def join(self, first, second):
            return ([*first, *second],)

    nodes.NODE_CLASS_MAPPINGS.setdefault("JoinLists", JoinLists)


def test_conditioning_without_a_source_is_refused(training, comfyui):
    words = training.add("SAMAInstruction", clip=training.clip, instruction="x", edit_tag=True)
    link = training.train(training.pair(frames=9), words)
    result = comfyui.run(training.nodes, keep=[link[0]])
    assert "conditioning without a source video" in result.errors[0]


def images(training: Training, colour: int, width: int = 32) -> list:
    return training.add("EmptyImage", width=width, height=32, batch_size=5, color=colour)


def test_pictures_of_two_shapes_are_no_pair(training, comfyui):
    """Both are fitted to 32x32, but one of them is cropped for it."""
    link = training.pair(source=images(training, 1, 48), target=images(training, 2))
    said = comfyui.run(training.nodes, keep=[link[0]]).errors[0]
    assert "target: got 32x32, needs the shape of its source, 48x32" in said


def test_a_length_that_the_model_does_not_take_is_named_with_the_next_ones(training, comfyui):
    said = comfyui.run(training.nodes, keep=[training.pair(frames=7)[0]]).errors[0]
    assert "frames of a sample: got 7, needs 4k+1. Set frames to 5 or 9." in said


@pytest.mark.parametrize(("colour", "said"), [(0x204060, True), (0x204061, False)])
def test_a_pair_of_one_clip_is_remarked_on(training, comfyui, colour, said):
    pair = training.pair(source=images(training, 0x204060), target=images(training, colour))
    result = comfyui.run(training.nodes, keep=[pair[0]]).check()
    assert any("are the same clip" in line for line in spoken(result)) is said


def test_latents_of_another_size_are_refused(training, comfyui):
    link = training.train(training.pair(), output(training.pair(area=64 * 64), 1))
    result = comfyui.run(training.nodes, keep=[link[0]])
    assert "training latent" in result.errors[0]
