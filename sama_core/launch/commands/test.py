"""`run.py test`: everything the suite needs, then ruff and pytest."""

import os
import shutil
import subprocess
import sys
import tomllib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from ...errors import needed
from ..places import Places, clean_env
from ..progress import LaunchError, Stages
from ..setup.environment import Environment
from ..setup.processes import Commands

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
    """Runs `ruff check`, then pytest; returns pytest's status, or ruff's if only ruff complains."""
    require_tests(places.root)
    stages.start("set-up")
    environment = Environment(places, stages)
    comfyui = environment.ready(options.comfyui, tests=True)
    provide_browser(environment.commands, stages)
    stages.finish()
    stages.say(f"{stages.table()}\n")
    style = subprocess.call(
        [places.python, "-m", "ruff", "check", "--extend-exclude", ".runtime", "."],
        cwd=places.root,
        env=clean_env(),
    )
    suite = subprocess.call(
        pytest_command(places.python, options.pytest_args, places.root),
        cwd=places.root,
        env=clean_env(SAMA_COMFYUI=str(comfyui.folder), OMP_NUM_THREADS="1"),
    )
    return suite or style


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
    """pytest on what was asked, or on `tests`, file by file on all processors (`-n 0`: in one process).

    `-P` keeps the pack's folder, and its `nodes`, off the path.
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
    """Installs Chromium where that is possible without asking anyone; otherwise says what to install."""
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
