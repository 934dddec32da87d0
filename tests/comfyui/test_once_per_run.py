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
