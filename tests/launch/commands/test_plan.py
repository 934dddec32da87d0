"""`run.py plan`: without weights, without a card, without torch; and what it says about wrong
input."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from types import SimpleNamespace

import pytest

from sama_core import embedded
from sama_core.launch.cli import main, parser
from sama_core.launch.commands import plan as plan_module
from sama_core.launch.commands import plan_commands, planned_machine
from sama_core.launch.commands.plan import area_or_size, user_folder
from sama_core.launch.commands.planned_machine import nvidia_card
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.setup.processes import answer
from sama_core.plan.machine import GIB, MIB
from sama_core.plan.read_model import read_model, to_json
from sama_core.plan.seconds import read_calibration


@pytest.fixture
def run(places, monkeypatch, capsys):
    """A function that runs `plan` on a computer without a card; returns (exit code, standard
    output, error output)."""
    monkeypatch.setattr(planned_machine, "nvidia_card", lambda: None)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(["plan", *arguments], places)
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def read_here(monkeypatch):
    """Model files are read in this process, where torch is imported."""

    def answer_here(argv, what, cwd, log) -> str:
        *_, module, model = map(str, argv)
        if module != "sama_core.plan.read_model":
            return answer(argv, what, cwd, log)
        return to_json(read_model(model))

    monkeypatch.setattr(plan_module, "answer", answer_here)


def test_released_model_on_a_card_one_does_not_have(run):
    code, out, err = run("--vram", "12", "--card", "RTX 4070", "--ram", "64")
    assert (code, err) == (0, "")
    assert out.startswith(
        "No model file named: planning for SAMA-14B as released, by its published sizes. --model "
        "plans for a file.\nSAMA plan: 81 frames of 832x480, 50 steps, cfg 5\n"
    )
    assert "Tokens: 65,585 = source 32,760 + semantic 65 + target 32,760\n" in out
    assert (
        "Work: 5.12 PFLOP a call, 69% of it attention; 2 calls a step (cfg 5), 512 PFLOP in all\n"
        in out
    )
    assert "Card: RTX 4070, 12.0 of 12.0 GiB assumed free\n" in out
    assert "(computed, not measured: 35% to 60% of the card's published peak" in out
    assert "\nVerdict: it fits, with " in out


def test_nothing_has_to_be_installed(tmp_path):
    """A Python in which neither torch nor any other package can be imported."""
    script = (
        "import sys\nfor name in ('torch', 'numpy', 'av', 'safetensors', 'comfy'): "
        "sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(PACK_ROOT)!r})\n"
        "from sama_core.launch.cli import main\nfrom sama_core.launch.places import Places\n"
        "from pathlib import Path\n"
        "sys.exit(main(['plan', '--vram', '24', '--ram', '64'], Places(work=Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(tmp_path)],
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert "Tokens: 65,585" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_clip_and_settings(run):
    _, out, _ = run(
        "--vram",
        "24",
        "--frames",
        "46",
        "--area",
        "1000x500",
        "--steps",
        "6",
        "--cfg",
        "1",
        "--weight-dtype",
        "fp8_e4m3fn",
        "--ram",
        "64",
    )
    assert (
        "SAMA plan: 49 frames of 992x512, 6 steps, cfg 1\n46 frames will be padded to 49 (4k+1).\n"
        "Frames of 1000x500 will be fitted to 992x512.\n"
    ) in out
    assert "as fp8_e4m3fn: 13.4 GiB in memory" in out
    assert "1 call a step (cfg 1)" in out


def test_video_file(run, clip):
    """Nine frames of 64x48, fitted to 480p as an edit would; asked for more or fewer, the file's
    count is the most."""
    _, out, _ = run("--video", str(clip), "--vram", "24")
    assert (
        "SAMA plan: 9 frames of 736x544, 50 steps, cfg 5\nFrames of 64x48 will be fitted to "
        "736x544.\n"
        "Clip: 64x48, 12.5 fps.\n"
    ) in out
    assert (
        "SAMA plan: 5 frames of 736x544"
        in run("--video", str(clip), "--frames", "5", "--vram", "24")[1]
    )
    assert (
        "SAMA plan: 9 frames of 128x96"
        in run("--video", str(clip), "--frames", "50", "--area", "128x96", "--vram", "24")[1]
    )


def test_model_file_and_shipped_calibration(run, monkeypatch):
    """The small model, with the encoders, steps and guidance it is made for, on the CPU that was
    measured."""
    monkeypatch.setattr(planned_machine, "processor", lambda: "AMD EPYC")
    code, out, err = run(
        "--model", str(embedded.DIT), "--frames", "17", "--area", "64x64", "--ram", "8"
    )
    assert (code, err) == (0, "")
    assert out.startswith(
        "SAMA plan: 17 frames of 64x64, 10 steps, cfg 1.3\n"
        "Model: sama_shapes.safetensors, 7.0 million weights, file in float16, computed in "
        "float32: "
        "27 MiB in memory\n"
    )
    assert "Tokens: 225 = source 80 + semantic 65 + target 80\n" in out
    assert "Device: AMD EPYC; nothing is streamed\n" in out
    assert "text encoder, VAE and frames 9 MiB" in out
    assert "(measured on AMD EPYC with 1 thread, " in out
    assert out.endswith("Verdict: it fits.\n")


def test_small_model_gets_its_own_clip_size(run, clip, read_here, monkeypatch):
    """17 frames of the 64x64 pixels in its file, or a clip's frames at that area."""
    monkeypatch.setattr(planned_machine, "processor", lambda: "AMD EPYC")
    small = ("--model", str(embedded.DIT), "--ram", "8")
    assert run(*small)[1].startswith("SAMA plan: 17 frames of 64x64, 10 steps, cfg 1.3\n")
    assert run(*small, "--area", "128x96")[1].startswith("SAMA plan: 17 frames of 128x96, ")
    with_clip = run(*small, "--video", str(clip))[1]
    assert with_clip.startswith(
        "SAMA plan: 9 frames of 64x64, 10 steps, cfg 1.3\nFrames of 64x48 will be fitted to 64x64."
    )


