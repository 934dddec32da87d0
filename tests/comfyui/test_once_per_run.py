"""In ComfyUI's sampler the text's keys are computed once a run, and the result is the same to the bit."""

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
    out = edit.patch("EasyCache", reuse_threshold=0.0, start_percent=0.0, end_percent=1.0, verbose=False).sample()
    assert sum(key_rows) == 3 * 2 * 2
    assert all(torch.equal(out[name], sampled[name]) for name in sampled)


SPOILERS = {
    "model function wrapper": lambda guider: guider.model_options.update(model_function_wrapper=print),
    "post cfg function": lambda guider: guider.model_options.update(sampler_post_cfg_function=[print]),
    "hooks": lambda guider: guider.conds["positive"][0].update(hooks=object()),
    "another pack's wrapper": lambda guider: guider.model_options.setdefault("transformer_options", {}).update(
        wrappers={"predict_noise": {"other": [print]}}),
    "several GPUs": lambda guider: guider.model_patcher.set_additional_models(
        "multigpu", [guider.model_patcher.clone()]),
}


@pytest.mark.parametrize("spoiler", [None, *SPOILERS])
def test_nothing_is_kept_where_something_else_calls_the_model(edit: Edit, spoiler):
    import comfy.samplers

    from sama_core.comfyui.adapters import remember_what_stays
    from sama_core.once_per_run import MEMORY

    guider = comfy.samplers.CFGGuider(edit.values(edit.model).clone())
    guider.conds = {"positive": [{}], "negative": [{}]}
    if spoiler:
        SPOILERS[spoiler](guider)
    remember_what_stays(guider, "sama")
    assert (MEMORY in guider.model_options.get("transformer_options", {})) == (spoiler is None)


def test_other_guiders_compute_every_step(edit: Edit):
    import comfy.samplers

    from sama_core.comfyui.adapters import remember_what_stays
    from sama_core.once_per_run import MEMORY

    class Other(comfy.samplers.CFGGuider):
        pass
    guider = Other(edit.values(edit.model).clone())
    guider.conds = {"positive": [{}]}
    remember_what_stays(guider, "sama")
    assert MEMORY not in guider.model_options.get("transformer_options", {})
