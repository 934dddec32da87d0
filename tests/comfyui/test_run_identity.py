"""Runs that are put back as they were found, runs without a key, and what SAMA Long Edit keeps."""

import pytest
import torch

from .identity_bench import with_guidance, wrapped


def test_a_cell_that_the_run_emptied_is_filled_again(bench):
    held = kept = [1]

    def wrapper(executor, *args, **kwargs):
        nonlocal held
        del held
        return executor(*args, **kwargs)

    model = wrapped(bench, wrapper)
    with bench.identity(model).as_found():
        wrapper(lambda: None)
    assert wrapper.__closure__[0].cell_contents is kept


@pytest.mark.parametrize("where", ["wrapper", "attachment", "callback", "injection"])
def test_what_cannot_be_described_is_named_and_not_kept(bench, where):
    from comfy.patcher_extension import PatcherInjection

    handle = (number for number in range(3))
    model = bench.model.clone()
    if where == "wrapper":
        model.add_wrapper_with_key("diffusion_model", "their pack", lambda *args: handle)
    elif where == "attachment":
        model.set_attachments("their pack", handle)
    elif where == "callback":
        model.add_callback_with_key("on_pre_run", "their pack", lambda patcher: handle)
    else:
        model.set_injections(
            "their pack", [PatcherInjection(lambda patcher: handle, lambda patcher: None)]
        )
    identity = bench.identity(model)
    assert identity.key() is None
    assert where in identity.why_not and "'their pack'" in identity.why_not
    assert identity.why_not.endswith(identity.obstacle) and " reading " not in identity.obstacle


def long_edit(bench, model, store) -> list[str]:
    """What a long edit of one segment says."""
    from sama_core.comfyui.edit import EditSettings
    from sama_core.comfyui.long_edit import LongSettings, edit_long

    said = []
    with torch.inference_mode():
        edit_long(
            model,
            bench.clip,
            bench.vae,
            torch.rand(9, 32, 32, 3, generator=torch.Generator().manual_seed(0)),
            EditSettings("make it red", steps=1, cfg=1.0),
            LongSettings(17, 4, False),
            store,
            said.append,
        )
    return said


def test_long_edit_takes_a_segment_of_the_same_graph_and_no_other(bench, tmp_path):
    from sama_core.long import SegmentStore

    store = SegmentStore(tmp_path, 2**30)
    counts = []
    for scale in (0.1, 0.1, 0.5, 0.1):
        sampled = any(
            "sampling" in line for line in long_edit(bench, with_guidance(bench, scale), store)
        )
        counts.append((sampled, len(store.entries())))
    assert counts == [(True, 1), (False, 1), (True, 2), (False, 2)]


def test_long_edit_says_what_prevents_keeping_and_edits_on(bench, tmp_path):
    from sama_core.long import SegmentStore

    model = bench.model.clone()
    model.set_attachments("their pack", (number for number in range(3)))
    store = SegmentStore(tmp_path, 2**30)
    said = long_edit(bench, model, store)
    first = next(line for line in said if "segment 1 of 1" in line)
    assert (
        "not kept" in first
        and "attachments['their pack']" in first
        and "sampling, step" not in first
    )
    assert any("sampling, step 1 of 1" in line for line in said) and store.entries() == []