def test_name_in_the_models_folder(run, places, read_here):
    """Found as `convert` finds it."""
    folder = places.models / "diffusion_models"
    folder.mkdir(parents=True)
    shutil.copy(embedded.DIT, folder / "mine.safetensors")
    code, out, _ = run("--model", "mine.safetensors", "--ram", "8")
    assert code == 0 and "\nModel: mine.safetensors, 7.0 million weights" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model", "nothere"], "--model nothere: got no such file, needs a SAMA file"),
        (["--model", str(embedded.DIT), "--base", "nothere"], "--base nothere: got no such file"),
        (["--base", "nothere"], "--base: got no SAMA delta file with it, needs --model beside it"),
        (["--video", "absent.mp4"], "absent.mp4: got no such file"),
    ],
)
@pytest.mark.parametrize("calibrate", [[], ["--calibrate"]])
def test_absent_files_are_refused_before_any_set_up(
    run, monkeypatch, arguments, complaint, calibrate
):
    monkeypatch.setattr(plan_module, "require_packages", lambda *args: pytest.fail("set up"))
    code, out, err = run(*arguments, *calibrate)
    assert (code, out) == (1, "")
    assert complaint in err


def test_calibrating_and_using_it(run, places, monkeypatch):
    """The measuring itself is tested elsewhere; here a stand-in for its process writes the file."""

    def measured(self, argv, what, cwd):
        shipped = json.loads(
            (PACK_ROOT / "sama_core/plan/calibrations/amd_epyc.json").read_text(encoding="utf-8")
        )
        Path(argv[-1]).mkdir(parents=True)
        mine = {
            **shipped,
            "card": "my CPU",
            "date": "2030-01-01",
            "model": {"name": "a model", "width": 5120},
        }
        (Path(argv[-1]) / "mine.json").write_text(json.dumps(mine), encoding="utf-8")
        assert [str(part) for part in argv[1:3]] == [
            "-m",
            "sama_core.plan.calibrate",
        ] and cwd == places.root

    monkeypatch.setattr(plan_module.Commands, "run", measured)
    monkeypatch.setattr(planned_machine, "processor", lambda: "my CPU")
    code, out, _ = run("--calibrate")
    assert code == 0
    assert (
        "(extrapolated from 161 to 1,217 tokens, measured on my CPU with 1 thread, 2030-01-01, "
        "with a model (" in out
    )
    assert read_calibration(user_folder(places) / "mine.json").card == "my CPU"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--frames", "0"], "frames: got 0, needs 1 to 100000"),
        (["--frames", "-4"], "frames: got -4"),
        (["--area", "20000x480"], "width: got 20000, needs 1 to 16384"),
        (["--steps", "-1"], "steps: got -1, needs 0 or more"),
        (["--cfg", "-0.5"], "cfg: got -0.5, needs 0 or more, or -1"),
        (["--vram", "-1"], "--vram: got -1.0, needs a size in GB"),
        (["--ram", "nan"], "--ram: got nan"),
        (["--vram", "12", "--ram", "inf"], "--ram: got inf"),
        (["--card", "RTX 9999"], "--card: got no memory size with it, needs --vram beside it"),
        (
            ["--model", str(embedded.VAE)],
            "sama_shapes_vae.safetensors: got a file of another model",
        ),
        (["--video", "absent.mp4"], "absent.mp4: got no such file"),
    ],
)
def test_wrong_input(run, arguments, complaint):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert complaint in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "found"), [("832x480", (832, 480)), ("64X64", (64, 64)), ("399360", 399_360)]
)
def test_areas(text, found):
    assert area_or_size(text) == found


