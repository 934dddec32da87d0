"""`benchmarks/convert.py` on a tiny model, and the measures of `benchmarks/quant_error.py`."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import convert as bench
from benchmarks import quant_error, random_models
from sama_core.weights.checkpoint import plan_checkpoint


def test_the_random_file_is_a_whole_sama_model(tmp_path, monkeypatch):
    monkeypatch.setattr(random_models, "POOL", 1000)
    config = replace(bench.SMALL, num_layers=2)
    size = random_models.write_model(tmp_path / "r.safetensors", config)
    assert size == (tmp_path / "r.safetensors").stat().st_size
    plan = plan_checkpoint(tmp_path / "r.safetensors")
    assert plan.report.ok and (plan.config.num_layers, plan.config.dim) == (2, 128)


def test_every_figure_is_taken(tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(bench, "sama_14b", lambda layers: replace(bench.SMALL, num_layers=layers))
    monkeypatch.setattr(bench.resource, "setrlimit", lambda kind, pair: limits.append(pair))
    monkeypatch.setattr(
        bench,
        "run_case",
        lambda large, small, *rest: bench.convert_once(str(large), str(small), *rest),
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
                "--busy",
                "--repeats",
                "2",
                "--folder",
                str(tmp_path),
                "--json",
                str(out),
            ]
        )
        == 0
    )
    result = json.loads(out.read_text())
    assert limits == [(3 * 2**30, 3 * 2**30)] * 8 and result["ran"]["layers"] == 2
    for load in ("plain", "busy"):
        series = result["disk"][load]
        assert series["failed"] == [] and len(series["copy_seconds"]) == 2
        assert list(series["formats"]) == ["fp8", "gguf_q8_0"]
        for row in series["formats"].values():
            assert set(row) == {
                "ratio", "seconds", "bytes", "processor_seconds", "peak_mib", "grown_mib", "alike"
            }  # fmt: skip
            assert row["bytes"] > 0.4 * series["source_bytes"] and len(row["seconds"]) == 2
            assert row["alike"]
    assert list(tmp_path.iterdir()) == [out]


def test_the_measures_of_quant_error():
    assert quant_error.distance(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == 0.1
    black = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    assert quant_error.decibels(black, black) == 99
    assert quant_error.decibels(black + 51, black) == pytest.approx(13.979, abs=1e-3)
