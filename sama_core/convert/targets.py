"""Where the result goes: names that stay in their folder.

Standard library only.
"""

import os
import re
from pathlib import Path

from ..errors import ConversionError, needed
from .formats import Format

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\xb9\xb2\xb3])\s*(\..*)?", re.IGNORECASE
)
"""What Windows takes for a device, whatever stands behind a dot."""
_LONGEST = 200
"""Bytes: file systems take 255, and unfinished files have longer names."""


def partial_files(target: Path) -> tuple[Path, Path]:
    """(the file so far, the checksums of its pieces), beside the target and in no list of
    ComfyUI's.
    """
    return target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.pieces")


def default_name(source: str | Path, made: Format) -> str:
    """`sama_14b_ema.safetensors` as Q8_0 → `sama_14b_ema_Q8_0.gguf`."""
    return f"{Path(source).stem}_{made.tag}{made.suffix}"


def checked_name(name: str, made: Format) -> str:
    """A plain file name with the format's suffix. Raises ConversionError for a path, `..`, a
    device's name, characters that cannot be seen, or another suffix."""
    name = name.strip()
    if (
        not name
        or name.startswith(".")
        or ".." in name
        or _FORBIDDEN.search(name)
        or _DEVICE.fullmatch(name)
        or not name.isprintable()
        or len(name.encode()) > _LONGEST
    ):
        raise ConversionError(
            needed(
                "file name",
                ascii(name[:60]),
                f"a plain name such as sama{made.suffix}",
                'Folders, .., names of devices and the characters < > : " / \\ | ? * cannot be '
                "in it.",
            )
        )
    if not Path(name).suffix or Path(name).suffix.lower() not in (".safetensors", ".sft", ".gguf"):
        return name + made.suffix
    if Path(name).suffix.lower() != made.suffix:
        raise ConversionError(
            needed(
                "file name",
                name,
                f"the ending {made.suffix} for {made.name}",
                "Change the ending, or leave it out.",
            )
        )
    return name


def check_folder(folder: Path) -> None:
    """Raises ConversionError unless files can be made in `folder`."""
    if not folder.is_dir():
        raise ConversionError(
            needed(str(folder), "no such folder", "a folder for the result", "Make it first.")
        )
    if not os.access(folder, os.W_OK):
        raise ConversionError(
            needed(
                str(folder),
                "a folder that may not be written",
                "a writable folder",
                "Change its rights, or give another place for the result.",
            )
        )
