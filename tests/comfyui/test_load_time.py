"""A model is read once, front to back, told as it goes, and never held twice."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..harness.benchmarks import load_benchmark
from ..harness.comfy_home import comfy_source
from .test_previews_and_interrupt import spoken


@pytest.fixture
def file(comfyui, small) -> Path:
    return comfyui.models("diffusion_models") / small.sama


def size_of(tensors: dict) -> int:
    return sum(value.numel() * value.element_size() for value in tensors.values())


def load(path, told=None, **settings):
    from sama_core.comfyui.loaders import load_diffusion_model
    return load_diffusion_model(str(path), tell=lambda *heard: told is not None and told.append(heard), **settings)


def test_every_byte_is_told_once_and_in_order(file, monkeypatch):
    """Bytes read, never fewer than before; at the end all that the file holds of tensors."""
    monkeypatch.setattr("sama_core.comfyui.weight_files.PIECE", 1 << 16)
    told = []
    load(file, told)
    total, steps = size_of(load_file(file)), [done for done, _ in told]
    assert {whole for _, whole in told} == {total}
    assert steps == sorted(set(steps)) and steps[-1] == total
    assert max(b - a for a, b in zip([0, *steps], steps, strict=False)) == 1 << 16


def test_the_node_shows_a_bar_and_a_line(comfyui, edit, file):
    result = comfyui.run({edit.model[0]: edit.nodes[edit.model[0]]}, keep=[edit.model[0]]).check()
    megabytes = size_of(load_file(file)) // 1_000_000
    bar = [step.value for step in result.progress]
    assert bar == sorted(bar) and bar[-1] == megabytes and {step.total for step in result.progress} == {megabytes}
    assert spoken(result)[-1] == f"SAMA: loading weights, {size_of(load_file(file)) / 1e6:.1f} of " \
                                 f"{size_of(load_file(file)) / 1e6:.1f} MB"


@pytest.mark.parametrize("weight_dtype", ["default", "fp8_e4m3fn", "fp8_e5m2"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_the_same_weights_as_through_core(comfyui, file, weight_dtype, stored):
    """Every tensor has the type and the bits that core's own copying gives it, heads in float32 included."""
    import comfy.sd

    from sama_core.comfyui.loaders import _model_options
    other = file.with_name(f"stored_{weight_dtype}.safetensors")
    save_file({key: value.to(stored) for key, value in load_file(file).items()}, other)
    ours = load(other).model.diffusion_model.state_dict()
    theirs = comfy.sd.load_diffusion_model(str(other), _model_options(weight_dtype)).model.diffusion_model.state_dict()
    assert ours.keys() == theirs.keys()
    ours = load(other, weight_dtype=weight_dtype).model.diffusion_model.state_dict()
    assert all(ours[key].dtype == theirs[key].dtype and torch.equal(ours[key].float(), theirs[key].float())
               for key in theirs)


