"""The command line: what it refuses, and what it needs."""

import errno
import os
import subprocess
import sys

import pytest

from sama_core.launch import cli
from sama_core.launch.cli import main
from sama_core.launch.places import PACK_ROOT


def test_the_launcher_imports_without_torch_or_comfyui():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sama_core.launch.cli; "
        "print(sorted({'torch', 'numpy', 'av', 'comfy', 'huggingface_hub', 'nodes'} & "
        "set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(PACK_ROOT)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


def test_unknown_arguments_of_other_commands_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["edit", "--stpes", "4"])
    assert "unrecognized arguments: --stpes 4" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_failure():
    """As with `run.py … | head`."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from sama_core.launch import cli; "
        "sys.exit(cli.main(['plan', '--card', 'RTX 4090 24 GB', '--minutes', '10']))"
    )
    command = [sys.executable, "-c", program, str(PACK_ROOT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file that is always full")
@pytest.mark.parametrize("command", [["models"], ["edit", "--server", "http://127.0.0.1:9"]])
def test_an_output_that_cannot_be_written_ends_with_one_sentence(command):
    """What would have stood there is told on standard error; a command's own failure comes last."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from sama_core.launch import cli; "
        f"sys.exit(cli.main({command}))"
    )
    with open("/dev/full", "w") as full:
        told = subprocess.run(
            [sys.executable, "-c", program, str(PACK_ROOT)],
            check=False, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    lines = told.stderr.splitlines()
    assert told.returncode == 1 and "Traceback" not in told.stderr
    if command == ["models"]:
        assert "Looked in" in told.stderr
        assert lines[-1].startswith("Standard output: got 'No space left on device', needs room")
    else:
        assert "127.0.0.1:9: " in lines[-1] and "Standard output" not in told.stderr


def test_the_bootstrap_refuses_an_old_python(tmp_path):
    program = (
        "import runpy, sys; sys.version_info = (3, 8, 0); sys.argv = ['run.py', '--help']; "
        f"runpy.run_path({str(PACK_ROOT / 'run.py')!r}, run_name='__main__')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert told.returncode == 1 and "needs 3.11 or newer" in told.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that somebody is in")
@pytest.mark.parametrize("command", [["edit", "--video", "a.mp4"], ["convert", "a.safetensors"]])
def test_a_current_folder_that_was_removed(places, tmp_path, monkeypatch, capsys, command):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(command, places) == 1
    assert "The folder that you are in was removed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENAMETOOLONG, "Give a shorter name."),
        (errno.ENOSPC, "Free some room there"),
        (errno.EROFS, "Check that its folder is writable for you"),
        (errno.EIO, "if it fails again, look at that file and its disk"),
    ],
)
def test_an_error_of_the_system_says_what_helps_against_it(code, advice):
    assert advice in cli._advise(OSError(code, "said"))
