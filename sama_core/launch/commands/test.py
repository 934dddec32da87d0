"""`run.py test`: set-up with everything the tests need, then the code checks, then pytest."""

import os
import shutil
import subprocess
import sys
import tomllib
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import needed
from ..places import Places, clean_env
from ..progress import LaunchError, Stages
from ..setup.environment import Environment
from ..setup.processes import Commands

RUFF_CHECK = ("ruff check", ("-m", "ruff", "check", "--extend-exclude", ".runtime", "."))
CHECKS = (
    RUFF_CHECK,
    ("ruff format", ("-m", "ruff", "format", "--check", "--extend-exclude", ".runtime", ".")),
    ("mypy", ("-m", "mypy")),
    (
        "import floors",
        ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
    ),
)
"""Name of each check of the code, and what Python is given to run it; settings are in pyproject."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_BROWSER = (
    "Chromium: not found, needed for the tests in the browser. Install it (Debian, Ubuntu: "
    "apt-get install chromium)."
)
EVERY_PROCESSOR = (
    "-n",
    "logical",
    "--maxprocesses",
    "4",
    "--dist",
    "loadfile",
    "--no-loadscope-reorder",
)


def test(options: Namespace, places: Places, stages: Stages) -> int:
    """Runs every check of the code, then pytest; returns pytest's status, or 1 if only a check
    failed.

    With arguments for pytest `ruff check` is the only check, so that a part of the tests starts at
    once. With `--checks` only the checks run.
    """
    require_tests(places.root)
    stages.start("set-up")
    environment = Environment(places, stages)
    comfyui = environment.ready(options.comfyui, tests=True)
    if not options.checks:
        provide_browser(environment.commands, stages)
    stages.finish()
    stages.say(f"{stages.table()}\n")
    failed = run_checks([RUFF_CHECK] if options.pytest_args else CHECKS, places, stages)
    suite = 0
    if not options.checks:
        suite = subprocess.call(
            pytest_command(places.python, options.pytest_args, places.root),
            cwd=places.root,
            env=clean_env(SAMA_COMFYUI=str(comfyui.folder), OMP_NUM_THREADS="1"),
        )
    failed += ["pytest"] if suite else []
    if failed:
        stages.say(f"Failed: {', '.join(failed)}.")
    return suite or int(bool(failed))


def run_checks(
    checks: Iterable[tuple[str, tuple[str, ...]]], places: Places, stages: Stages
) -> list[str]:
    """Runs each check to its end, below its name; returns the names of those that failed."""
    failed = []
    for name, arguments in checks:
        stages.say(f"== {name}")
        if subprocess.call([places.python, *arguments], cwd=places.root, env=clean_env()):
            failed.append(name)
    return failed


def require_tests(root: Path) -> None:
    """Raises LaunchError in an install from the Registry, whose archive has no tests."""
    if not (root / "tests").is_dir():
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        raise LaunchError(
            needed(
                "run.py test",
                "an install without the tests (the Registry's archive leaves them out)",
                "the whole repository",
                f"Run it there: git clone {project['urls']['Repository']}",
            )
        )


def pytest_command(python: Path, arguments: list[str], root: Path) -> list[str]:
    """The pytest command: for the tests that `arguments` name, or for all.

    All tests run on up to four processors, file by file; `-n 0` runs them in one process. `-P`
    keeps the pack's folder, and with it its `nodes` package, off Python's search path.
    """
    named = any(
        (root / argument.partition("::")[0]).exists()
        for argument in arguments
        if not argument.startswith("-")
    )
    command = [str(python), "-P", "-m", "pytest", "--import-mode=importlib"]
    return [*command, *arguments] if named else [*command, *EVERY_PROCESSOR, *arguments, "tests"]


def provide_browser(
    commands: Commands,
    stages: Stages,
    find: Callable[[str], str | None] = shutil.which,
    root: bool | None = None,
) -> None:
    """Installs Chromium if it is absent and apt-get may be used; otherwise says what to install.

    `find` looks up a program, `root` says whether this user may install (default: asked of the
    system).
    """
    if any(find(name) for name in BROWSERS):
        return
    root = (hasattr(os, "geteuid") and os.geteuid() == 0) if root is None else root
    if not (root and sys.platform.startswith("linux") and find("apt-get")):
        stages.say(INSTALL_BROWSER)
        return
    stages.update("installing Chromium")
    try:
        commands.run(["apt-get", "update"], "reading the list of system packages")
        commands.run(
            ["apt-get", "install", "-y", "--no-install-recommends", "chromium"],
            "installing Chromium",
        )
    except LaunchError as error:
        stages.say(f"{error}\n{INSTALL_BROWSER}")
