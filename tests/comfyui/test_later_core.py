"""What later versions of ComfyUI hand to our methods beyond what they know: no TypeError, at most
one line each.
"""

from types import SimpleNamespace

import pytest
import torch

from .test_windows_and_masks import WINDOWS

LATER = {"nobody_has_invented": 1, "this_yet": None}


@pytest.fixture
def model(edit):
    return edit.values(edit.model)


def lines(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.endswith(".later_core")]


VIDEO, SOURCE = [2, 16, 21, 60, 104], {"source_latents": [[2, 16, 21, 60, 104]]}


def test_every_method_of_the_model_takes_them(model, edit, caplog):
    """Called as core calls them, with two keywords more; the answers are those without."""
    sama = model.model
    latent = torch.randn(1, 16, 3, 4, 4)
    window = SimpleNamespace(dim=2)
    calls = {
        "process_timestep": (torch.tensor([995.93]),),
        "process_latent_in": (latent,),
        "process_latent_out": (latent,),
        "extra_conds": (),
        "extra_conds_shapes": (),
        "memory_required": (VIDEO, SOURCE),
        "resize_cond_for_context_window": ("c_crossattn", latent, window, latent, "cpu"),
        "map_context_window_to_modalities": ([0, 1], [], 2),
    }
    for name, arguments in calls.items():
        plain, later = getattr(sama, name)(*arguments), getattr(sama, name)(*arguments, **LATER)
        same = torch.equal(plain, later) if torch.is_tensor(plain) else plain == later
        assert same, name


def test_an_ignored_keyword_is_told_once(model, caplog):
    caplog.set_level("INFO")
    for _ in range(3):
        model.model.memory_required(VIDEO, SOURCE, told_once=1)
    assert lines(caplog) == [
        "SAMA: ComfyUI hands told_once=… to memory_required, which this version does not use."
    ]


@pytest.mark.parametrize("fused", [True, False])
def test_memory_required_goes_by_the_attention_it_is_told(model, monkeypatch, fused):
    """`memory_efficient_attention` overrules the computer's settings; None does not."""
    import comfy.model_management

    def settings(on):
        monkeypatch.setattr(comfy.model_management, "pytorch_attention_flash_attention", lambda: on)
        monkeypatch.setattr(comfy.model_management, "xformers_enabled", lambda: False)
        return model.model.memory_required(VIDEO, SOURCE)

    lean, whole = settings(True), settings(False)
    assert lean < whole
    settings(fused)
    ask = model.model.memory_required
    assert ask(VIDEO, SOURCE, memory_efficient_attention=None) == (lean if fused else whole)
    assert ask(VIDEO, SOURCE, memory_efficient_attention=True) == lean
    settings(False)
    assert ask(VIDEO, SOURCE, memory_efficient_attention=False) == whole


def test_the_base_model_gets_what_it_takes(model, monkeypatch):
    """A later BaseModel's own keywords reach it."""
    import comfy.model_base

    seen = []
    monkeypatch.setattr(
        comfy.model_base.BaseModel,
        "memory_required",
        lambda self, input_shape, cond_shapes={}, of_theirs=None: seen.append(of_theirs) or 1,
    )
    monkeypatch.setattr("sama_core.comfyui.model._is_attention_fused", lambda: False)
    model.model.memory_required(VIDEO, SOURCE, of_theirs=7, strange=8)
    assert seen == [7]


def test_loading_takes_them(comfyui, edit, monkeypatch):
    """`matches`, `get_model` and `load_model_weights`, inside core's own loading."""
    import comfy.model_base

    from sama_core.comfyui.register import SamaConfig

    seen = []

    def handed(owner, name, rebuild=lambda function: function):
        original = getattr(owner, name)

        def later(*args, **kwargs):
            seen.append(name)
            return original(*args, **kwargs, **LATER)

        monkeypatch.setattr(owner, name, rebuild(later))

    from sama_core.comfyui.model import SamaModel

    handed(SamaModel, "load_model_weights")
    handed(SamaConfig, "get_model")
    matches = SamaConfig.matches
    monkeypatch.setattr(
        SamaConfig,
        "matches",
        classmethod(
            lambda cls, *args, **kwargs: seen.append("matches") or matches(*args, **kwargs, **LATER)
        ),
    )
    edit.nodes[edit.model[0]]["class_type"] = "UNETLoader"
    edit.nodes[edit.model[0]]["inputs"]["unet_name"] = edit.nodes[edit.model[0]]["inputs"].pop(
        "model_name"
    )
    assert type(edit.values(edit.model).model).__name__ == "SamaModel"
    assert {"matches", "get_model", "load_model_weights"} <= set(seen)
    assert comfy.model_base.BaseModel.load_model_weights is not SamaModel.load_model_weights


