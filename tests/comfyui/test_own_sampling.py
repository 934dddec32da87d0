"""Steps 0 and cfg -1, the defaults of the nodes: the model's own numbers, taken before anything is
computed and shown in the node.
"""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from sama_core import embedded

from .graphs import Graph, long_edit, long_graph, spoken, whole_edit

SHAPES_OWN = "10 steps and cfg 1.3 for SAMA-Shapes"


def told_at_step(said: list[str], step: int) -> bool:
    """Whether the line of this step ends with the numbers of SAMA-Shapes."""
    (line,) = (text for text in said if text.startswith(f"SAMA: sampling, step {step} of 10, "))
    return line.endswith(f", {SHAPES_OWN}")


LORAS = {
    "lightx2v_4step.safetensors": (6, 1.0),
    "Wan2.1_FusionX.safetensors": (8, 1.0),
    "Wan21_AccVid.safetensors": (10, 1.0),
    "Wan21_CausVid.safetensors": (6, 1.0),
}
"""Step-distilled LoRAs on SAMA-Shapes, with the steps and cfg that a run takes."""


@pytest.fixture
def shapes(comfyui):
    """Loaders of SAMA-Shapes, and the pack's whole clip, fitted to it."""
    shutil.copy(embedded.CLIP, comfyui.base / "input" / embedded.CLIP.name)
    graph = Graph()
    graph.comfyui = comfyui
    graph.model = graph.add("SAMALoadModel", model_name=embedded.DIT.name, weight_dtype="default")
    graph.clip = graph.add("SAMALoadTextEncoder", text_encoder_name=embedded.TEXT_ENCODER.name)
    graph.vae = graph.add("SAMALoadVAE", vae_name=embedded.VAE.name)
    video = graph.add("LoadVideo", file=embedded.CLIP.name)
    graph.source = graph.add(
        "SAMASourceVideo", **fresh(comfyui, "SAMASourceVideo"), video=video, model=graph.model
    )
    return graph


def fresh(comfyui, kind: str) -> dict:
    """What the widgets of a node hold that was just put on the canvas."""
    inputs = comfyui.node_class(kind).define_schema().inputs
    return {one.id: one.default for one in inputs if getattr(one, "default", None) is not None}


def fresh_edit(graph, kind: str = "SAMAEdit", **changes) -> list:
    """A node fresh from the menu, with an instruction."""
    given = {"instruction": "make the circle red", "frames": graph.source}
    parts = {"model": graph.model, "clip": graph.clip, "vae": graph.vae}
    return graph.add(kind, **fresh(graph.comfyui, kind) | parts | given | changes)


def run(graph, link: list) -> tuple[object, list[str]]:
    """What a node gives, and what is shown, apart from the loading."""
    result = graph.comfyui.run(graph.nodes, keep=[link[0]]).check()
    said = [text for text in spoken(result) if "loading weights" not in text]
    return result.values[link[0]][link[1]], said


def test_a_fresh_edit_on_sama_shapes_looks_right(shapes):
    """The pack's clip with a red circle, as it is drawn: 25 dB or more, where the source has 16."""
    from sama_core.scores.fidelity import psnr
    from sama_core.shapes.demo_clip import demo_scene
    from sama_core.shapes.world import edits, render
    from sama_core.shapes.world.scene import COLOURS

    asked = edits.ask(
        "recolour", 1, slot=torch.tensor([0]), colour=torch.tensor([list(COLOURS).index("red")])
    )
    truth = render(edits.apply(demo_scene(), asked), 17, 64, 64)
    frames, said = run(shapes, fresh_edit(shapes))
    source, _ = run(shapes, shapes.source)
    before, after = (psnr(clip[None, :17], truth).item() for clip in (source, frames))
    assert after > 25 and before < 18, (before, after)
    assert told_at_step(said, 10)


@pytest.fixture
def lora(comfyui):
    """`lora(name)` writes a LoRA for SAMA-Shapes under that name."""

    def write(name: str) -> str:
        tensors = {
            "blocks.0.self_attn.q.lora_A.weight": torch.full((4, 256), 0.001),
            "blocks.0.self_attn.q.lora_B.weight": torch.full((256, 4), 0.001),
        }
        save_file(tensors, comfyui.models("loras") / name)
        return name

    return write


@pytest.mark.parametrize("name", LORAS)
def test_a_distilled_lora_brings_its_own(shapes, lora, name):
    """Both in SAMA Sigmas and in SAMA Edit's settings, of which one would be enough to compute."""
    from sama_core.comfyui.edit import EditSettings

    steps, cfg = LORAS[name]
    model = shapes.add("SAMALoadLora", model=shapes.model, lora_name=lora(name), strength=1.0)
    node = shapes.add("SAMASigmas", steps=0, shift=5.0, denoise=1.0, model=model)
    sigmas, said = run(shapes, node)
    assert len(sigmas) == steps + 1 and said == [f"SAMA: {steps} steps for {name}"]
    patcher, _ = run(shapes, model)
    settings, taken = EditSettings("x").on(patcher)
    assert (settings.steps, settings.cfg) == (steps, cfg)
    assert taken == f"{steps} steps and cfg 1 for {name}"


