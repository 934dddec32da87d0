"""The two commands that hand over to other programs: `serve` and `test`."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from sama_core.launch.cli import main, parser
from sama_core.launch.commands import serve as serve_module
from sama_core.launch.commands import test as testing
from sama_core.launch.commands.test import INSTALL_BROWSER, provide_browser, pytest_command
from sama_core.launch.model_choice import Trio
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server.client import Client
from sama_core.launch.server.process import prepare_base
from sama_core.launch.setup.comfyui_source import ComfyUI
from sama_core.launch.setup.environment import Environment
from sama_core.released_files import MODEL_FILES

from .test_process import ANSWERING


@pytest.fixture
def no_set_up(monkeypatch, tmp_path):
    """Set-up is done; ComfyUI is a stand-in that only answers."""
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text(ANSWERING.format(line="started"))
    monkeypatch.setattr(
        Environment, "ready", lambda self, asked=None, tests=False: ComfyUI(folder, fetched=True)
    )
    shapes = Trio("sama_shapes.safetensors", "b", "c", lacking=(MODEL_FILES[0].where(),))
    monkeypatch.setattr(serve_module, "listed_trio", lambda client: shapes)
    return folder


@pytest.fixture
def ctrl_c_works():
    """A job in the background of a shell script is started with Ctrl-C switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_serve_opens_the_browser_and_stops_on_ctrl_c(
    places, no_set_up, ctrl_c_works, monkeypatch, capsys
):
    opened = []

    def look_then_press_ctrl_c(server, stages):
        opened.append(Client(server.url).is_reached())
        os.kill(os.getpid(), signal.SIGINT)
        server.process.wait()

    monkeypatch.setattr(serve_module, "browser_here", lambda: True)
    monkeypatch.setattr(serve_module.webbrowser, "open", opened.append)
    until_stopped = serve_module._until_stopped
    monkeypatch.setattr(
        serve_module,
        "_until_stopped",
        lambda server, stages: until_stopped(
            type(
                "Pressed",
                (),
                {"wait": staticmethod(lambda: look_then_press_ctrl_c(server, stages))},
            ),
            stages,
        ),
    )
    assert main(["serve"], places) == 0
    url, answered = opened
    assert answered is True and not Client(url).is_reached()
    printed = capsys.readouterr().out
    assert f"ComfyUI with SAMA: {url}" in printed and "Stopping ComfyUI." in printed
    assert "No SAMA-14B here: editing with SAMA-Shapes" in printed


def test_serve_has_the_packs_clip_in_its_own_input_folder_alone(places, no_set_up):
    """The artist's ComfyUI, if there is one, keeps its input folder as it is."""
    prepare_base(places)
    (places.base / "input" / "mine.mp4").write_bytes(b"mine")
    serve_module.provide_clip(places)
    serve_module.provide_clip(places)
    clips = {path.name: path.read_bytes() for path in (places.base / "input").iterdir()}
    assert clips == {
        "mine.mp4": b"mine",
        "moving_shapes.mp4": (PACK_ROOT / "workflows/moving_shapes.mp4").read_bytes(),
    }
    assert [path.name for path in no_set_up.iterdir()] == ["main.py"]


def test_serve_on_a_port_in_use_says_so_before_set_up(places, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)], places) == 1
    assert f"port {port}: got not usable" in capsys.readouterr().err
    assert not places.runtime.exists()


def test_serve_without_a_port_takes_a_free_one_if_the_usual_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(serve_module, "USUAL_PORT", taken.getsockname()[1])
        assert serve_module.usual_or_free("127.0.0.1") != serve_module.USUAL_PORT
    assert serve_module.usual_or_free("127.0.0.1") == serve_module.USUAL_PORT


def test_serve_tells_when_comfyui_ends_by_itself(places, no_set_up, monkeypatch, capsys):
    monkeypatch.setattr(serve_module, "browser_here", lambda: False)

    def end(server, stages):
        server.process.kill()
        server.process.wait()
        raise server.connection_error()

    monkeypatch.setattr(serve_module, "_until_stopped", end)
    assert main(["serve"], places) == 1
    assert "ComfyUI: ended" in capsys.readouterr().err


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="screens are told by variables on Linux alone"
)
def test_no_browser_without_a_screen(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert serve_module.browser_here() is False


def test_arguments_after_test_belong_to_pytest():
    root = PACK_ROOT
    assert pytest_command(Path("py"), [], root)[1:] == [
        "-P",
        "-m",
        "pytest",
        "--import-mode=importlib",
        "-n",
        "logical",
        "--maxprocesses",
        "4",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
        "tests",
    ]
    assert pytest_command(Path("py"), ["-k", "clip", "--co"], root)[-4:] == [
        "-k",
        "clip",
        "--co",
        "tests",
    ]
    assert pytest_command(Path("py"), ["tests/launch/test_steps.py::x", "-x"], root)[1:] == [
        "-P",
        "-m",
        "pytest",
        "--import-mode=importlib",
        "tests/launch/test_steps.py::x",
        "-x",
    ]
    options, rest = parser().parse_known_args(["test", "-k", "x", "--co", "-q"])
    assert options.command == "test" and rest == ["-k", "x", "--co", "-q"]


def test_unknown_arguments_of_other_commands_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["edit", "--stpes", "4"])
    assert "unrecognized arguments: --stpes 4" in capsys.readouterr().err


