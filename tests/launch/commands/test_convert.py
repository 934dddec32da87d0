"""`run.py convert`: the work goes to the environment's Python, its progress and its words come
back."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sama_core import embedded
from sama_core.convert import __main__ as worker
from sama_core.errors import ConversionError
from sama_core.launch.cli import main
from sama_core.launch.commands import convert as command
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.setup.environment import Environment
from sama_core.launch.setup.processes import Commands

from ...harness.imports import REPO_ROOT


@pytest.fixture(autouse=True)
def no_set_up(monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(Environment, "ready", lambda self, asked=None, tests=False: None)


@pytest.fixture
def source(tmp_path) -> Path:
    """SAMA-Shapes under another name: 14 MB."""
    path = tmp_path / "mön modell.safetensors"
    path.symlink_to(embedded.DIT)
    return path


@pytest.fixture
def no_work(monkeypatch):
    """The request that the worker would get, without running it."""
    asked = []
    monkeypatch.setattr(
        command, "run", lambda request, places, stages: asked.append(request) or "done"
    )
    return asked


@pytest.fixture
def work_here(monkeypatch):
    """A function after which the worker's work is done in this process, where torch is imported."""

    def run_here(asked, places, stages) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            worker.run(asked)
        return json.loads(printed.getvalue().splitlines()[-1])["report"]

    return lambda: monkeypatch.setattr(command, "run", run_here)


def test_a_file_is_converted_beside_its_source_and_verified(places, source, work_here, capsys):
    assert main(["convert", str(source), "--format", "fp8"], places) == 0
    target = source.with_name("mön modell_fp8.safetensors")
    shown = capsys.readouterr().out
    assert (
        "[convert] 0.01 of 0.01 GB" in shown
        and "14.1 MB → 7.8 MB (55 %)" in shown
        and str(target) in shown
    )
    work_here()
    assert main(["convert", str(target), "--verify"], places) == 0
    assert "mön modell_fp8.safetensors is as it was written, checksum " in capsys.readouterr().out


def test_what_the_worker_says_is_what_the_artist_reads(places, source, capsys):
    assert main(["convert", str(source), "--format", "gguf_q5_k"], places) == 1
    said = capsys.readouterr().err
    assert "got gguf_q5_k" in said and "Choose gguf_q5_1" in said and "Traceback" not in said


REPORT = '{"report": "14.1 MB → 7.8 MB"}'


@pytest.mark.parametrize(
    "odd",
    [
        "UserWarning: this GPU is old",
        '{"done": 5000000, "tot',
        "[1, 2]",
        "5",
        '"text"',
        "null",
        '{"done": "1", "total": 2}',
        '{"done": 1}',
        '{"done": 0, "total": 0}',
        '{"report": 5}',
        "[" * 5000,
    ],
)
def test_what_else_a_worker_prints_is_shown_and_nothing_breaks(odd, capsys):
    lines = [odd, '{"done": 7000000, "total": 14000000}', odd, "", REPORT]
    process = SimpleNamespace(stdout=iter(f"{line}\n" for line in lines))
    stages = Stages()
    stages.start("convert")
    assert command._follow(process, stages) == "14.1 MB → 7.8 MB"
    shown = capsys.readouterr().out
    assert shown.splitlines().count(odd) == 2 and "0.01 of 0.01 GB" in shown


def test_a_worker_that_is_killed_in_the_middle_of_a_line(places, source, monkeypatch, capsys):
    """And one whose bytes are no UTF-8."""
    begun = r"""import os, signal, sys
sys.stdout.buffer.write(b'a\xff\n{"done": 7000000, "tot')
sys.stdout.flush()
os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))"""
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda asked, **how: popen([sys.executable, "-c", begun], **how)
    )
    assert main(["convert", str(source), "--format", "fp8"], places) == 1
    shown = capsys.readouterr()
    assert "a\\xff\n" in shown.out and '{"done": 7000000, "tot\n' in shown.out
    assert "the conversion ended with exit code" in shown.err and "Traceback" not in shown.err


