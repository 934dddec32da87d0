"""Weights of a file in 16 bit, trained without a LoRA and sharded over two processes: what each
holds in RAM, and that the losses are those of one.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sama_core.training.__main__ import main
from sama_core.weights.write import write_safetensors

from ..harness.untrained import DIT, diffusion_model
from .processes import run_two
from .rows_files import BLUE, GREEN, RED, clip, jsonl, logged, pair, recipe, settings

WEIGHED = Path(__file__).with_name("weighed_run.py")
WIDE = {"ffn_dim": 24576, "num_layers": 8}
"""Sizes of a model whose file has 200 MB, and whose blocks are nearly all of it."""


@pytest.fixture
def data(tmp_path):
    names = [
        clip(tmp_path / f"{number}.mp4", colour) for number, colour in enumerate((RED, BLUE, GREEN))
    ]
    return jsonl(tmp_path / "rows.jsonl", [pair(*names[:2], "blue"), pair(*names[1:], "green")])


def write_half(path: Path, **sizes) -> Path:
    """An untrained model in bfloat16."""
    weights = diffusion_model(torch.Generator().manual_seed(0), replace(DIT, **sizes))
    write_safetensors(path, {name: value.bfloat16() for name, value in weights.items()}, {})
    return path


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells RAM there")
def test_no_process_holds_the_model_in_ram_of_its_own(data, tmp_path):
    """As float32 it has twice the bytes of its file. A process holds next to nothing of it until it
    is sharded, and then its half and one whole block.
    """
    model = write_half(tmp_path / "wide.safetensors", **WIDE)
    values = settings(data, tmp_path / "out", model=str(model), shard=True)
    path = recipe(tmp_path / "recipe.toml", values)
    # glibc gives back at once what is larger than this
    run_two(str(WEIGHED), str(path), MALLOC_MMAP_THRESHOLD_="1000000")
    whole = 2 * model.stat().st_size
    model.unlink()
    assert whole > 400e6
    for number in range(2):
        held = json.loads((tmp_path / f"RAM-{number}.json").read_text(encoding="utf-8"))
        assert held["loaded"] < 0.1 * whole
        assert 0.4 * whole < held["most"] < 0.75 * whole


@pytest.mark.parametrize(
    ("changes", "stops"),
    [({}, (2, 4)), ({"trained_parts": "blocks.1."}, (4,))],
    ids=["all, resumed", "a part"],
)
def test_a_sharded_file_in_16_bit_gives_the_losses_of_one_process(data, tmp_path, changes, stops):
    """Within 1e-5. What is frozen is written as it was."""
    model = str(write_half(tmp_path / "half.safetensors"))
    one, two = (
        recipe(tmp_path / f"{name}.toml", settings(data, tmp_path / name, model=model, **changes))
        for name in ("one", "two")
    )
    assert main(["train", str(one)]) == 0
    for steps in stops:
        run_two(*"-m sama_core.training train".split(), str(two), "shard=true", f"steps={steps}")
    for name in ("total", "grad_norm"):
        expected = logged(tmp_path / "one", name)
        assert len(expected) == 4
        assert logged(tmp_path / "two", name) == pytest.approx(expected, abs=1e-5)
    first, written = load_file(model), load_file(tmp_path / "two" / "sama.safetensors")
    assert written.keys() == first.keys()
    for name, value in written.items():
        assert value.dtype == torch.float32
        if not name.startswith(changes.get("trained_parts", "")):
            assert torch.equal(value, first[name].float())
