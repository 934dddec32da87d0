"""What of ComfyUI, torch and the launch is part of a key."""

import torch

from .identity_bench import differ


def test_a_function_of_core_that_was_replaced(bench, monkeypatch, plain):
    import comfy.samplers

    original = comfy.samplers.cfg_function
    monkeypatch.setattr(
        comfy.samplers, "cfg_function", lambda *args, **kwargs: original(*args, **kwargs) * 0.9
    )
    differ(plain, bench.run(bench.model))


def test_a_hook_around_all_modules(bench, plain):
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, given, out: out * 0.9 if isinstance(module, torch.nn.LayerNorm) else out
    )
    try:
        differ(plain, bench.run(bench.model))
    finally:
        hook.remove()


def test_a_function_of_torch_that_was_replaced(bench, plain, monkeypatch):
    original = torch.cat
    monkeypatch.setattr(torch, "cat", lambda *args, **kwargs: original(*args, **kwargs) * 0.9)
    differ(plain, bench.run(bench.model))


def test_the_new_names_of_torchs_precision_count_and_can_be_read(bench, plain):
    """Once one is set, torch refuses to tell the old ones."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "ieee" if before == "tf32" else "tf32"
    try:
        identity = bench.identity(bench.model)
        assert identity.key() not in (None, plain[0])
    finally:
        matmul.fp32_precision = before


def test_a_compiled_function_in_a_module_of_core_is_none_of_its_own(bench, plain, monkeypatch):
    import comfy.ldm.modules.attention

    monkeypatch.setattr(
        comfy.ldm.modules.attention, "__compiled_fn_1", iter([1]).__next__, raising=False
    )
    assert bench.identity(bench.model).key() == bench.identity(bench.model).key() is not None


def test_a_launch_flag(bench, monkeypatch):
    from comfy.cli_args import args

    before = bench.identity(bench.model).key()
    monkeypatch.setattr(args, "port", 1234)
    assert bench.identity(bench.model).key() == before
    monkeypatch.setattr(args, "deterministic", True)
    assert bench.identity(bench.model).key() != before