def test_a_full_disk_at_the_begin_leaves_nothing_and_promises_nothing(
    places, source, monkeypatch, capsys
):
    full = SimpleNamespace(free=1)
    monkeypatch.setattr("sama_core.convert.stream.shutil.disk_usage", lambda folder: full)
    monkeypatch.setattr(command, "run", in_this_process)
    assert main(["convert", str(source), "--format", "fp8"], places) == 1
    error = capsys.readouterr().err
    assert "got 0.00 GB free" in error and "What is written is kept" not in error
    assert [path.name for path in source.parent.iterdir() if path.is_file()] == [source.name]


def in_this_process(asked, places, stages) -> str:
    try:
        worker.run(asked)
    except ConversionError as error:
        raise LaunchError(f"{error} {command._hint(asked)}") from error
    return "done"


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        (["FOLDER"], "FILE {folder}: got a folder, needs a SAMA file"),
        (["FILE", "--out", "absent/"], "--out: got absent/, needs an existing folder"),
    ],
)
def test_a_folder_is_called_a_folder(places, source, no_work, capsys, arguments, got):
    folder = source.parent / "a folder"
    folder.mkdir()
    names = {"FOLDER": str(folder), "FILE": str(source)}
    assert main(["convert", *(names.get(word, word) for word in arguments)], places) == 1
    assert got.format(folder=folder) in capsys.readouterr().err and not no_work


STALLS = """
import runpy, time
from sama_core.convert import stream

write, left = stream._write_piece, list(range(20))

def write_piece(*given):
    if not left:
        print("stalled", flush=True)
        time.sleep(600)
    left.pop()
    write(*given)

stream._write_piece = write_piece
runpy.run_module("sama_core.convert", run_name="__main__", alter_sys=True)
"""
"""A worker that stops after 20 tensors."""


@pytest.mark.skipif(os.name != "posix", reason="a script of sh")
def test_a_stop_keeps_what_is_written(places, source, work_here, monkeypatch, capsys):
    """Ctrl-C after some tensors: the worker ends too, and the same command goes on."""
    target = source.with_name("mön modell_Q5_0.gguf")
    python, program = source.with_name("python"), source.with_name("stalls.py")
    program.write_text(STALLS)
    real = f'exec "{sys.executable}"'
    python.write_text(
        f'#!/bin/sh\n[ "$2" = sama_core.convert ] || {real} "$@"\n'
        f'shift 2; PYTHONPATH="{REPO_ROOT}" {real} "{program}" "$@"\n'
    )
    python.chmod(0o755)

    def press_ctrl_c(process, stages):
        assert "stalled\n" in process.stdout, "it ended before"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(places), "python", python)
        patch.setattr(command, "_follow", press_ctrl_c)
        assert main(["convert", str(source), "--format", "gguf_q5_0"], places) == 1
    assert "the same command goes on with what is finished" in capsys.readouterr().err
    assert not target.exists() and target.with_name(f".{target.name}.part").exists()
    work_here()
    assert main(["convert", str(source), "--format", "gguf_q5_0"], places) == 0
    assert "were written by an interrupted run" in capsys.readouterr().out and target.exists()


def test_a_name_in_the_models_folder_is_found(places, no_work):
    folder = places.models / "diffusion_models"
    folder.mkdir(parents=True)
    (folder / "sama.safetensors").symlink_to(embedded.DIT)
    assert (
        main(["convert", "sama.safetensors", "--format", "gguf_q8_0", "--overwrite"], places) == 0
    )
    assert no_work == [
        {
            "path": str(folder / "sama.safetensors"),
            "target": str(folder / "sama_Q8_0.gguf"),
            "format": "gguf_q8_0",
            "base": None,
            "overwrite": True,
        }
    ]


