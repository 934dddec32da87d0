"""Frames with numbers in their names, which count as one clip: shot_0001.exr, shot_0002.exr …"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import needed
from ..progress import LaunchError

FRAME_FILES = {".png", ".tif", ".tiff", ".exr"}
"""Endings of frames."""
NUMBERED = re.compile(r"(.*?)(\d+)(\.[^.]+)", re.DOTALL)


@dataclass(frozen=True)
class Sequence:
    """The frames of one clip in one folder."""

    prefix: str
    """What stands before the numbers."""
    names: tuple[str, ...]
    """File names in the order of their numbers."""
    numbers: tuple[int, ...]
    """Their numbers."""

    def check(self, folder: str) -> None:
        """Raises LaunchError if a frame between the first and the last is missing, or is twice."""
        for number, following in zip(self.numbers, self.numbers[1:], strict=False):
            if following != number + 1:
                got = (
                    f"frame {number} twice"
                    if following == number
                    else f"no frame {number + 1} between {number} and {following}"
                )
                raise LaunchError(
                    needed(folder, got, "every number once", "Render or rename that frame.")
                )


def find_sequences(names: Iterable[str]) -> list[Sequence]:
    """The numbered frames among the files of a folder, a sequence for each name and ending."""
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        match = NUMBERED.fullmatch(name)
        if match and match[3].lower() in FRAME_FILES:
            groups.setdefault((match[1], match[3].lower()), []).append((int(match[2]), name))
    found = []
    for (prefix, _), members in sorted(groups.items()):
        numbers, files = zip(*sorted(members), strict=True)
        found.append(Sequence(prefix, files, numbers))
    return found
