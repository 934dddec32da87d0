"""`run.py test`: the checks, pytest's arguments, the browser."""

import sys
from pathlib import Path
from typing import ClassVar

import pytest

from sama_core.launch.cli import main, parser
from sama_core.launch.commands import test as testing
from sama_core.launch.commands.test import INSTALL_BROWSER, provide_browser, pytest_command
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.progress import LaunchError, Stages


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
    assert pytest_command(Path("py"), ["tests/launch/setup/test_steps.py::x", "-x"], root)[1:] == [
        "-P",
        "-m",
        "pytest",
        "--import-mode=importlib",
        "tests/launch/setup/test_steps.py::x",
        "-x",
    ]
    options, rest = parser().parse_known_args(["test", "-k", "x", "--co", "-q"])
    assert options.command == "test" and rest == ["-k", "x", "--co", "-q"]


@pytest.fixture
def calls(monkeypatch):
    """Programs that `test` starts; `calls.status` is what each one ends with, by a word of its
    command."""

    class Calls(list):
        status: ClassVar[dict[str, int]] = {}

        def __call__(self, command, cwd, env):
            self.append((list(map(str, command)), env.get("SAMA_COMFYUI")))
            return next((code for word, code in self.status.items() if word in command), 0)

        def programs(self) -> list[str]:
            return [" ".join(command[2:4]) for command, _ in self]

    calls = Calls()
    monkeypatch.setattr(testing.subprocess, "call", calls)
    monkeypatch.setattr(testing, "provide_browser", lambda *arguments: None)
    return calls


def test_all_checks_run_before_the_whole_suite(places, no_set_up, calls, capsys):
    assert main(["test"], places) == 0
    *checks, floors, _ = calls.programs()
    assert checks == ["ruff check", "ruff format", "mypy"] and "lint_imports_command" in floors
    assert "pytest" in calls[-1][0] and calls[-1][1] == str(no_set_up)
    assert "Failed" not in capsys.readouterr().out


def test_every_check_says_that_it_failed(places, no_set_up, calls, capsys):
    calls.status = {"format": 1, "mypy": 1, "pytest": 2}
    assert main(["test"], places) == 2
    assert len(calls) == len(testing.CHECKS) + 1, "a failed check does not end the command"
    assert "Failed: ruff format, mypy, pytest." in capsys.readouterr().out


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
