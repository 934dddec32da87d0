"""Live previews show the video; an interrupted run leaves ComfyUI ready for the next."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from .graphs import spoken, whole_edit


@pytest.fixture
def two_seconds(monkeypatch):
    """Two seconds pass between any two looks at the clock."""
    from sama_core.comfyui import node_progress

    ticks = itertools.count(step=2)
    monkeypatch.setattr(node_progress, "_now", lambda: float(next(ticks)))


def test_ksampler_previews_every_step(edit):
    """Core's own latent-to-RGB preview of the 4x4 latent, step by step."""
    result = edit.comfyui.run(edit.nodes, keep=[edit.ksampler()[0]]).check()
    shown = [step for step in result.progress if step.has_preview]
    assert [(step.value, step.total) for step in shown] == [(1, 3), (2, 3), (3, 3)]
    assert [picture.size for picture in result.previews] == [(4, 4)] * 3


def test_sama_edit_shows_all_its_stages(edit, two_seconds):
    """One bar over text, encoding, three steps and decoding, with previews and a line of text in
    the node.

    Core drops progress calls without a preview that follow each other closely.
    """
    node = whole_edit(edit)
    result = edit.comfyui.run(edit.nodes, keep=[node[0]]).check()
    ours = [step for step in result.progress if step.total == 8]
    assert [step.value for step in ours] == sorted(step.value for step in ours)
    assert ours[-1].value == 8
    assert [step.value for step in ours if step.has_preview] == [4, 5, 6]
    assert spoken(result) == [
        "SAMA: loading weights, 0 of 2 blocks",
        "SAMA: loading weights, 1 of 2 blocks",
        "SAMA: loading weights, 2 of 2 blocks",
        "SAMA: reading the instruction",
        "SAMA: encoding the source",
        "SAMA: sampling",
        "SAMA: sampling, step 1 of 3, 2.0 s for the first, at most 4 s left",
        "SAMA: sampling, step 2 of 3, 2.0 s a step, about 2 s left",
        "SAMA: sampling, step 3 of 3, 2.0 s a step",
        "SAMA: decoding",
    ]


def counted(edit, monkeypatch, tiling: str, stage: str) -> list[str]:
    """What a node says behind the name of a stage, in order. The clip is two tiles large."""
    from sama_core.comfyui import node_progress

    monkeypatch.setattr(node_progress, "COUNTED_EVERY", 0)
    edit.nodes[edit.source[0]]["inputs"]["area"] = 272 * 432
    node = whole_edit(edit, steps=1)
    edit.nodes[node[0]]["inputs"]["tiling"] = tiling
    said = spoken(edit.comfyui.run(edit.nodes, keep=[node[0]]).check())
    begin = f"SAMA: {stage}"
    return [text.removeprefix(begin) for text in said if text.startswith(begin)]


@pytest.mark.parametrize(
    "tiling, stage, counts",
    [
        ("automatic", "encoding the source", [1, 3, 5]),
        ("reference tiles", "encoding the source", [0, 1, 2, 3, 4, 5]),
        ("automatic", "decoding", [1, 5]),
        ("reference tiles", "decoding", [0, 2, 3, 5]),
    ],
)
def test_frames_are_counted_while_the_vae_works(
    edit, two_seconds, monkeypatch, tiling, stage, counts
):
    """ComfyUI's VAE takes one frame, then two at a time; or one latent frame, then two."""
    said = counted(edit, monkeypatch, tiling, stage)
    assert said == ["", *(f", frame {done} of 5" for done in counts)]


@pytest.mark.parametrize("stage", ["encoding the source", "decoding"])
def test_frames_are_not_counted_in_tiles_of_comfyui(edit, two_seconds, monkeypatch, stage):
    """Nobody knows how many there will be. Memory runs out after the first frame."""
    import comfy.ldm.wan.vae
    import comfy.model_management

    encodes = stage.startswith("encoding")
    network = getattr(comfy.ldm.wan.vae, "Encoder3d" if encodes else "Decoder3d")
    calls, forward = [], network.forward

    def fail_once(*given, **named):
        calls.append(1)
        if len(calls) == 2:
            raise comfy.model_management.OOM_EXCEPTION("no room")
        return forward(*given, **named)

    monkeypatch.setattr(network, "forward", fail_once)
    said = counted(edit, monkeypatch, "automatic", stage)
    assert len(calls) > 4 and said == ["", ", frame 1 of 5", ""]


@pytest.mark.parametrize("network", ["Encoder3d", "Decoder3d"])
def test_the_vae_can_be_interrupted(edit, monkeypatch, network):
    """It takes minutes for a long clip on a slow machine."""
    import comfy.ldm.wan.vae
    import nodes

    network = getattr(comfy.ldm.wan.vae, network)
    calls, forward = [], network.forward

    def count(*given, **named):
        calls.append(1)
        nodes.interrupt_processing(len(calls) == 1)
        return forward(*given, **named)

    monkeypatch.setattr(network, "forward", count)
    node = whole_edit(edit, steps=1)
    assert edit.comfyui.run(edit.nodes, keep=[node[0]]).interrupted
    assert len(calls) == 1


