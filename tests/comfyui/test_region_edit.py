"""Region edits in the real executor: outside the feather every pixel is the source's, inside it
something changed.
"""

import pytest
import torch

from ..harness.golden import assert_close, distance
from .graphs import SMALL_AREA, Edit, Graph, output, whole_edit
from .test_windows_and_masks import WINDOWS

SIDE, BOX, FEATHER = 64, (16, 24, 16), 6


@pytest.fixture
def shapes(edit) -> Edit:
    """A graph that edits 5 frames of 64x64 with the model inside the pack."""
    return edit.use_shapes()


def solid(graph: Graph, value: float, width: int, height: int) -> list:
    return graph.add("SolidMask", value=value, width=width, height=height)


def white_box(
    graph: Graph, width: int = SIDE, height: int = SIDE, box: tuple[int, int, int] = BOX
) -> list:
    """A black mask with a white square of `box` (left, top, side)."""
    left, top, side = box
    return graph.add(
        "MaskComposite",
        destination=solid(graph, 0.0, width, height),
        x=left,
        y=top,
        operation="add",
        source=solid(graph, 1.0, side, side),
    )


def region(graph: Edit, mask: list, feather: int = FEATHER, **more) -> list:
    return graph.add(
        "SAMARegionMask", mask=mask, frames=graph.source, grow=0, feather=feather, **more
    )


def run(graph: Edit, *links: list) -> list[torch.Tensor]:
    """The values of several links, of one run."""
    result = graph.comfyui.run(graph.nodes, keep=[link[0] for link in links]).check()
    return [result.values[link[0]][link[1]] for link in links]


def failure(graph: Edit, link: list) -> str:
    result = graph.comfyui.run(graph.nodes, keep=[link[0]])
    assert not result.ok and not result.previews, "no sampling step was done"
    return result.errors[0]


def test_sama_edit_keeps_every_pixel_outside_the_feather(shapes):
    mask = region(shapes, white_box(shapes))
    link = whole_edit(shapes, steps=2, cfg=1.0, mask=mask, instruction="make the background blue")
    source, soft, edited = run(shapes, shapes.source, mask, link)
    assert soft.shape == (5, SIDE, SIDE) and edited.shape == source.shape == (5, SIDE, SIDE, 3)
    left, top, side = BOX
    reach = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    reach[top - FEATHER : top + side + FEATHER, left - FEATHER : left + side + FEATHER] = True
    assert torch.equal(soft[0] > 0, reach)
    assert torch.equal(edited[:, ~reach], source[:, ~reach]), "bit for bit"
    inside = soft == 1
    assert inside.sum() == 5 * side * side
    assert (edited - source)[inside].abs().mean() > 0.01


def test_a_mask_per_frame_leaves_whole_frames_alone(shapes):
    """White in frames 1 to 4, black in frame 0, which is a latent frame of its own."""
    still = white_box(shapes)
    frames = shapes.add("MaskToImage", mask=still)
    batch = shapes.add(
        "ImageBatch",
        image1=shapes.add("MaskToImage", mask=solid(shapes, 0.0, SIDE, SIDE)),
        image2=shapes.add("RepeatImageBatch", image=frames, amount=4),
    )
    mask = shapes.add("ImageToMask", image=batch, channel="red")
    link = whole_edit(shapes, steps=2, cfg=1.0, mask=mask)
    source, edited = run(shapes, shapes.source, link)
    assert torch.equal(edited[0], source[0])
    assert not torch.equal(edited[1], source[1])


def test_the_parts_give_the_same_edit(shapes):
    """SAMA Edit Conditioning with the mask, ComfyUI's sampler and decoder, SAMA Paste Back: bit for
    bit SAMA Edit.
    """
    mask = region(shapes, white_box(shapes))
    shapes.nodes[shapes.conditioning[0]]["inputs"]["mask"] = mask
    sampled = shapes.custom(shapes.add("SAMASigmas", steps=2, shift=5.0, denoise=1.0), cfg=1.0)
    frames = shapes.add("VAEDecode", samples=sampled, vae=shapes.vae)
    pasted = shapes.add("SAMAPasteBack", source=shapes.source, edited=frames, mask=mask)
    whole = whole_edit(shapes, steps=2, cfg=1.0, mask=mask)
    links = (sampled, shapes.source_latent, frames, mask, whole, pasted)
    latent, source, decoded, soft, ours, parts = run(shapes, *links)
    assert torch.equal(ours, parts)
    assert torch.equal(ours[soft == 1], decoded[soft == 1])
    cells = latent["noise_mask"].bool().expand_as(latent["samples"])
    assert 0 < cells.float().mean() < 0.5
    assert_close(latent["samples"][~cells], source["samples"][~cells], rel_l2=1e-5)
    assert distance(latent["samples"][cells], source["samples"][cells])[0] > 0.05


def test_a_white_mask_changes_nothing_of_an_edit(shapes):
    masked = whole_edit(shapes, steps=2, cfg=1.0, mask=solid(shapes, 1.0, SIDE, SIDE))
    whole = whole_edit(shapes, steps=2, cfg=1.0)
    one, other = run(shapes, masked, whole)
    assert_close(one, other, rel_l2=1e-5)