@pytest.fixture
def calls(monkeypatch):
    """Programs that `test` starts; `calls.status` is what each one ends with, by a word of its command."""

    class Calls(list):
        status: ClassVar[dict[str, int]] = {}

        def __call__(self, command, cwd, env):
            self.append((list(map(str, command)), env.get("SAMA_COMFYUI")))
            return next((code for word, code in self.status.items() if word in command), 0)

        def programs(self) -> list[str]:
            return [" ".join(command[2:4]) for command, _ in self if command[1] == "-m"]

    calls = Calls()
    monkeypatch.setattr(testing.subprocess, "call", calls)
    monkeypatch.setattr(testing, "provide_browser", lambda *arguments: None)
    return calls


def test_all_checks_run_before_the_whole_suite(places, no_set_up, calls, capsys):
    assert main(["test"], places) == 0
    assert calls.programs() == ["ruff check", "ruff format"]
    assert "pytest" in calls[-1][0] and calls[-1][1] == str(no_set_up)
    assert "Failed" not in capsys.readouterr().out


def test_every_check_says_that_it_failed(places, no_set_up, calls, capsys):
    calls.status = {"format": 1, "pytest": 2}
    assert main(["test"], places) == 2
    assert len(calls) == len(testing.CHECKS) + 1, "a failed check does not end the command"
    assert "Failed: ruff format, pytest." in capsys.readouterr().out


def test_the_checks_alone(places, no_set_up, calls):
    calls.status = {"check": 1}
    assert main(["test", "--checks"], places) == 1
    assert len(calls) == len(testing.CHECKS)


@pytest.mark.parametrize(
    ("style", "suite", "expected"), [(0, 0, 0), (1, 0, 1), (0, 2, 2), (1, 2, 2)]
)
def test_a_part_of_the_tests_is_checked_by_ruff_alone(
    places, no_set_up, calls, style, suite, expected
):
    calls.status = {"ruff": style, "pytest": suite}
    assert main(["test", "-x"], places) == expected
    assert [command[-1] for command, _ in calls] == [".", "tests"]
    assert calls[1][1] == str(no_set_up)


class Apt:
    def __init__(self, fails=False):
        self.did, self.fails = [], fails

    def run(self, argv, what):
        if self.fails:
            raise LaunchError(f"{what}: failed")
        self.did.append(argv)


def test_chromium_is_installed_where_that_is_possible(capsys):
    apt = Apt()
    provide_browser(
        apt, Stages(), lambda name: "/usr/bin/apt-get" if name == "apt-get" else None, root=True
    )
    if sys.platform.startswith("linux"):
        assert apt.did == [
            ["apt-get", "update"],
            ["apt-get", "install", "-y", "--no-install-recommends", "chromium"],
        ]


@pytest.mark.parametrize(("root", "fails"), [(False, False), (True, True)])
def test_otherwise_it_says_what_to_install(capsys, root, fails):
    apt = Apt(fails)
    provide_browser(
        apt, Stages(), lambda name: "/usr/bin/apt-get" if name == "apt-get" else None, root=root
    )
    assert apt.did == [] and INSTALL_BROWSER in capsys.readouterr().out


def test_a_browser_that_is_there_is_enough(capsys):
    provide_browser(
        Apt(fails=True), Stages(), lambda name: name if name == "google-chrome" else None, root=True
    )
    assert capsys.readouterr().out == ""


def test_the_bootstrap_refuses_an_old_python(tmp_path):
    program = (
        "import runpy, sys; sys.version_info = (3, 8, 0); sys.argv = ['run.py', '--help']; "
        f"runpy.run_path({str(PACK_ROOT / 'run.py')!r}, run_name='__main__')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert told.returncode == 1 and "needs 3.11 or newer" in told.stderr
