"""The command from end to end, and through ComfyUI what it gives through the core."""

import json

import pytest
from PIL import Image

from benchmarks.shapes import gate as bench

from ...harness.comfy_home import comfy_source


@pytest.fixture
def run(random_files, tmp_path, capsys):
    """Runs the command on the random model; returns (exit code, output, error output)."""
    model = ["--dit", random_files.dit, "--text-encoder", random_files.text_encoder, "--steps", "2"]

    def command(*arguments: object) -> tuple[int, str, str]:
        code = bench.main([str(part) for part in (*model, *arguments)])
        return code, *capsys.readouterr()

    return command


def test_one_clip_end_to_end(run, tmp_path):
    code, printed, _ = run(
        "--n",
        1,
        "--edits",
        "remove",
        "style",
        "--json",
        tmp_path / "gate.json",
        "--sheet",
        tmp_path / "gate.png",
    )
    assert code == 1 and printed.startswith("| edit | clips | accuracy (95 %) |")
    assert (
        "| remove | 1 |" in printed
        and "FAIL: " in printed
        and "1 clips per edit, 17 frames of 64x64" in printed
    )
    report = json.loads((tmp_path / "gate.json").read_text())
    assert (
        list(report["edits"]) == ["remove", "style"]
        and report["edits"]["style"]["psnr"]["output"]["kept"] is None
    )
    ran = report["ran"]
    assert (ran["seed"], ran["steps"], ran["cfg"], ran["shift"], ran["through"]) == (
        0,
        2,
        1.3,
        5.0,
        "core",
    )
    assert (
        len(ran["files"]["dit"]["sha256"]) == 12
        and ran["files"]["vae"]["file"] == "sama_shapes_vae.safetensors"
    )
    sheet = Image.open(tmp_path / "gate.png")
    assert sheet.size == (1199, 2 * 156)
    assert not list(tmp_path.glob("*.part"))


def test_comfyui_gives_the_cores_numbers(run, tmp_path):
    """Two clips, guidance on: every PSNR within 0.05 dB, and the same clips right."""
    options = ["--n", 2, "--edits", "recolour", "--cfg", "3", "--json"]
    run(*options, tmp_path / "core.json")
    through = ["--through", "comfyui", "--comfyui", comfy_source().folder]
    code, _, error = run(*options, tmp_path / "comfyui.json", *through)
    assert code == 1, error
    core, comfyui = (
        json.loads((tmp_path / f"{name}.json").read_text())["edits"]["recolour"]
        for name in ("core", "comfyui")
    )
    assert comfyui["accuracy"] == core["accuracy"]
    for name, regions in core["psnr"].items():
        assert comfyui["psnr"][name] == pytest.approx(regions, abs=0.05)
    assert comfyui["motion"]["pixels"] == pytest.approx(core["motion"]["pixels"], abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--edits", "explode"], "--edits: got explode, needs one or more of recolour"),
        (["--n", "0"], "--n: got 0, needs 1 or more"),
        (["--steps", "0"], "--steps: got 0, needs 1 or more"),
        (["--dit", "nowhere.safetensors"], "--dit: got no file nowhere.safetensors"),
        (
            ["--json", "no/folder/gate.json"],
            "--json: got no/folder/gate.json, in a folder that is not there",
        ),
        (["--through", "comfyui", "--comfyui", "/nowhere"], "--comfyui: got /nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence(run, arguments, message):
    code, printed, error = run(*arguments)
    assert code == 2 and not printed
    assert message in error and len(error.strip().splitlines()) == 1