def test_a_mask_of_the_original_video_is_cropped_as_that_was(shapes):
    """The clip is 48x32 and fitted to 64x64: columns 8 to 40 are kept."""
    mask = white_box(shapes, 48, 32, (8, 0, 32))
    with_info = region(shapes, mask, feather=0, clip_info=output(shapes.source, 1))
    beyond = region(
        shapes, white_box(shapes, 48, 32, (0, 0, 8)), feather=0, clip_info=output(shapes.source, 1)
    )
    (found,) = run(shapes, with_info)
    assert (found == 1).all()
    assert "got black everywhere in the frames" in failure(shapes, beyond)


def test_what_changed_is_found_and_scored(shapes):
    """Changed Mask finds a masked edit again; pasted back, all of its change lies there."""
    edited = whole_edit(shapes, steps=2, cfg=1.0, mask=region(shapes, white_box(shapes)))
    mask = shapes.add(
        "SAMAChangedMask", source=shapes.source, edited=edited, threshold=8.0, grow=2, feather=4
    )
    pasted = shapes.add("SAMAPasteBack", source=shapes.source, edited=edited, mask=mask)
    scores = shapes.add("SAMAScores", source=shapes.source, edited=pasted, mask=mask)
    result = shapes.comfyui.run(shapes.nodes, keep=[mask[0], scores[0]]).check()
    found = result.values[mask[0]][0]
    assert found.any() and not found[:, :8].any()
    text, plot, exclusivity, flicker, follow = result.values[scores[0]]
    assert text.startswith(
        "5 frames of 64x64\nExclusivity    1.000   100.0% of the change lies in the region"
    )
    assert plot.shape[0] == 1 and plot.shape[2:] == (640, 3)
    assert exclusivity == 1.0 and flicker >= 0 and 0 <= follow <= 1
    shown = result.outputs[scores[0]]
    assert shown["text"] == [text] and len(shown["images"]) == 1


def test_an_unchanged_clip_needs_no_paste_back_and_says_so(shapes, caplog):
    mask = shapes.add(
        "SAMAChangedMask",
        source=shapes.source,
        edited=shapes.source,
        threshold=8.0,
        grow=4,
        feather=8,
    )
    pasted = shapes.add("SAMAPasteBack", source=shapes.source, edited=shapes.source, mask=mask)
    source, found, result = run(shapes, shapes.source, mask, pasted)
    assert not found.any() and torch.equal(result, source)
    assert "the mask is black" in caplog.text and "the result is the source" in caplog.text


@pytest.mark.parametrize(
    ("value", "frames", "words"),
    [
        (0.0, 1, "mask: got black everywhere in the frames, needs some white"),
        (1.0, 7, "mask: got 7 frames, needs 1 frame for the whole clip, or 5"),
    ],
)
@pytest.mark.parametrize(
    "node", ["SAMAEdit", "SAMAEditConditioning", "SAMARegionMask", "SAMAScores"]
)
def test_masks_that_do_not_fit_are_refused_before_the_first_step(
    shapes, node, value, frames, words
):
    image = shapes.add("MaskToImage", mask=solid(shapes, value, SIDE, SIDE))
    mask = shapes.add(
        "ImageToMask",
        image=shapes.add("RepeatImageBatch", image=image, amount=frames),
        channel="red",
    )
    link = {
        "SAMAEdit": lambda: whole_edit(shapes, mask=mask),
        "SAMAEditConditioning": lambda: shapes.add(
            node,
            positive=shapes.positive,
            negative=shapes.negative,
            vae=shapes.vae,
            frames=shapes.source,
            tiling="automatic",
            mask=mask,
        ),
        "SAMARegionMask": lambda: region(shapes, mask),
        "SAMAScores": lambda: shapes.add(
            node, source=shapes.source, edited=shapes.source, mask=mask
        ),
    }[node]()
    assert words in failure(shapes, link)


def test_source_and_edit_of_different_clips(shapes):
    other = shapes.add("EmptyImage", width=32, height=64, batch_size=5, color=0)
    link = shapes.add("SAMAScores", source=shapes.source, edited=other)
    assert "edited frames: got 32x64, needs 64x64, the source frames' size" in failure(shapes, link)


def test_a_mask_and_context_windows(comfyui, small):
    """Every window keeps its part of the source; the mask is white in a corner of the last latent
    frame alone.
    """
    graph = Edit(comfyui, small, area=SMALL_AREA, frames=9)
    black = graph.add("MaskToImage", mask=solid(graph, 0.0, 32, 32))
    left = graph.add("MaskToImage", mask=white_box(graph, 32, 32, (0, 0, 16)))
    batch = graph.add(
        "ImageBatch",
        image1=graph.add("RepeatImageBatch", image=black, amount=5),
        image2=graph.add("RepeatImageBatch", image=left, amount=4),
    )
    graph.nodes[graph.conditioning[0]]["inputs"]["mask"] = graph.add(
        "ImageToMask", image=batch, channel="red"
    )
    sampled = graph.patch("WanContextWindowsManual", **WINDOWS).ksampler(steps=2, cfg=1.0)
    latent, source = (value["samples"] for value in run(graph, sampled, graph.source_latent))
    edited = torch.zeros(3, 4, 4, dtype=torch.bool)
    edited[2, :2, :2] = True
    assert_close(latent[..., ~edited], source[..., ~edited], rel_l2=1e-5)
    assert distance(latent[..., edited], source[..., edited])[0] > 0.05