def test_the_model_call_takes_them(comfyui, edit, sampled, monkeypatch, caplog):
    """Keywords that a later core's model call adds."""
    from sama_core.comfyui.model import PackedSamaDiT

    original = PackedSamaDiT.forward
    monkeypatch.setattr(
        PackedSamaDiT,
        "forward",
        lambda self, *args, **kwargs: original(self, *args, **kwargs, **LATER),
    )
    caplog.set_level("INFO")
    assert torch.equal(edit.sample()["video"], sampled["video"])
    assert (
        len(
            [
                line
                for line in lines(caplog)
                if line.endswith("to the model, which this version does not use.")
            ]
        )
        == 2
    )


def test_the_wrappers_pass_them_on(edit, monkeypatch):
    """Each wrapper, around an executor that takes more than today's; what it returns comes back as
    it is.
    """
    from sama_core.comfyui import joint_state

    seen = []

    def executor(*args, **kwargs):
        seen.append((args, kwargs))
        return ("answer", "of", "theirs")

    assert joint_state.prepare_sampling(
        executor, "model", [1, 16, 2, 4, 4], {}, "more", **LATER
    ) == ("answer", "of", "theirs")
    x = torch.zeros(1, 16, 2, 4, 4)
    assert joint_state.calc_cond_batch(
        executor, "model", [], x, "timestep", {}, "more", **LATER
    ) == ("answer", "of", "theirs")
    assert [(args[-1], kwargs) for args, kwargs in seen] == [("more", LATER)] * 2


def test_outer_sample_passes_them_on(comfyui, edit, sampled, monkeypatch):
    """A keyword that a later CFGGuider.sample hands along reaches core's own outer_sample."""
    import comfy.samplers

    from sama_core.comfyui import joint_state

    seen, original = [], comfy.samplers.CFGGuider.outer_sample

    def later(self, *args, invented=None, **kwargs):
        seen.append(invented)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(comfy.samplers.CFGGuider, "outer_sample", later)
    wrapper = joint_state.outer_sample

    def handing(executor, *args, **kwargs):
        return wrapper(executor, *args, **kwargs, invented=5)

    monkeypatch.setitem(
        joint_state._WRAPPERS, comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, handing
    )
    assert torch.equal(edit.patch("SAMAPrepareModel").sample()["video"], sampled["video"])
    assert seen == [5]


def test_callbacks_and_windows_pass_them_on(comfyui):
    from sama_core.comfyui.context_windows import VideoWindows
    from sama_core.comfyui.streams import JointShape
    from sama_core.comfyui.video_view import video_callback

    shape, seen = JointShape((1, 2, 1, 1), (1, 1)), []
    packed = torch.arange(3.0).reshape(1, 1, 3)
    show = video_callback(lambda *args, **kwargs: seen.append((args[3:], kwargs)), shape)
    show(0, packed, packed, 8, "more", **LATER)

    class Handler:
        def should_use_context(self, model, conds, x_in, timestep, model_options, *args, **kwargs):
            seen.append((args, kwargs))
            return True

        def execute(self, calc, model, conds, x_in, timestep, model_options, *args, **kwargs):
            seen.append((args, kwargs))
            return calc(model, conds, x_in, timestep, model_options, "inner", **LATER)

    windows = VideoWindows(Handler(), shape)
    assert windows.should_use_context(None, [], packed, None, {}, "more", **LATER)

    def calc(model, conds, x, timestep, options, *args, **kwargs):
        seen.append((args, kwargs))
        return [x]

    (out,) = windows.execute(
        calc, None, [], packed, torch.ones(1), {"transformer_options": {}}, "more", **LATER
    )
    assert torch.equal(out, packed)
    assert seen == [
        ((8, "more"), LATER),
        (("more",), LATER),
        (("more",), LATER),
        (("inner",), LATER),
    ]


def test_windows_still_run_with_core_s_handler(comfyui, small):
    from .graphs import SMALL_AREA, Edit

    edit = Edit(comfyui, small, area=SMALL_AREA, frames=9)
    assert edit.patch("WanContextWindowsManual", **WINDOWS).sample()["video"].isfinite().all()
