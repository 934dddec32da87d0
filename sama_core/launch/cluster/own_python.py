"""Going on in the environment's Python, for what is installed there and not in this one."""

import importlib.util
import os
import subprocess
import sys

from ...errors import needed
from ..places import Places
from ..progress import LaunchError

_CONTINUED = "SAMA_CONTINUED"


def has_package(name: str) -> bool:
    """Whether this Python has a package."""
    return importlib.util.find_spec(name) is not None


def go_on_with(name: str, what: str, places: Places) -> None:
    """Returns if this Python has the package `name`; else the command begins anew in that of the
    environment, and this call does not return.

    `what` asks for it, such as `--ray`. Raises LaunchError if the environment lacks it too.
    """
    if has_package(name):
        return
    look = [
        str(places.python),
        "-c",
        f"import importlib.util as u; exit(u.find_spec({name!r}) is None)",
    ]
    here = os.path.abspath(sys.executable) == os.path.abspath(places.python)
    if here or os.environ.get(_CONTINUED) or subprocess.call(look):
        install = f"{places.python} -m pip install {name} -c {places.root / 'constraints.txt'}"
        raise LaunchError(
            needed(
                what,
                f"no package {name} in {places.venv}",
                f"{name}, which is not installed unless it is asked for",
                f"Install it: {install}",
            )
        )
    command = [str(places.python), *sys.argv]
    environment = {**os.environ, _CONTINUED: "1"}
    if os.name == "posix":
        os.execve(places.python, command, environment)
    sys.exit(subprocess.call(command, env=environment))
