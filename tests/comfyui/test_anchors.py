"""Anchors in the real executor: the first frame is kept, and clean in every step where the model
carries anchors; where it does not, the node says so.
"""

import pytest
import torch
from safetensors.torch import save_file

from sama_core import embedded
from sama_core.weights.checkpoint import plan_checkpoint

from ..harness.golden import assert_close
from .graphs import Edit, output, spoken, whole_edit
from .test_region_edit import failure, run, white_box

CARRYING, PLAIN = "carrying.safetensors", "plain.safetensors"
RED = 0xC01020


@pytest.fixture(scope="module")
def loras(comfyui):
    """Two LoRAs of the same random tensors, of which one says that it carries anchors."""
    dim, made = plan_checkpoint(embedded.DIT).config.dim, torch.Generator().manual_seed(0)
    tensors = {
        f"diffusion_model.blocks.{block}.self_attn.{part}.lora_{side}.weight": 0.1
        * torch.randn(*((4, dim) if side == "A" else (dim, 4)), generator=made)
        for block in range(2)
        for part in "qkvo"
        for side in "AB"
    }
    folder = comfyui.models("loras")
    save_file(tensors, folder / CARRYING, {"sama.carries_anchors": "true"})
    save_file(tensors, folder / PLAIN)


@pytest.fixture
def shapes(edit, loras) -> Edit:
    """A graph that edits 5 frames of 64x64 with the model inside the pack and a LoRA."""
    return edit.use_shapes()


def with_lora(graph: Edit, name: str = CARRYING, **changes) -> Edit:
    return graph.patch("SAMALoadLora", lora_name=name, **{"strength": 1.0, **changes})


def picture(graph: Edit, width: int = 64, height: int = 64, batch: int = 1) -> list:
    return graph.add("EmptyImage", width=width, height=height, batch_size=batch, color=RED)


def anchor_parts(graph: Edit, anchor: list) -> None:
    graph.nodes[graph.conditioning[0]]["inputs"]["anchor"] = anchor


def first_frames(monkeypatch) -> list[torch.Tensor]:
    """The target's first latent frame in every call of the model, from now on."""
    from sama_core.comfyui.model import PackedSamaDiT
    from sama_core.comfyui.streams import JointShape

    seen, original = [], PackedSamaDiT._forward_packed

    def record(self, x, *args, **kwargs):
        seen.append(JointShape(*kwargs["sama_shapes"]).video_of(x)[:, :, 0].clone())
        return original(self, x, *args, **kwargs)

    monkeypatch.setattr(PackedSamaDiT, "_forward_packed", record)
    return seen


def test_edit_conditioning_gives_a_latent_that_keeps_the_anchor(shapes):
    anchor = picture(shapes)
    anchor_parts(shapes, anchor)
    alone = shapes.add("VAEEncode", pixels=anchor, vae=shapes.vae)
    latent, source, wanted = run(shapes, shapes.latent, shapes.source_latent, alone)
    assert_close(latent["samples"][:, :, :1], wanted["samples"], rel_l2=1e-6)
    assert torch.equal(latent["samples"][:, :, 1:], source["samples"][:, :, 1:])
    assert latent["noise_mask"].shape == (1, 1, 2, 8, 8)
    assert latent["noise_mask"][:, :, 0].sum() == 0 and latent["noise_mask"][:, :, 1].min() == 1


def test_the_parts_give_the_same_edit_and_the_first_frame_is_the_anchor(shapes):
    with_lora(shapes)
    anchor = picture(shapes)
    anchor_parts(shapes, anchor)
    sampled = shapes.custom(shapes.add("SAMASigmas", steps=2, shift=5.0, denoise=1.0), cfg=1.0)
    frames = shapes.add("VAEDecode", samples=sampled, vae=shapes.vae)
    whole = whole_edit(shapes, steps=2, cfg=1.0, anchor=anchor)
    free = whole_edit(shapes, steps=2, cfg=1.0)
    parts, ours, without, given = run(shapes, frames, whole, free, anchor)
    assert torch.equal(ours, parts)
    assert (ours[0] - given[0]).abs().mean() < 0.05 < (without[0] - given[0]).abs().mean()


def test_the_model_sees_the_anchor_clean_in_every_step(shapes, monkeypatch):
    with_lora(shapes)
    anchor = picture(shapes)
    seen = first_frames(monkeypatch)
    encoded = shapes.add("VAEEncode", pixels=anchor, vae=shapes.vae)
    link = whole_edit(shapes, steps=3, cfg=1.0, anchor=anchor)
    latent, _ = run(shapes, encoded, link)
    assert len(seen) == 3
    from sama_core.comfyui.shapes_latent import ShapesLatent

    clean = ShapesLatent().process_in(latent["samples"])[:, :, 0]
    for frame in seen:
        assert_close(frame.float(), clean, rel_l2=1e-5)


