"""SAMA-Shapes sees squares: what each fit edits of a wide clip."""

import pytest
import torch

from sama_core import embedded

from .graphs import Graph, output

WIDE, HIGH = 112, 64


class WideClip:
    """A blue circle that leaves the middle square of the picture, 448x256."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "give", "harness"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def give(self):
        from sama_core.shapes.world import render

        return (enlarge(render(scene(), 17, HIGH, WIDE)[0]),)


def scene():
    from sama_core.shapes.demo_clip import _pair
    from sama_core.shapes.world.draw import draw_scenes

    return draw_scenes(
        torch.Generator().manual_seed(701),
        pairs=torch.tensor([[_pair("blue", "circle"), _pair("yellow", "triangle")]]),
        present=torch.tensor([[True, True]]),
        frames=17,
        beside=torch.tensor([_pair("red", "circle")]),
    )


def enlarge(frames: torch.Tensor) -> torch.Tensor:
    return resize(frames, 4 * HIGH, 4 * WIDE)


def resize(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    moved = frames[..., :3].movedim(-1, 1)
    sized = torch.nn.functional.interpolate(
        moved, (height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return sized.clamp(0, 1).movedim(1, -1)


@pytest.fixture
def edited(comfyui, monkeypatch):
    """`edited(fit)`: the finished edit (17, 64, 112, 3) of the wide clip, and what was said."""
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "HarnessWideClip", WideClip)

    def edit(fit: str) -> torch.Tensor:
        graph = Graph()
        model = graph.add("SAMALoadModel", model_name=embedded.DIT.name, weight_dtype="default")
        source = graph.add(
            "SAMASourceVideo",
            images=graph.add("HarnessWideClip"),
            model=model,
            frames=0,
            start=0,
            stride=1,
            area=0,
            fps=12.0,
            fit=fit,
        )
        made = graph.add(
            "SAMAEdit",
            model=model,
            clip=graph.add("SAMALoadTextEncoder", text_encoder_name=embedded.TEXT_ENCODER.name),
            vae=graph.add("SAMALoadVAE", vae_name=embedded.VAE.name),
            frames=source,
            instruction="make the circle red",
            seed=1,
            steps=0,
            cfg=-1.0,
            shift=5.0,
            sampler_name="euler",
            edit_tag=True,
            tiling="automatic",
        )
        finish = graph.add("SAMAFinishVideo", frames=made, clip_info=output(source, 1))
        video = comfyui.run(graph.nodes, keep=[finish[0]]).check().values[finish[0]][0]
        return resize(video.get_components().images, HIGH, WIDE)

    return edit


def test_only_stretch_edits_the_whole_object(edited):
    """With the usual fit the part outside of the square stays blue, hardly better than the source's
    17.5 dB; the node says so and offers the other."""
    from sama_core.scores.fidelity import psnr
    from sama_core.shapes.world import edits, render
    from sama_core.shapes.world.scene import COLOURS

    red = torch.tensor([list(COLOURS).index("red")])
    asked = edits.ask("recolour", 1, slot=torch.tensor([0]), colour=red)
    truth = render(edits.apply(scene(), asked), 17, HIGH, WIDE)
    crop, stretch = (psnr(edited(fit)[None], truth).item() for fit in ("crop to bucket", "stretch"))
    assert crop < 19 and stretch > 21, (crop, stretch)
