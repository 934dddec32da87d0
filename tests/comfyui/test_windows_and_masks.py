"""Context windows, noise masks and conditioning masks see a video; the semantics stay whole."""

import copy
from types import SimpleNamespace

import pytest
import torch

from ..harness.golden import assert_close, distance
from .graphs import SMALL_AREA, Edit, estimated_shapes, output, whole_edit

WINDOWS = {
    "context_length": 5,
    "context_overlap": 4,
    "context_schedule": "standard_static",
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "pyramid",
    "freenoise": False,
    "retain_first_frame": False,
    "split_conds_to_windows": False,
}


@pytest.fixture
def long_edit(comfyui, small) -> Edit:
    """Nine frames, three latent frames; windows of five frames hold two."""
    return Edit(comfyui, small, area=SMALL_AREA, frames=9)


@pytest.mark.parametrize("fuse", ["pyramid", "overlap-linear", "relative", "flat"])
@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform"])
def test_context_windows(long_edit, fuse, schedule):
    settings = {**WINDOWS, "fuse_method": fuse, "context_schedule": schedule}
    out = long_edit.patch("WanContextWindowsManual", **settings).sample()
    assert out["video"].shape == (1, 16, 3, 4, 4)
    assert all(torch.isfinite(stream).all() for stream in out.values())


@pytest.mark.parametrize("dim", [0, 1, 3, 4, 5])
def test_windows_over_another_axis_than_time_are_refused(long_edit, dim):
    settings = {
        **WINDOWS,
        "dim": dim,
        "cond_retain_index_list": "",
        "latent_retain_index_list": "",
        "causal_window_fix": True,
    }
    long_edit.patch(
        "ContextWindowsManual",
        **{key: value for key, value in settings.items() if key != "retain_first_frame"},
    )
    link = long_edit.ksampler()
    (error,) = long_edit.comfyui.run(long_edit.nodes, keep=[link[0]]).errors
    assert f"context windows: got dim {dim}, needs dim 2, the frames" in error


def test_a_cfg_function_that_calls_the_model_again_does_so_in_windows(long_edit, comfyui, small):
    """Skip Layer Guidance hands back the 5-D view that it was given."""
    guidance = {
        "double_layers": "0",
        "single_layers": "",
        "start_percent": 0.0,
        "end_percent": 1.0,
        "rescaling_scale": 0.0,
    }
    long_edit.patch("WanContextWindowsManual", **WINDOWS)
    windows = long_edit.sample()
    off, on = (
        long_edit.patch("SkipLayerGuidanceDiT", scale=scale, **guidance).sample()
        for scale in (0.0, 3.0)
    )
    assert torch.equal(off["video"], windows["video"])
    assert torch.isfinite(on["video"]).all() and not torch.equal(on["video"], windows["video"])


def test_the_source_is_cut_to_each_window(long_edit, monkeypatch):
    """Every model call has as many source as target frames, and the source frames are the window's
    own.
    """
    from sama_core.model.dit import SamaDiT

    seen, original = [], SamaDiT.forward
    full = long_edit.values(long_edit.source_latent)["samples"]

    def spy(
        self,
        latents,
        timestep,
        context,
        source_latents=None,
        semantic_latents=None,
        transformer_options=None,
    ):
        window = transformer_options["context_window"].index_list
        seen.append(
            (latents.shape[2], source_latents.shape[2], semantic_latents.shape[1], tuple(window))
        )
        expected = full[:, :, window]
        mean, std = (
            x[0, :, 0, 0, 0] for x in (latent_format.latents_mean, latent_format.latents_std)
        )
        normal = (expected - mean.view(1, -1, 1, 1, 1)) / std.view(1, -1, 1, 1, 1)
        start = source_latents.shape[2] - len(window)
        assert_close(source_latents[:1, :, start:], normal.to(source_latents), rel_l2=1e-5)
        return original(
            self, latents, timestep, context, source_latents, semantic_latents, transformer_options
        )

    import comfy.latent_formats

    latent_format = comfy.latent_formats.Wan21()
    monkeypatch.setattr(SamaDiT, "forward", spy)
    long_edit.patch("WanContextWindowsManual", **WINDOWS).sample(steps=1)
    assert {window for *_, window in seen} == {(0, 1), (1, 2)}
    assert all(target == source and semantic == 65 for target, source, semantic, _ in seen)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_packs_may_copy_the_options_of_a_run(comfyui, copied):
    from sama_core.comfyui.context_windows import VideoWindows
    from sama_core.comfyui.streams import JointShape

    shape = JointShape((16, 5, 4, 4), (65, 8))
    options = {"context_handler": VideoWindows(SimpleNamespace(dim=2, context_length=3), shape)}
    assert copied(options)["context_handler"].context_length == 3
    assert copied(options["context_handler"]).shape == shape


def test_one_window_over_the_whole_clip_changes_nothing(edit, sampled):
    out = edit.patch("WanContextWindowsManual", **{**WINDOWS, "context_length": 81}).sample()
    assert torch.equal(out["video"], sampled["video"])


def test_windows_with_a_batch_of_two(comfyui, long_edit):
    """Core indexes the timestep with frame numbers there; the adapter keeps it out of that."""
    latent = long_edit.add("RepeatLatentBatch", samples=long_edit.latent, amount=2)
    out = long_edit.patch("WanContextWindowsManual", **WINDOWS).sample(latent_image=latent)
    assert out["video"].shape[0] == out["semantic"].shape[0] == 2
    assert torch.isfinite(out["video"]).all()