def test_numbers_of_ones_own_are_kept(shapes):
    from sama_core.comfyui.edit import EditSettings

    patcher, _ = run(shapes, shapes.model)
    for steps, cfg, taken in (
        (3, -1.0, "cfg 1.3 for SAMA-Shapes"),
        (0, 0.0, "10 steps for SAMA-Shapes"),
        (3, 0.0, ""),
    ):
        settings, said = EditSettings("x", steps=steps, cfg=cfg).on(patcher)
        assert (settings.steps, settings.cfg) == (steps or 10, 1.3 if cfg < 0 else 0.0)
        assert said == taken


def test_a_model_with_umt5_xxl_takes_those_of_sama_14b(shapes, monkeypatch):
    from dataclasses import replace

    from sama_core.comfyui.edit import EditSettings
    from sama_core.comfyui.model import SamaModel

    patcher, _ = run(shapes, shapes.model)
    large = replace(patcher.model.dit_config, text_dim=4096)
    monkeypatch.setattr(SamaModel, "dit_config", property(lambda self: large))
    settings, taken = EditSettings("x").on(patcher)
    assert (settings.steps, settings.cfg, taken) == (50, 5.0, "50 steps and cfg 5 for SAMA-14B")


def test_sigmas_without_a_model_are_sama_14bs(shapes):
    sigmas, said = run(shapes, shapes.add("SAMASigmas", steps=0, shift=5.0, denoise=1.0))
    assert len(sigmas) == 51 and said == ["SAMA: 50 steps for SAMA-14B"]
    sigmas, said = run(shapes, shapes.add("SAMASigmas", steps=4, shift=5.0, denoise=1.0))
    assert len(sigmas) == 5 and said == []


def test_an_anchor_preview_shows_what_it_took(shapes):
    _, said = run(shapes, fresh_edit(shapes, "SAMAAnchorPreview", anchors=1))
    assert told_at_step(said, 10)


def test_a_plan_is_made_with_the_models_own(shapes):
    plan = fresh(shapes.comfyui, "SAMAPlan") | {"model_name": embedded.DIT.name}
    text, _ = run(shapes, shapes.add("SAMAPlan", **plan))
    assert " steps, cfg 1.3\n" in text and "SAMA plan: 81 frames of 832x480, 10 steps" in text


def test_a_long_edit_finds_segments_that_were_kept_with_the_same_numbers(
    comfyui, small, store, sampled_segments
):
    """The untrained model has a small text encoder, so its own numbers are SAMA-Shapes'."""
    edit = long_graph(comfyui, small, frames=17)
    link = long_edit(edit, steps=10, cfg=1.3)
    first = edit.values(link)
    assert len(sampled_segments) == 1
    edit.nodes[link[0]]["inputs"].update(steps=0, cfg=-1.0)
    assert torch.equal(edit.values(link), first)
    assert len(sampled_segments) == 1
    edit.nodes[link[0]]["inputs"].update(steps=0, cfg=0.0)
    edit.values(link)
    assert len(sampled_segments) == 2


@pytest.mark.parametrize("kind", ["SAMAEdit", "SAMALongEdit", "SAMAAnchorPreview"])
def test_another_negative_cfg_is_refused(shapes, kind):
    link = fresh_edit(shapes, kind, cfg=-0.5)
    result = shapes.comfyui.run(shapes.nodes, keep=[link[0]])
    assert result.errors[0].endswith(
        "cfg: got -0.5, needs 0 or more, or -1. -1 takes the model's own cfg."
    )
    assert not any("reading" in text for text in spoken(result))


def test_a_plan_with_another_negative_cfg_is_refused(shapes):
    plan = fresh(shapes.comfyui, "SAMAPlan") | {"model_name": embedded.DIT.name, "cfg": -0.5}
    link = shapes.add("SAMAPlan", **plan)
    (error,) = shapes.comfyui.run(shapes.nodes, keep=[link[0]]).errors
    assert "cfg: got -0.5, needs 0 or more, or -1" in error


@pytest.mark.parametrize("name, value", [("cfg", -1.5), ("steps", -1)])
def test_lower_values_are_refused_before_anything_runs(shapes, name, value):
    link = fresh_edit(shapes, **{name: value})
    result = shapes.comfyui.run(shapes.nodes, keep=[link[0]])
    (error,) = result.node_errors[link[0]]["errors"]
    assert error["type"] == "value_smaller_than_min" and error["details"] == name


def test_linked_negative_steps_are_refused(edit):
    link = whole_edit(edit, steps=edit.add("PrimitiveInt", value=-1))
    (error,) = edit.comfyui.run(edit.nodes, keep=[link[0]]).errors
    assert "steps: got -1, needs a whole number from 0 to 1,000" in error