def test_frames_of_a_segment_that_stays_are_counted_too(comfyui, monkeypatch):
    from sama_core.comfyui import long_edit, node_progress

    monkeypatch.setattr(node_progress, "COUNTED_EVERY", 0)
    monkeypatch.setattr(long_edit, "encode_source", lambda *given: given[-1](3, 17))
    said = []
    stages = node_progress.Stages(2, 2, said.append)
    run = SimpleNamespace(stages=stages, vae=None, settings=SimpleNamespace(tiling="automatic"))
    long_edit.SegmentSampler(run, None, None, []).keep_source(None)
    assert said == ["SAMA: encoding the source", "SAMA: encoding the source, frame 3 of 17"]


def test_a_long_edit_says_what_would_be_sooner(edit, monkeypatch):
    """40 s pass with every step; half the steps are advised while they take less than the rest."""
    from sama_core.comfyui import node_progress

    ticks = itertools.count(step=40)
    monkeypatch.setattr(node_progress, "_now", lambda: float(next(ticks)))
    node = whole_edit(edit, steps=40)
    said = spoken(edit.comfyui.run(edit.nodes, keep=[node[0]]).check())
    assert (
        "SAMA: sampling, step 1 of 40, 40.0 s for the first, at most 26 min 0 s left. Sooner, "
        "begun anew: 20 steps (13 min 20 s)"
    ) in said
    assert next(text for text in said if "step 15 of" in text).endswith("20 steps (13 min 20 s)")
    assert "SAMA: sampling, step 16 of 40, 40.0 s a step, about 16 min 0 s left" in said


def test_anchor_preview_fills_its_bar_at_the_end(edit):
    """Three anchors of two steps: one bar, which is full only when the last frame is decoded."""
    node = whole_edit(edit, steps=2)
    edit.nodes[node[0]]["class_type"] = "SAMAAnchorPreview"
    edit.nodes[node[0]]["inputs"] |= {"anchors": 3, "first_frame": 0}
    result = edit.comfyui.run(edit.nodes, keep=[node[0]]).check()
    ours = [step for step in result.progress if step.total == 1 + 3 * 6]
    assert [step.value for step in ours if step.has_preview] == [4, 5, 10, 11, 16, 17]
    assert ours[-1].value == 19


def test_anchor_preview_of_frames_with_transparency(edit):
    node = whole_edit(edit, steps=1)
    mask = edit.add("SolidMask", value=1.0, width=32, height=32)
    alpha = edit.add("JoinImageWithAlpha", image=edit.source, alpha=mask)
    edit.nodes[node[0]]["class_type"] = "SAMAAnchorPreview"
    edit.nodes[node[0]]["inputs"] |= {"anchors": 1, "first_frame": 0, "frames": alpha}
    assert edit.values(node).shape == (1, 72, 32, 3)


def test_sama_edit_equals_the_separate_nodes(edit):
    """SAMA Edit is built from the same parts: frame for frame the native graph's result."""
    one = edit.values(whole_edit(edit))
    sigmas = edit.add("SAMASigmas", steps=3, shift=5.0, denoise=1.0)
    native = edit.values(edit.add("VAEDecode", samples=edit.custom(sigmas), vae=edit.vae))
    assert one.shape == (5, 32, 32, 3)
    assert torch.equal(one, native)


@pytest.mark.parametrize("node", ["ksampler", "SAMA Edit"])
def test_interrupt_in_mid_sampling(edit, sampled, node):
    """The run stops at the step, and the next one is as if nothing had happened."""
    link = edit.ksampler(steps=20) if node == "ksampler" else whole_edit(edit, steps=20)
    edit.comfyui.interrupt_after(6)
    result = edit.comfyui.run(edit.nodes, keep=[link[0]])
    assert result.interrupted
    assert not result.ok
    assert len(result.progress) == 6
    assert torch.equal(edit.sample()["video"], sampled["video"])


def test_interrupt_while_the_clip_is_read(edit):
    """Reading stops at the next frame."""
    edit.nodes[edit.source[0]]["inputs"]["frames"] = 9
    edit.comfyui.interrupt_after(1)
    result = edit.comfyui.run(edit.nodes, keep=[edit.source[0]])
    assert result.interrupted
    assert [step.value for step in result.progress] == [1]


def test_an_error_in_mid_sampling_leaves_the_next_run_whole(edit, sampled, monkeypatch):
    """Out of memory, as a model call would raise it: advice from core, then a clean run."""
    from sama_core.model.dit import SamaDiT

    with monkeypatch.context() as broken:

        def out_of_memory(*args, **kwargs):
            raise torch.OutOfMemoryError("simulated")

        broken.setattr(SamaDiT, "run_blocks", out_of_memory)
        result = edit.comfyui.run(edit.nodes, keep=[edit.ksampler()[0]])
        assert not result.ok
        assert "OutOfMemoryError" in result.errors[0]
    assert torch.equal(edit.sample()["video"], sampled["video"])
