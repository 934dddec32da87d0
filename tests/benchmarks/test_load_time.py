"""`benchmarks/load_time.py`: the file's size, the sum of turns, the memory of one load."""

import os

import pytest

from benchmarks import load_time as bench
from benchmarks import random_models

from ..harness.comfy_home import comfy_source


def test_the_benchmarks_file_is_of_the_size_asked_for():
    config = bench.config_of(bench.blocks_for(0.3, 1280), 1280)
    assert (config.num_layers, config.ffn_dim, random_models.bf16_bytes(config)) == (
        6,
        3456,
        309_489_536,
    )
    assert (
        random_models.bf16_bytes(bench.config_of(bench.blocks_for(28.6, 5120), 5120))
        == 2 * 14_300_847_552
    )


def test_ratios_of_turns():
    def one(case, seconds, first_step=0.0):
        return {
            "case": case,
            "seconds": seconds,
            "cpu_seconds": seconds,
            "first_step": first_step,
            "first_step_cpu": first_step,
        }

    turns = [
        [
            one("read", 2),
            one("ours", 3, 0.6),
            one("read", 4),
            one("kept", 5),
            one("read", 6),
            one("core", 11),
            one("read", 5),
        ],
        [
            one("read", 1),
            one("ours", 1.5),
            one("read", 1),
            one("kept", 1),
            one("read", 1),
            {"case": "core", "failed": "no room"},
            one("read", 1),
        ],
    ]
    found = bench.compare(turns)
    assert found["ours"]["clock"] == pytest.approx({"median": 1.2, "lowest": 1.2, "highest": 1.2})
    assert found["core"]["cpu"] == pytest.approx({"median": 2.0, "lowest": 2.0, "highest": 2.0})


@pytest.mark.skipif(
    not os.path.exists("/proc/self/clear_refs"), reason="peak memory is read from Linux' /proc"
)
def test_no_second_copy_in_memory(tmp_path):
    """309 MB in a process of its own: the model, and nothing else beside the mapped file."""
    path = tmp_path / "random.safetensors"
    assert random_models.write_model(path, bench.config_of(6, 1280)) == 309_509_632
    taken = bench.run_case("ours", path, comfy_source().folder, cold=False)
    assert taken["dtype"] == "torch.bfloat16" and taken["cached"] == 1.0
    assert 0.9 < taken["anonymous_per_file"] < 1.1