@pytest.mark.parametrize("text", ["", "0", "x480", "832x", "-5", "ten"])
def test_areas_that_are_none(text):
    with pytest.raises(ArgumentTypeError, match="needs WxH such as 832x480"):
        area_or_size(text)


def test_no_free_memory_on_the_card_that_is_here(run, monkeypatch):
    monkeypatch.setattr(
        planned_machine, "nvidia_card", lambda: ("NVIDIA GeForce RTX 3060", 0, 12 * GIB)
    )
    code, out, _ = run("--ram", "64")
    assert code == 0
    assert "Card: NVIDIA GeForce RTX 3060, 0.0 of 12.0 GiB free for this\n" in out
    assert "Verdict: it does not fit: the card has no free memory.\n" in out


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        (
            "NVIDIA GeForce RTX 4090, 22021, 24564\nanother, 1, 2\n",
            ("NVIDIA GeForce RTX 4090", 22021 * MIB, 24564 * MIB),
        ),
        ("", None),
        ("No devices were found\n", None),
        ("NVIDIA Graphics Device, [N/A], [N/A]\n", None),
    ],
)
def test_what_the_driver_says(monkeypatch, listed, found):
    def answer(command, **options):
        assert command[0] == "nvidia-smi"
        return subprocess.CompletedProcess(command, 0, listed, "")

    monkeypatch.setattr(planned_machine.subprocess, "run", answer)
    assert nvidia_card() == found


def test_no_driver(monkeypatch):
    def absent(*args, **options):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(planned_machine.subprocess, "run", absent)
    assert nvidia_card() is None


def test_a_training(run):
    """The recipe for 16 GB on such a card, with a setting beside it."""
    machine = ("--vram", "16", "--card", "RTX 4080", "--ram", "32")
    code, out, err = run("--train", "sama_14b_lora_16gb.toml", "memory.block_swap=30", *machine)
    assert (code, err) == (0, "")
    assert "SAMA training plan: 33 frames of 480x272, a LoRA of rank 32 over fp8\n" in out
    assert "9.8 GiB of 30 streamed blocks" in out
    assert "Verdict: it fits. All figures are computed; none was measured on a card." in out


def test_a_training_that_is_not_there(run):
    code, _, err = run("--train", "none/at_all.toml", "--vram", "16")
    assert code == 1 and "--train: got no file none/at_all.toml" in err


def test_a_training_that_is_wrong(run, tmp_path):
    recipe = tmp_path / "wrong.toml"
    recipe.write_text("stages = 1\n", encoding="utf-8")
    code, _, err = run("--train", str(recipe), "--vram", "16")
    assert code == 1 and "unknown settings stages" in err


MINUTES = ("--minutes", "10", "--card", "RTX 4070", "--ram", "32")
"""No memory of the card is given: it is that with which it is sold."""
LORA = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"


def test_ten_minutes(run):
    """Three choices, and each to copy: into the canvas, and as a command."""
    code, out, err = run(*MINUTES)
    assert (code, err) == (0, "")
    assert "\nSAMA in 10 minutes on RTX 4070, 12.0 GiB free\n" in out
    assert "\nFull: 81 frames of 672x384, 4 steps, cfg 1 with a step-distilled LoRA; " in out
    assert out.count("\nTo copy, ") == 3
    assert (
        "\nTo copy, full:\n  SAMA Edit Whole Video: frames 81, area 258048, steps 4, cfg 1\n"
        "  or SAMA Source Video: frames 81, area 258048, and SAMA Edit: steps 4, cfg 1"
        "\n  Load SAMA LoRA: a step-distilled LoRA, between model and edit\n  python3 run.py edit "
        "--video CLIP.mp4 --instruction 'WHAT TO CHANGE' --frames 81 --area 672x384 --steps 4 "
        f"--cfg 1 --lora {LORA}\n"
    ) in out
    assert "LoRA" not in run(*MINUTES, "--no-step-lora")[1]
    page = (PACK_ROOT / "docs/plan.md").read_text(encoding="utf-8")
    choices = re.findall(r"^(?:Full|Middle|Draft): .+$", out, re.MULTILINE)
    assert len(choices) == 3 and all(f"\n    {line}\n" in page for line in choices)


