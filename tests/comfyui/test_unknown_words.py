"""Words that SAMA-Shapes does not know are named in the node that encodes the instruction."""

import shutil

import pytest

from sama_core import embedded

from .graphs import Graph, spoken

KNOWS = (
    " It knows the shapes circle, square, triangle, star, cross, ring; its colours, backgrounds "
    "and styles are listed in docs/shapes.md."
)
REMARK = "SAMA: SAMA-Shapes does not know: crab, seal." + KNOWS
SEAL = "replace the crab with a seal"


@pytest.fixture
def shapes(comfyui):
    """A graph with SAMA-Shapes' text encoder."""
    graph = Graph()
    graph.comfyui = comfyui
    graph.clip = graph.add("SAMALoadTextEncoder", text_encoder_name=embedded.TEXT_ENCODER.name)
    return graph


def run(graph, link: list) -> list[str]:
    return spoken(graph.comfyui.run(graph.nodes, keep=[link[0]]).check())


def instruction(graph, text: str) -> list:
    return graph.add("SAMAInstruction", clip=graph.clip, instruction=text, edit_tag=True)


def test_sama_instruction_names_them(shapes):
    link = instruction(shapes, SEAL)
    assert run(shapes, link) == [REMARK]
    shapes.nodes[link[0]]["inputs"]["instruction"] = "make the circle red"
    assert run(shapes, link) == []


def test_a_long_text_is_named_in_part(shapes):
    text = " ".join([*(f"word{number}" for number in range(14)), "x" * 9000])
    (said,) = run(shapes, instruction(shapes, text))
    assert said.startswith(REMARK.split("crab")[0] + "word0, word1, ")
    assert said.endswith("word11 …." + KNOWS) and len(said) < 600
    (said,) = run(shapes, instruction(shapes, "x" * 9000))
    assert ": " + "x" * 30 + "…." in said


def test_another_text_encoder_is_not_judged(shapes, small):
    """It has other words, as umT5-xxl has."""
    shapes.nodes[shapes.clip[0]]["inputs"]["text_encoder_name"] = small.text_encoder
    assert run(shapes, instruction(shapes, SEAL)) == []


OWN = {
    "SAMAEdit": {"instruction": SEAL, "seed": 1},
    "SAMAAnchorPreview": {"instruction": SEAL, "seed": 1, "anchors": 2, "first_frame": 0},
    "SAMADrafts": {"instructions": f"make it a crab\n{SEAL}", "seeds": "1", "anchor_frames": "0"},
}
"""The nodes that edit, with the inputs that say what."""


def one_step(shapes, kind: str) -> list:
    """A node of this kind on SAMA-Shapes and five frames of the pack's clip."""
    shutil.copy(embedded.CLIP, shapes.comfyui.base / "input" / embedded.CLIP.name)
    model = shapes.add("SAMALoadModel", model_name=embedded.DIT.name, weight_dtype="default")
    video = shapes.add("LoadVideo", file=embedded.CLIP.name)
    source = shapes.add(
        "SAMASourceVideo", video=video, model=model, frames=5, start=0, stride=1, area=0, fps=24.0
    )
    return shapes.add(
        kind,
        model=model,
        clip=shapes.clip,
        vae=shapes.add("SAMALoadVAE", vae_name=embedded.VAE.name),
        frames=source,
        steps=1,
        cfg=1.0,
        shift=5.0,
        sampler_name="euler",
        edit_tag=True,
        tiling="automatic",
        **OWN[kind],
    )


@pytest.mark.parametrize("kind", OWN)
def test_an_edit_names_them_and_keeps_the_remark(shapes, kind):
    """After the last stage it stands in the node alone; the next run with known words clears it."""
    link = one_step(shapes, kind)
    said = run(shapes, link)
    assert said[-1] == REMARK and said[-2].endswith("decoding")
    (name,) = OWN[kind].keys() & {"instruction", "instructions"}
    shapes.nodes[link[0]]["inputs"][name] = "make the circle red"
    assert not any("does not know" in text for text in run(shapes, link))


def test_another_models_text_encoder_is_refused_before_the_source_is_encoded(shapes, small):
    shapes.nodes[shapes.clip[0]]["inputs"]["text_encoder_name"] = small.text_encoder
    link = one_step(shapes, "SAMAEdit")
    result = shapes.comfyui.run(shapes.nodes, keep=[link[0]])
    (error,) = result.errors
    assert "text conditioning: got 64 wide, needs 128 wide, from this model's umT5" in error
    assert not any("encoding the source" in text for text in spoken(result))