def test_freenoise_shuffles_the_video_noise_only(long_edit):
    """The windows' noise is reordered in time; the semantic noise keeps its own draw."""
    from sama_core.comfyui import context_windows, video_view
    from sama_core.comfyui.streams import JointShape

    plain = long_edit.values(long_edit.model)
    model = long_edit.patch("WanContextWindowsManual", **{**WINDOWS, "freenoise": True}).values(
        long_edit.model
    )
    noise = torch.randn(1, 16, 3, 4, 4)
    shuffled = context_windows.free_noise(model.model_options, noise, seed=1)
    assert torch.equal(context_windows.free_noise(plain.model_options, noise, seed=1), noise)
    assert torch.equal(shuffled[:, :, :2], noise[:, :, :2])
    assert torch.equal(shuffled[:, :, 2], noise[:, :, 0]) or torch.equal(
        shuffled[:, :, 2], noise[:, :, 1]
    )
    options = {"context_handler": model.model_options["context_handler"]}
    video_view.adapt_model_options(options, JointShape((16, 3, 4, 4), (65, 48)))
    assert options["context_handler"].freenoise is False


def test_memory_is_estimated_for_one_window(long_edit, monkeypatch):
    shapes = estimated_shapes(monkeypatch)
    long_edit.patch("WanContextWindowsManual", **WINDOWS).sample(steps=1)
    assert shapes[0] == [2, 16, 2, 4, 4]


@pytest.mark.parametrize("prepared", ["again after the windows", "by SAMA Edit"])
def test_memory_is_estimated_for_one_window_whoever_prepares(long_edit, monkeypatch, prepared):
    """SAMA's wrappers stay first, so core's window clamp sees a video."""
    shapes = estimated_shapes(monkeypatch)
    graph = long_edit.patch("WanContextWindowsManual", **WINDOWS)
    if prepared == "by SAMA Edit":
        graph.values(whole_edit(graph, steps=1))
    else:
        graph.patch("SAMAPrepareModel").sample(steps=1)
    assert shapes[0] == [2, 16, 2, 4, 4]


# --- masks -------------------------------------------------------------------------------------


def solid(graph, value: float) -> list:
    return graph.add("SolidMask", value=value, width=32, height=32)


def half(graph) -> list:
    """A mask that is 1 on the left half of 32x32 frames."""
    return graph.add(
        "MaskComposite",
        destination=solid(graph, 0.0),
        x=0,
        y=0,
        operation="add",
        source=graph.add("SolidMask", value=1.0, width=16, height=32),
    )


def test_noise_mask_keeps_the_rest(edit):
    """Outside the mask the source latent comes back; inside it the edit does."""
    masked = edit.add("SetLatentNoiseMask", samples=edit.source_latent, mask=half(edit))
    out = edit.sample(latent_image=masked)
    source = edit.values(edit.source_latent)["samples"]
    assert_close(out["video"][..., 3:], source[..., 3:], rel_l2=1e-5)
    assert distance(out["video"][..., :1], source[..., :1])[0] > 0.05
    assert torch.isfinite(out["semantic"]).all()


def test_a_full_noise_mask_changes_nothing(edit, sampled):
    masked = edit.add("SetLatentNoiseMask", samples=edit.latent, mask=solid(edit, 1.0))
    assert_close(edit.sample(latent_image=masked)["video"], sampled["video"], rel_l2=1e-5)


def test_conditioning_mask(edit, sampled):
    """A mask over everything is no mask; half a mask mixes two instructions."""

    def masked(conditioning, mask):
        return edit.add(
            "ConditioningSetMask",
            conditioning=conditioning,
            mask=mask,
            strength=1.0,
            set_cond_area="default",
        )

    whole = edit.sample(positive=masked(edit.positive, solid(edit, 1.0)))
    assert_close(whole["video"], sampled["video"], rel_l2=1e-5)
    other = edit.add(
        "SAMAInstruction", clip=edit.clip, instruction="remove the square", edit_tag=True
    )
    second = edit.add(
        "SAMAEditConditioning",
        positive=other,
        negative=output(other, 1),
        vae=edit.vae,
        frames=edit.source,
        tiling="automatic",
    )
    mixed = edit.sample(
        positive=edit.add(
            "ConditioningCombine",
            conditioning_1=masked(edit.positive, half(edit)),
            conditioning_2=second,
        )
    )
    assert distance(mixed["video"], sampled["video"])[0] > 1e-4


def test_conditioning_mask_in_windows(long_edit):
    """The mask is cut to each window; over everything it is no mask."""
    graph = long_edit.patch("WanContextWindowsManual", **WINDOWS)
    plain = graph.sample()
    masked = graph.add(
        "ConditioningSetMask",
        conditioning=graph.positive,
        mask=solid(graph, 1.0),
        strength=1.0,
        set_cond_area="default",
    )
    assert_close(graph.sample(positive=masked)["video"], plain["video"], rel_l2=1e-5)


def test_conditioning_area_is_ignored_with_a_word(edit, sampled, caplog):
    area = edit.add(
        "ConditioningSetAreaPercentage",
        conditioning=edit.positive,
        width=0.5,
        height=0.5,
        x=0.0,
        y=0.0,
        strength=1.0,
    )
    out = edit.sample(positive=area)
    assert torch.equal(out["video"], sampled["video"])
    assert "area was ignored" in caplog.text
