"""`benchmarks/convert.py` on a tiny model, and the measures of `benchmarks/quant_error.py`."""

import json

import pytest
import torch

from sama_core.model.config import DitConfig
from sama_core.weights.checkpoint import plan_checkpoint

from ..harness.benchmarks import load_benchmark


@pytest.fixture(scope="module")
def bench():
    return load_benchmark("convert")


def test_the_random_file_is_a_whole_sama_model(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "TILE", 1000)
    bench.write_random(
        tmp_path / "r.safetensors", DitConfig(**bench.SIZES_SMALL, num_layers=2), seed=0
    )
    plan = plan_checkpoint(tmp_path / "r.safetensors")
    assert plan.report.ok and (plan.config.num_layers, plan.config.dim) == (2, 128)


def test_every_figure_is_taken(bench, tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(bench, "SIZES_14B", bench.SIZES_SMALL)
    monkeypatch.setattr(bench.resource, "setrlimit", lambda kind, pair: limits.append(pair))
    monkeypatch.setattr(
        bench, "in_a_process", lambda large, small, *rest: bench.work(str(large), str(small), *rest)
    )
    out = tmp_path / "out.json"
    assert (
        bench.main(
            [
                "--layers",
                "2",
                "--formats",
                "fp8",
                "gguf_q8_0",
                "--limit",
                "3",
                "--folder",
                str(tmp_path),
                "--json",
                str(out),
            ]
        )
        == 0
    )
    result = json.loads(out.read_text())
    assert limits == [(3 * 2**30, 3 * 2**30)] * 2 and result["layers"] == 2
    assert all(
        set(row)
        == {"bytes", "seconds", "source_mb_per_second", "verify_seconds", "peak_mib", "grown_mib"}
        and row["bytes"] > 0.4 * result["source_bytes"]
        for row in result["formats"].values()
    )
    assert list(result["formats"]) == ["fp8", "gguf_q8_0"] and list(tmp_path.iterdir()) == [out]


def test_the_measures_of_quant_error():
    bench = load_benchmark("quant_error")
    assert bench.distance(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == 0.1
    black = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    assert bench.decibels(black, black) == 99
    assert bench.decibels(black + 51, black) == pytest.approx(13.979, abs=1e-3)
