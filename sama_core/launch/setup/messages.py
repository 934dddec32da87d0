"""What programs of the environment say to the command that started them: lines, each a JSON object.

Anything else may come between: a library's warning, or half a line of a program that was killed.
"""

import json
from typing import Any

from ..progress import LaunchError


def read_message(line: str) -> dict[str, Any] | None:
    """The object that a line is; None for all other lines."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def last_message(output: str, what: str) -> dict[str, Any]:
    """The last object in a program's `output`. Raises LaunchError if there is none; `what` names
    the program's work.
    """
    for line in reversed(output.splitlines()):
        said = read_message(line)
        if said is not None:
            return said
    got = output.strip()[-200:] or "nothing"
    raise LaunchError(
        f"{what}: the program of the environment said {got!r}, which is no answer. Run the same "
        "command again; if it fails again, delete .venv and start over."
    )