def test_the_command_of_a_choice_is_one_that_edit_takes(run):
    out = run(*MINUTES)[1]
    (command,) = (
        line for line in out.splitlines() if "run.py edit" in line and "--frames 33" in line
    )
    asked = parser().parse_args(shlex.split(command)[2:])
    assert (asked.frames, asked.area, asked.steps, asked.cfg) == (33, 480 * 288, 4, 1)
    assert asked.lora == LORA


def test_the_command_has_the_quotes_of_windows_there(run, monkeypatch):
    """Its cmd takes single ones as letters, and the instruction for three words."""
    monkeypatch.setattr(plan_commands, "sys", SimpleNamespace(platform="win32"))
    assert '--instruction "WHAT TO CHANGE" --frames' in run(*MINUTES)[1]


def test_minutes_for_a_long_video(run, monkeypatch):
    """Its own length counts, in the segments of SAMA Edit Whole Video."""
    facts = {"frames": 216_000, "width": 1920, "height": 1080, "fps": "30"}
    monkeypatch.setattr(plan_module, "check_clip", Path)
    monkeypatch.setattr(plan_module, "clip_facts", lambda video, places: facts)
    monkeypatch.setattr(plan_module, "require_packages", lambda *args: None)
    out = run("--video", "two hours.mp4", *MINUTES[2:], "--minutes", "60")[1]
    assert "\nSAMA Edit Whole Video edits 216000 frames in 3375 segments of 81.\n" in out
    assert "\nFull: 1025 frames of 480x288, in 16 segments of 81, 4 steps, " in out
    assert "To copy, full:\n  SAMA Edit Whole Video: frames 1025, area 138240, steps 4, " in out
    full = out.partition("To copy, full:")[2].partition("To copy, middle:")[0]
    command = next(line for line in full.splitlines() if "run.py edit" in line)
    asked = parser().parse_args(shlex.split(command)[2:])
    assert (asked.frames, asked.weight_dtype) == (1025, "fp8_e4m3fn")


def test_minutes_with_a_measured_small_model(run, read_here, monkeypatch):
    """The calibration that ships decides, and there is no LoRA."""
    monkeypatch.setattr(planned_machine, "processor", lambda: "AMD EPYC")
    small = ("--model", str(embedded.DIT), "--ram", "8", "--frames", "81", "--area", "128x128")
    out = run(*small, "--minutes", "1")[1]
    assert "Asked for: 81 frames of 128x128, 10 steps, cfg 1.3; " in out
    assert "measured on AMD EPYC with 1 thread" in out and "LoRA" not in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--minutes", "0"], "--minutes: got 0, needs more than 0. For example 10, for ten"),
        (["--minutes", "-3"], "--minutes: got -3, needs more than 0."),
        (["--minutes", "nan"], "--minutes: got nan, needs more than 0."),
        (["--minutes", "inf"], "--minutes: got inf, needs more than 0."),
        (["--minutes", "9", "--train", "x.toml"], "--minutes: got --train beside it, needs one"),
        (["--minutes", "9", "--card", "RTX 4060 Ti"], "needs RTX 4060 Ti 8 GB or RTX 4060 Ti 16"),
        (["--minutes", "9", "--card", "RTX 9999"], "--card: got no memory size with it, needs"),
    ],
)
def test_minutes_that_are_refused(run, arguments, complaint):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert complaint in err


def test_minutes_on_a_cpu(run, monkeypatch):
    monkeypatch.setattr(planned_machine, "processor", lambda: "my CPU")
    code, out, _ = run("--minutes", "10")
    assert code == 0 and "To copy" not in out
    assert out.endswith(
        "Time: not known; SAMA-14B was never run on a CPU. Name the card that you will use, such "
        "as RTX 4090.\n"
    )


def test_a_named_card_beside_another_one_that_is_here(run, monkeypatch):
    """Its own memory counts; the card that is here may be called by any name of its own."""
    here = ("NVIDIA GeForce RTX 3060", 7 * GIB, 12 * GIB)
    monkeypatch.setattr(planned_machine, "nvidia_card", lambda: here)
    assert "Card: RTX 4090, 24.0 of 24.0 GiB assumed free\n" in run("--card", "RTX 4090")[1]
    assert "Card: RTX 3060, 7.0 of 12.0 GiB free for this\n" in run("--card", "RTX 3060")[1]
    assert "Card: my card, 7.0 of 12.0 GiB free for this\n" in run("--card", "my card")[1]
