"""Keys of models: one change in the graph gives another key where the frames differ.

Every case samples two steps with each of two settings of one node, and asks for the key before and
after.
"""

import random

import pytest
import torch

from .identity_bench import (
    PAIRS,
    SWITCHES,
    Bench,
    differ,
    hooked,
    scaled,
    stacked,
    with_guidance,
    wrapped,
)


@pytest.mark.parametrize(
    ("node", "settings", "change"), PAIRS, ids=lambda v: v if isinstance(v, str) else str(v)[-40:]
)
def test_one_changed_setting_is_another_key_where_frames_differ(bench, node, settings, change):
    first, second = (
        bench.run(bench.patched(node, **{**settings, **more})) for more in ({}, change)
    )
    assert first[0] != second[0]
    # Two steps are too few for a cache to skip one, and no cause to close a loop.
    assert (
        not torch.equal(first[1], second[1])
        or node in ("EasyCache", "LazyCache")
        or "closed_loop" in change
    )


@pytest.mark.parametrize("node", SWITCHES)
def test_a_node_put_in_is_another_key(bench, plain, node):
    differ(plain, bench.run(bench.patched(node)))


@pytest.mark.parametrize("draw", range(12))
def test_drawn_stacks_of_nodes(bench, draw):
    """Two or three nodes in a drawn order: queued again, with one setting changed, and the other
    way round.
    """
    random_ = random.Random(draw)
    stack = list({pair[0]: pair for pair in random_.sample(PAIRS, 4)}.values())[
        : random_.choice((2, 3))
    ]
    first, again = bench.run(stacked(bench, stack)), bench.run(stacked(bench, stack))
    assert first[0] == again[0] and torch.equal(first[1], again[1])
    assert bench.run(stacked(bench, stack, random_.randrange(len(stack))))[0] != first[0]
    turned = bench.run(stacked(bench, stack[::-1]))
    assert torch.equal(turned[1], first[1]) or turned[0] != first[0]


def test_the_plain_graph_has_its_first_key_after_all_the_others(bench, plain):
    bench.run(
        bench.patched(
            "LoraLoaderBypassModelOnly", lora_name="identity_a.safetensors", strength_model=3.0
        )
    )
    bench.run(bench.patched("ModelComputeDtype", dtype="bf16"))
    again = bench.run(bench.model)
    assert again[0] == plain[0] and torch.equal(again[1], plain[1])


def test_what_a_later_core_writes_on_the_model_for_a_run_is_no_part_of_the_key(bench, plain):
    """ComfyUI 0.33 leaves the shapes of the last run on the model."""
    before = bench.identity(bench.model).key()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.model.model, "latent_shapes", [[1, 16, 5, 4, 4]], raising=False)
        assert bench.identity(bench.model).key() == before


def test_a_bypass_lora_from_none_to_three(bench, plain):
    lora = {"lora_name": "identity_a.safetensors", "strength_model": 3.0}
    differ(plain, bench.run(bench.patched("LoraLoaderBypassModelOnly", **lora)))


def test_the_same_graph_loaded_anew_has_the_same_key(bench, comfyui, small):
    other = Bench(comfyui, small)
    assert other.model.model is not bench.model.model
    lora = {"lora_name": "identity_a.safetensors", "strength_model": 0.5}
    for node in ("LoraLoaderModelOnly", "LoraLoaderBypassModelOnly"):
        assert (
            bench.run(bench.patched(node, **lora))[0] == other.run(other.patched(node, **lora))[0]
        )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"strength": 0.5}, {"strength": 3.0}),
        ({}, {"name": "b"}),
        ({"keyframe": 0.1}, {"keyframe": 2.0}),
    ],
    ids=["strength", "file", "keyframe"],
)
def test_a_hook_lora(bench, one, other):
    differ(*(bench.run(bench.model, hooked(bench, **case)) for case in (one, other)))


@pytest.mark.parametrize("other", [{"scale": 0.5}, {"prompt": 1}], ids=["scale", "prompt"])
def test_guidance_on_the_models_own_modules(bench, plain, other):
    first, second = bench.run(with_guidance(bench)), bench.run(with_guidance(bench, **other))
    differ(first, second)
    assert bench.run(bench.model)[0] == plain[0]


class Settings:
    factor = 1.0


SETTINGS = Settings()


def by_a_global(executor, *args, **kwargs):
    return executor(*args, **kwargs) * SETTINGS.factor


def by_a_class(executor, *args, **kwargs):
    return executor(*args, **kwargs) * Settings.factor


def test_a_wrapper_that_closes_over_a_number(bench):
    differ(bench.run(wrapped(bench, scaled(0.9))), bench.run(wrapped(bench, scaled(0.8))))


def test_wrappers_in_another_order(bench):
    def shifted(executor, *args, **kwargs):
        return executor(*args, **kwargs) + 0.1

    differ(
        bench.run(wrapped(bench, scaled(0.9), shifted)),
        bench.run(wrapped(bench, shifted, scaled(0.9))),
    )


@pytest.mark.parametrize("wrapper", [by_a_global, by_a_class])
def test_a_wrapper_that_reads_a_global(bench, monkeypatch, wrapper):
    first = bench.run(wrapped(bench, wrapper))
    monkeypatch.setattr(SETTINGS if wrapper is by_a_global else Settings, "factor", 0.5)
    differ(first, bench.run(wrapped(bench, wrapper)))


def test_an_attribute_set_on_a_module(bench, plain, monkeypatch):
    norm = bench.model.model.diffusion_model.blocks[0].norm1
    monkeypatch.setattr(norm, "eps", 0.5)
    differ(plain, bench.run(bench.model))


def test_a_single_value_of_any_tensor_counts(bench, plain):
    """Small tensors are read in full."""
    before = bench.identity(bench.model).key()
    for name, tensor in bench.model.model.named_parameters():
        if tensor.numel() * tensor.element_size() <= 64 * 1024:
            with torch.inference_mode():
                kept = tensor.flatten()[-1].clone()
                tensor.view(-1)[-1] += 1
                assert bench.identity(bench.model).key() != before, name
                tensor.view(-1)[-1] = kept
            break
    assert bench.identity(bench.model).key() == before
    assert bench.run(bench.model)[0] == plain[0]


@pytest.mark.parametrize("weight_dtype", ["fp8_e4m3fn", "fp8_e4m3fn_fast"])
def test_fp8_weights_have_keys_of_their_own(comfyui, small, plain, weight_dtype):
    bench, lora = (
        Bench(comfyui, small, weight_dtype),
        {"lora_name": "identity_a.safetensors", "strength_model": 1.0},
    )
    key = bench.identity(bench.model).key()
    assert key and key != plain[0]
    assert bench.identity(bench.patched("LoraLoaderModelOnly", **lora)).key() != key
    assert bench.identity(bench.model).key() == key
