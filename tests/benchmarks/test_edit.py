"""`benchmarks/edit.py`: a cold and a warm edit on a real server, and how they are summed up."""

import json
import sys

from benchmarks import edit as bench

from ..harness.comfy_home import comfy_source


def test_cold_and_warm_side_by_side():
    found = bench.summarise(
        [
            {"set-up": 1.0, "start ComfyUI": 9.0, "load": 4.0, "sampling": 6.0},
            {"load": 1.0, "sampling": 3.0},
            {"load": 2.0, "sampling": 6.0},
            {"load": 3.0, "sampling": 9.0},
        ]
    )
    assert found["cold"]["total"] == 20.0
    assert found["warm"]["load"] == {"median": 2.0, "lowest": 1.0, "highest": 3.0}
    assert found["warm"]["total"] == {"median": 8.0, "lowest": 4.0, "highest": 12.0}
    assert found["warm_per_cold"] == {"load": 0.5, "sampling": 1.0, "total": 0.8}


def test_a_cold_edit_alone():
    assert bench.summarise([{"set-up": 1.0, "load": 2.0}]) == {
        "cold": {"set-up": 1.0, "load": 2.0, "total": 3.0}
    }


def test_two_edits_on_one_server(tmp_path, capsys):
    asked = [
        "--python",
        sys.executable,
        "--comfyui",
        str(comfy_source().folder),
        "--repeats",
        "1",
        "--steps",
        "1",
        "--json",
        str(tmp_path / "edit.json"),
    ]
    assert bench.main(asked) == 0
    result = json.loads((tmp_path / "edit.json").read_text())
    assert json.loads(capsys.readouterr().out) == result
    work = ["load", "encode", "sampling", "decode", "save"]
    assert list(result["edits"][0]) == ["set-up", "start ComfyUI", *work]
    assert list(result["warm_per_cold"]) == [*work, "total"]
    assert (
        result["clip"] == "17 frames, 256x256, 12 fps"
        and result["model"] == "sama_shapes.safetensors"
    )


def test_a_folder_that_is_no_comfyui(tmp_path, capsys):
    assert bench.main(["--python", sys.executable, "--comfyui", str(tmp_path)]) == 1
    assert "needs a ComfyUI folder" in capsys.readouterr().err