def test_the_packs_own_model_is_converted_into_comfyuis_folder(places, no_work):
    assert main(["convert", str(embedded.DIT)], places) == 0
    assert no_work[0]["target"] == str(
        places.models / "diffusion_models" / "sama_shapes_fp8_scaled.safetensors"
    )


@pytest.mark.parametrize(
    ("out", "expected"), [("small", "small.safetensors"), (".", "mön modell_fp8.safetensors")]
)
def test_where_the_result_goes(places, source, no_work, monkeypatch, tmp_path, out, expected):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["convert", str(source), "--format", "fp8", "--out", out, "--base", "."], places) == 0
    )
    assert no_work[0]["target"] == str(tmp_path / expected) and no_work[0]["base"] == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.safetensors"], "FILE absent.safetensors: got no such file"),
        (["{source}", "--base", "absent"], "--base absent: got no such file"),
        (["{source}", "--format", "int3"], "format: got int3, needs one of fp8_scaled"),
        (
            ["{source}", "--format", "fp8", "--out", "x.gguf"],
            "needs the ending .safetensors for fp8",
        ),
        (["{source}", "--out", "no/such/folder/x"], "got no such folder"),
    ],
)
def test_wrong_arguments_are_told_before_set_up(places, source, no_work, capsys, arguments, words):
    assert main(["convert", *(word.format(source=source) for word in arguments)], places) == 1
    assert words in capsys.readouterr().err and no_work == []


@pytest.mark.parametrize("there", [True, False])
def test_gguf_is_installed_when_it_is_needed(places, source, no_work, monkeypatch, there):
    ran = []
    monkeypatch.setattr(command.subprocess, "call", lambda *arguments, **options: 0 if there else 1)
    monkeypatch.setattr(
        Commands, "run", lambda self, argv, what: ran.append([str(word) for word in argv])
    )
    assert main(["convert", str(source), "--format", "fp8"], places) == 0 and ran == []
    assert main(["convert", str(source), "--format", "gguf_q8_0"], places) == 0
    assert [argv[1:4] + argv[8:] for argv in ran] == (
        []
        if there
        else [["-m", "pip", "install", "gguf", "-c", str(REPO_ROOT / "constraints.txt")]]
    )


@pytest.mark.parametrize("begun", ["key\n", "", None])
def test_going_on_is_promised_only_where_something_is_written(
    places, source, monkeypatch, capsys, begun
):
    monkeypatch.setattr(command, "_follow", lambda process, stages: "")
    monkeypatch.setattr(
        command, "clean_env", lambda: {**os.environ, "PYTHONPATH": str(source.parent)}
    )
    (source.parent / "torch.py").write_text("raise ImportError('no torch here')")
    if begun is not None:
        source.with_name(".mön modell_fp8_scaled.safetensors.pieces").write_text(begun)
    assert main(["convert", str(source)], places) == 1
    assert ("the same command continues from there" in capsys.readouterr().err) is bool(begun)


def test_a_failing_worker_names_its_log(places, source, monkeypatch, capsys):
    """A Python without torch, for one."""
    monkeypatch.setattr(
        command, "clean_env", lambda: {**os.environ, "PYTHONPATH": str(source.parent)}
    )
    (source.parent / "torch.py").write_text("raise ImportError('no torch here')")
    assert main(["convert", str(source)], places) == 1
    said = capsys.readouterr().err
    assert "no torch here" in said and f"Whole log: {places.log('convert')}" in said


def test_the_commands_need_no_torch():
    """They are listed by a Python that has nothing installed."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['gguf'] = None; import "
        "sama_core.launch.cli as cli; "
        "cli.main(['convert', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, check=True
    )
    assert "gguf_q5_1   6 bits a weight" in done.stdout


def test_the_packs_own_model_is_found_by_its_name(tmp_path):
    from sama_core import embedded
    from sama_core.launch.commands.convert import find_file

    assert find_file("FILE", embedded.DIT.name, [tmp_path]) == embedded.DIT