def test_the_core_samples_the_same(shapes):
    """ComfyUI's noise mask and the reference loop that training and benchmarks are checked with."""
    from sama_core.shapes.gate import Settings, load_core_editor
    from sama_core.shapes.gate.clip_scores import from_bytes, to_bytes
    from sama_core.shapes.gate.core_editor import ModelFiles

    shapes.patch("SAMALoadLora", lora_name=CARRYING, strength=1e-6)
    anchor = picture(shapes)
    link = whole_edit(shapes, steps=3, cfg=1.3, seed=7, anchor=anchor)
    source, given, ours = run(shapes, shapes.source, anchor, link)
    files = ModelFiles(embedded.DIT, embedded.TEXT_ENCODER, embedded.VAE)
    core = load_core_editor(files, Settings(steps=3, cfg=1.3))
    words = shapes.nodes[link[0]]["inputs"]["instruction"]
    edited = core.edit(to_bytes(source)[None], [words], [7], anchors=to_bytes(given)[None]).frames[
        0
    ]
    assert (from_bytes(edited) - ours).abs().mean() < 0.01


def test_a_model_that_carries_none_says_so_and_keeps_the_first_frame(shapes, monkeypatch):
    with_lora(shapes, PLAIN)
    seen = first_frames(monkeypatch)
    link = whole_edit(shapes, steps=2, cfg=1.0, anchor=picture(shapes))
    result = shapes.comfyui.run(shapes.nodes, keep=[link[0]]).check()
    assert any("this model carries no anchor" in line for line in spoken(result))
    assert not torch.equal(seen[0], seen[1]), "noised as ComfyUI does it"
    assert (result.values[link[0]][0][0] - 0xC0 / 255)[..., 0].abs().mean() < 0.1


@pytest.mark.parametrize(("strength", "warned"), [(1.0, False), (0.0, True), (-1.0, True)])
def test_the_lora_says_what_it_carries(shapes, strength, warned):
    with_lora(shapes, strength=strength)
    report = output(shapes.model, 1)
    link = whole_edit(shapes, steps=1, cfg=1.0, anchor=picture(shapes))
    result = shapes.comfyui.run(shapes.nodes, keep=[link[0], report[0]]).check()
    assert ("it carries an anchor" in result.values[report[0]][1]) is not warned
    assert any("carries no anchor" in line for line in spoken(result)) is warned


def test_without_an_anchor_nothing_is_said_and_nothing_changes(shapes):
    bare, links = shapes.model, []
    for name in (CARRYING, PLAIN):
        shapes.model = bare
        links.append(whole_edit(with_lora(shapes, name), steps=2, cfg=1.0))
    result = shapes.comfyui.run(shapes.nodes, keep=[link[0] for link in links]).check()
    assert not any("anchor" in line for line in spoken(result))
    one, other = (result.values[link[0]][0] for link in links)
    assert torch.equal(one, other)


def test_an_anchor_and_a_region_together(shapes):
    with_lora(shapes)
    mask = white_box(shapes)
    whole = whole_edit(shapes, steps=2, cfg=1.0, anchor=picture(shapes), mask=mask)
    source, edited = run(shapes, shapes.source, whole)
    assert torch.equal(edited[:, :8], source[:, :8]), "outside of the mask, bit for bit"
    assert (edited[0, 20:36, 20:36, 0] - 0xC0 / 255).abs().mean() < 0.1


def test_other_sizes_are_fitted_as_a_clip_of_that_size(shapes):
    anchor_parts(shapes, picture(shapes, 120, 80))
    (latent,) = run(shapes, shapes.latent)
    assert latent["samples"].shape == (1, 16, 2, 8, 8)


def test_several_pictures_are_refused(shapes):
    said = failure(shapes, whole_edit(shapes, anchor=picture(shapes, batch=3)))
    assert "anchor: got 3 pictures, needs one" in str(said)


def test_the_packs_lora_is_small_and_offered_and_cores_loader_applies_it_too(shapes):
    name = embedded.ANCHOR_LORA.name
    assert embedded.ANCHOR_LORA.stat().st_size <= 3_000_000
    bare, anchor = shapes.model, picture(shapes)
    with_lora(shapes, name)
    report = output(shapes.model, 1)
    links = [whole_edit(shapes, steps=2, cfg=1.0, anchor=anchor), whole_edit(shapes, steps=2)]
    shapes.model = shapes.add("LoraLoaderModelOnly", model=bare, lora_name=name, strength_model=1.0)
    links.append(whole_edit(shapes, steps=2))
    result = shapes.comfyui.run(shapes.nodes, keep=[report[0], *(one[0] for one in links)]).check()
    said = result.values[report[0]][1]
    assert said.startswith("60 of 60 LoRA layers matched") and "it carries an anchor" in said
    assert not any("carries no anchor" in line for line in spoken(result))
    _, ours, cores = (result.values[one[0]][0] for one in links)
    assert_close(ours, cores, rel_l2=1e-5)