def test_weights_are_no_view_of_the_file(file):
    """A file may be replaced or deleted while its model is in use."""
    copy = file.with_name("replaced.safetensors")
    copy.write_bytes(file.read_bytes())
    weight = load(copy).model.diffusion_model.blocks[0].ffn[0].weight
    with open(copy, "r+b") as opened:
        opened.seek(-(copy.stat().st_size // 2), os.SEEK_END)
        opened.write(b"\0" * (copy.stat().st_size // 2))
    assert torch.equal(weight, load_file(file)["blocks.0.ffn.0.weight"])


def test_what_a_delta_replaces_is_not_read(file):
    from sama_core.checkpoint import SAMA_KEYS
    full = load_file(file)
    trained = [*SAMA_KEYS, "blocks.0.ffn.0.weight"]
    base = {key: value for key, value in full.items() if key not in SAMA_KEYS}
    save_file(base, file.with_name("told_base.safetensors"))
    save_file({key: full[key] for key in trained}, file.with_name("told_delta.safetensors"))
    told = []
    load(file.with_name("told_delta.safetensors"), told, base=str(file.with_name("told_base.safetensors")))
    assert told[-1] == (size_of(full), size_of(full))


def test_stopping_in_the_middle(file, monkeypatch):
    """What the progress bar raises when the user presses interrupt ends the reading; the next load is whole."""
    class Pressed(Exception):
        pass

    def press(done: int, total: int) -> None:
        if done > total // 2:
            raise Pressed
    monkeypatch.setattr("sama_core.comfyui.weight_files.PIECE", 1 << 16)
    from sama_core.comfyui.loaders import load_diffusion_model
    with pytest.raises(Pressed):
        load_diffusion_model(str(file), tell=press)
    told = []
    load(file, told)
    assert told[-1][0] == size_of(load_file(file))


# --- single files ------------------------------------------------------------------------------


def written(path: Path, entries: dict[str, tuple[str, list[int], bytes]]) -> Path:
    """A safetensors file with its tensors in this order, wherever that puts them."""
    table, data = {}, b""
    for name, (dtype, shape, content) in entries.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    header = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def mapped(path: Path) -> dict:
    from sama_core.comfyui.weight_files import Reading, map_weights
    return map_weights(path, Reading())


def test_numbers_at_odd_places_and_empty_tensors(comfyui, tmp_path):
    from sama_core.comfyui.weight_files import read_into
    path = written(tmp_path / "odd.safetensors", {
        "byte": ("U8", [], b"\7"), "odd": ("F32", [2], struct.pack("<2f", 1.5, -2)), "none": ("F32", [0, 3], b""),
        "flag": ("BOOL", [2], b"\1\0")})
    tensors = mapped(path)
    assert read_into(torch.nn.Module(), tensors)
    assert tensors["odd"].tolist() == [1.5, -2] and tensors["byte"].item() == 7 and tensors["none"].shape == (0, 3)
    assert tensors["flag"].tolist() == [True, False]


def test_a_file_that_shrinks_while_it_is_read(comfyui, tmp_path):
    from sama_core.comfyui.weight_files import read_into
    from sama_core.errors import CheckpointError
    path = written(tmp_path / "short.safetensors", {"x": ("F32", [4096], bytes(16384))})
    tensors = mapped(path)
    os.truncate(path, 9000)
    with pytest.raises(CheckpointError, match="short.safetensors: got a file that ended while it was read"):
        read_into(torch.nn.Module(), tensors)


def test_a_type_that_torch_lacks(comfyui, tmp_path):
    from sama_core.errors import CheckpointError
    path = written(tmp_path / "strange.safetensors", {"x": ("F6_E3M2", [4], bytes(3))})
    with pytest.raises(CheckpointError, match="strange.safetensors: got numbers of the type F6_E3M2"):
        mapped(path)


def test_tensors_of_other_loaders_are_left_alone(comfyui):
    from sama_core.comfyui.weight_files import read_into
    weight = torch.zeros(3)
    tensors = {"x": weight}
    assert not read_into(torch.nn.Module(), tensors) and tensors["x"] is weight


# --- the benchmark -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench():
    return load_benchmark("load_time")


def test_the_benchmarks_file_is_of_the_size_asked_for(bench):
    config = bench.config_of(bench.blocks_for(0.3, 1280), 1280)
    assert (config.num_layers, config.ffn_dim, bench._file_bytes(config)) == (6, 3456, 309_489_536)
    assert bench._file_bytes(bench.config_of(bench.blocks_for(28.6, 5120), 5120)) == 2 * 14_300_847_552


def test_ratios_of_turns(bench):
    def one(case, seconds, first_step=0.0):
        return {"case": case, "seconds": seconds, "cpu_seconds": seconds, "first_step": first_step,
                "first_step_cpu": first_step}
    turns = [[one("read", 2), one("ours", 3, 0.6), one("read", 4), one("kept", 5), one("read", 6), one("core", 11),
              one("read", 5)],
             [one("read", 1), one("ours", 1.5), one("read", 1), one("kept", 1), one("read", 1),
              {"case": "core", "failed": "no room"}, one("read", 1)]]
    found = bench.ratios(turns)
    assert found["ours"]["clock"] == pytest.approx({"median": 1.2, "lowest": 1.2, "highest": 1.2})
    assert found["core"]["cpu"] == pytest.approx({"median": 2.0, "lowest": 2.0, "highest": 2.0})


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="peak memory is read from Linux' /proc")
def test_no_second_copy_in_memory(bench, tmp_path):
    """309 MB in a process of its own, the file in the page cache: core's way holds its pages and a copy, 2.0 times."""
    path = tmp_path / "random.safetensors"
    assert bench.write_model(path, bench.config_of(6, 1280)) == 309_509_632
    taken = bench.in_a_process("ours", path, comfy_source().folder, cold=False)
    assert taken["dtype"] == "torch.bfloat16" and taken["cached"] == 1.0
    assert taken["anonymous_per_file"] < 1.1 and taken["peak_per_file"] < 1.1
