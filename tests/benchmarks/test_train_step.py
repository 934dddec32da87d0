"""`benchmarks/train_step.py` at tiny widths."""

import json

import torch

from benchmarks import train_step

from ..harness.comfy_home import declare_torchvision_schemas

SIZES = {
    "dim": 256,
    "num_heads": 2,
    "ffn_dim": 512,
    "text_dim": 64,
    "freq_dim": 64,
    "semantic_dim": 48,
    "semantic_hidden": 32,
}


def one(**case):
    settings = {"blocks": 1, "checkpointing": False, "lora_rank": 0, **case}
    return train_step.one_step(**settings, side=4, sizes=SIZES)


def test_every_trained_tensor_gets_a_gradient():
    """27 tensors a block, and 15 of Wan's and 11 of SAMA's around them.

    A LoRA has two for each of 10 layers.
    """
    declare_torchvision_schemas()
    full, two = one(), one(blocks=2)
    assert (full["trained_tensors"], two["trained_tensors"]) == (53, 80)
    assert full["trained_weights"] == full["weights"] == 1_409_264
    lora = one(lora_rank=4)
    assert (lora["trained_tensors"], lora["trained_weights"]) == (20, 4 * (8 * 512 + 2 * 768))
    for case in (full, two, lora):
        assert case["gradient_faults"] == {} and case["tensors_not_moved"] == []
        assert 1 < case["loss"] < 10 and case["peak_gb"] > 0.1


def test_checkpointing_is_on():
    assert one(checkpointing=True)["loss"] == one()["loss"]


def test_a_missing_gradient_is_told():
    assert train_step.find_gradient_fault(None) == "none"
    assert train_step.find_gradient_fault(torch.zeros(3)) == "all 0"
    assert train_step.find_gradient_fault(torch.tensor([0, float("nan")])) == "not finite"
    assert train_step.find_gradient_fault(torch.tensor([0.0, 1e-9])) is None


def test_extrapolation():
    """Two depths of one case: 4 and 5.5 GB give 5.5 + 38 · 1.5, and 2.3 of moments."""
    first = {"checkpointing": False, "lora_rank": 0, "peak_gb": 4.0, "trained_weights": 10 * 10**6}
    found = train_step.extrapolate(first, {**first, "peak_gb": 5.5, "trained_weights": 17 * 10**6})
    assert found == {
        "checkpointing": False,
        "lora_rank": 0,
        "measured_gb_per_block": 1.5,
        "computed_blocks": 40,
        "computed_peak_gb": 64.8,
        "computed_trained_weights": 283 * 10**6,
        "computed_state_gb": 5.7,
    }


def test_check_of_the_moments():
    dropped = {"peak_gb": 7.742, "trained_weights": 596_469_696}
    assert train_step.compare_moments(dropped, {"peak_gb": 11.243}) == {
        "measured_gb": 11.243,
        "computed_gb": 12.514,
    }
    assert train_step.compare_moments(dropped, {"failed": ["killed"]}) is None


def test_full_size_is_the_released_one():
    """Wan 2.1's weights and SAMA's 12,355,968: as many as the release's 28,601,809,776 bytes hold
    at two bytes each, but for the file's header."""
    from sama_core.model.dit import SamaDiT

    count = sum(
        weight.numel() for weight in SamaDiT(train_step.dit_config(40), device="meta").parameters()
    )
    assert 0 < 28_601_809_776 - 2 * count < 200_000


def test_a_case_in_its_own_process():
    arguments = ["--sizes", json.dumps(SIZES)]
    found = train_step.run_case(arguments, {"blocks": 1, "checkpointing": False, "lora_rank": 0})
    assert found["gradient_faults"] == {} and found["peak_gb"] < 2
    failed = train_step.run_case(
        [*arguments, "--side", "3"], {"blocks": 1, "checkpointing": False, "lora_rank": 0}
    )
    assert "GeometryError" in failed["failed"]
