"""In ComfyUI's sampler the text's keys are computed once a run, and the result is the same to the
bit.
"""

import pytest
import torch

from .graphs import Edit


@pytest.fixture
def key_rows(monkeypatch):
    """Rows of text whose keys and values were computed, by every block's cross-attention."""
    from sama_core.model.attention import CrossAttention

    rows = []
    forward = CrossAttention.forward

    def counting(self, x, context, *args, **kwargs):
        if not any(hook.__name__ == "count" for hook in self.k._forward_hooks.values()):

            def count(module, inputs, output):
                rows.append(inputs[0].shape[0])

            self.k.register_forward_hook(count)
        return forward(self, x, context, *args, **kwargs)

    monkeypatch.setattr(CrossAttention, "forward", counting)
    return rows


def test_text_once_a_run_and_the_same_edit(edit: Edit, sampled, key_rows):
    """Three steps at cfg 5 with two blocks: text of both conditionings, once a block."""
    out = edit.sample()
    assert sum(key_rows) == 2 * 2
    assert all(torch.equal(out[name], sampled[name]) for name in sampled)


def test_every_step_where_another_node_may_change_it(edit: Edit, sampled, key_rows, monkeypatch):
    """EasyCache wraps the model; with a threshold of 0 it changes nothing."""
    out = edit.patch(
        "EasyCache", reuse_threshold=0.0, start_percent=0.0, end_percent=1.0, verbose=False
    ).sample()
    assert sum(key_rows) == 3 * 2 * 2
    assert all(torch.equal(out[name], sampled[name]) for name in sampled)


def bypass_lora(patcher) -> None:
    """What core's `load_bypass_lora_for_models` leaves: an injection."""
    from comfy.model_patcher import PatcherInjection

    patcher.set_injections("bypass_lora", [PatcherInjection(inject=print, eject=print)])


SPOILERS = {
    "model function wrapper": lambda guider: guider.model_options.update(
        model_function_wrapper=print
    ),
    "post cfg function": lambda guider: guider.model_options.update(
        sampler_post_cfg_function=[print]
    ),
    "hooks": lambda guider: guider.conds["positive"][0].update(hooks=object()),
    "another pack's wrapper": lambda guider: guider.model_options.setdefault(
        "transformer_options", {}
    ).update(wrappers={"predict_noise": {"other": [print]}}),
    "a pack's callback": lambda guider: guider.model_patcher.add_callback_with_key(
        "on_prepare_state", "x", print
    ),
    "a callback in the options": lambda guider: guider.model_options.setdefault(
        "transformer_options", {}
    ).update(callbacks={"on_cleanup": {"x": [print]}}),
    "a bypass LoRA": lambda guider: bypass_lora(guider.model_patcher),
    "a replaced method": lambda guider: guider.model_patcher.add_object_patch(
        "diffusion_model.blocks.0.cross_attn.forward", print
    ),
    "a weight wrapper": lambda guider: guider.model_patcher.add_weight_wrapper(
        "diffusion_model.blocks.0.cross_attn.k.weight", print
    ),
    "hooks forced on the model": lambda guider: setattr(
        guider.model_patcher, "forced_hooks", object()
    ),
    "several GPUs": lambda guider: guider.model_patcher.set_additional_models(
        "multigpu", [guider.model_patcher.clone()]
    ),
}


HARMLESS = {
    "another schedule": lambda guider: guider.model_patcher.add_object_patch(
        "model_sampling", object()
    )
}


@pytest.mark.parametrize("spoiler", [None, *SPOILERS, *HARMLESS])
def test_nothing_is_kept_where_something_else_calls_the_model(edit: Edit, spoiler):
    import comfy.samplers

    from sama_core.comfyui.video_view import cache_constants
    from sama_core.model.once_per_run import MEMORY

    guider = comfy.samplers.CFGGuider(edit.values(edit.model).clone())
    guider.conds = {"positive": [{}], "negative": [{}]}
    if spoiler:
        {**SPOILERS, **HARMLESS}[spoiler](guider)
    cache_constants(guider, "sama")
    assert (MEMORY in guider.model_options.get("transformer_options", {})) == (
        spoiler not in SPOILERS
    )


def test_other_guiders_compute_every_step(edit: Edit):
    import comfy.samplers

    from sama_core.comfyui.video_view import cache_constants
    from sama_core.model.once_per_run import MEMORY

    class Other(comfy.samplers.CFGGuider):
        pass

    guider = Other(edit.values(edit.model).clone())
    guider.conds = {"positive": [{}]}
    cache_constants(guider, "sama")
    assert MEMORY not in guider.model_options.get("transformer_options", {})


def test_a_callback_that_alters_the_text_in_mid_run_bites(edit: Edit, sampled):
    """Such as a pack that fades a LoRA out: from the second step on the text's values are taken
    away.
    """
    from .test_model_patches import run_patched

    steps, kept = [], []

    def mute(patcher, *_):
        weight = patcher.model.diffusion_model.blocks[0].cross_attn.v.weight
        kept.extend([weight.detach().clone()] if not kept else [])
        steps.append(1)
        if len(steps) == 2:
            weight.data.zero_()

    def patch(model):
        model.add_callback_with_key("on_prepare_state", "fade", mute)

    try:
        out = run_patched(edit.comfyui, edit, patch)
    finally:
        edit.values(edit.model).model.diffusion_model.blocks[0].cross_attn.v.weight.data.copy_(
            kept[0]
        )
    assert len(steps) == 3
    assert (out - sampled["video"]).abs().max() > 1e-4
