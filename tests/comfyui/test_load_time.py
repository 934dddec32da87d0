"""Loading tells how far it is, and holds a model once."""

import os
from pathlib import Path

import pytest

from ..harness.benchmarks import load_benchmark
from ..harness.comfy_home import comfy_source
from .test_previews_and_interrupt import spoken


@pytest.fixture
def file(comfyui, small) -> Path:
    return comfyui.models("diffusion_models") / small.sama


def test_every_block_is_told(file):
    from sama_core.comfyui.loaders import load_diffusion_model

    told = []
    load_diffusion_model(str(file), tell=lambda *heard: told.append(heard))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert not any(
        block._load_state_dict_pre_hooks
        for block in load_diffusion_model(
            str(file), tell=lambda *_: None
        ).model.diffusion_model.blocks
    )


def test_the_node_shows_a_bar_and_a_line(comfyui, edit):
    result = comfyui.run({edit.model[0]: edit.nodes[edit.model[0]]}, keep=[edit.model[0]]).check()
    bar = [step.value for step in result.progress]
    assert bar == sorted(bar) and bar[-1] == 2 and {step.total for step in result.progress} == {2}
    assert spoken(result)[-1] == "SAMA: loading weights, 2 of 2 blocks"


def test_stopping_in_the_middle(file):
    """What the progress bar raises when the user presses interrupt ends the loading; the next load is whole."""
    from sama_core.comfyui.loaders import load_diffusion_model

    class Pressed(Exception):
        pass

    def press(done: int, total: int) -> None:
        if done == 1:
            raise Pressed

    with pytest.raises(Pressed):
        load_diffusion_model(str(file), tell=press)
    assert len(load_diffusion_model(str(file)).model.diffusion_model.blocks) == 2


# --- the benchmark -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench():
    return load_benchmark("load_time")


def test_the_benchmarks_file_is_of_the_size_asked_for(bench):
    config = bench.config_of(bench.blocks_for(0.3, 1280), 1280)
    assert (config.num_layers, config.ffn_dim, bench._file_bytes(config)) == (6, 3456, 309_489_536)
    assert (
        bench._file_bytes(bench.config_of(bench.blocks_for(28.6, 5120), 5120)) == 2 * 14_300_847_552
    )


def test_ratios_of_turns(bench):
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
    found = bench.ratios(turns)
    assert found["ours"]["clock"] == pytest.approx({"median": 1.2, "lowest": 1.2, "highest": 1.2})
    assert found["core"]["cpu"] == pytest.approx({"median": 2.0, "lowest": 2.0, "highest": 2.0})


@pytest.mark.skipif(
    not os.path.exists("/proc/self/clear_refs"), reason="peak memory is read from Linux' /proc"
)
def test_no_second_copy_in_memory(bench, tmp_path):
    """309 MB in a process of its own: the model, and nothing else beside the mapped file."""
    path = tmp_path / "random.safetensors"
    assert bench.write_model(path, bench.config_of(6, 1280)) == 309_509_632
    taken = bench.in_a_process("ours", path, comfy_source().folder, cold=False)
    assert taken["dtype"] == "torch.bfloat16" and taken["cached"] == 1.0
    assert 0.9 < taken["anonymous_per_file"] < 1.1
