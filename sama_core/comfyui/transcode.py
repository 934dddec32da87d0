"""ComfyUI's names for the colours of a VIDEO, and the tags that stand for them.

Files that this ComfyUI can write and the pack itself cannot: webm, AV1, and what later versions add.
"""

import inspect
import io
import logging
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import folder_paths
from comfy_api.latest import InputImpl, Types

from ..clip.colours import UNSTATED, Colours
from ..clip.save import CONTAINERS, complete_or_absent
from ..errors import ClipError, needed
from .later_core import say_once

log = logging.getLogger(__name__)


SRGB, HLG, PQ = "sRGB", "HDR", "HDR PQ"


_HDR = {"HLG": HLG, "PQ": PQ}


# Matrix, primaries and transfer of H.273; the same as ComfyUI writes.
TAGS = {SRGB: Colours(1, 1, 13), HLG: Colours(9, 9, 18), PQ: Colours(9, 9, 16)}


def color_space_of(colours: Colours) -> str:
    """One of ComfyUI's three names; what says nothing is sRGB."""
    return _HDR.get(colours.hdr, SRGB)


def colours_for(color_space: str | None, stated: Colours) -> Colours | None:
    """The tags to write where `color_space` is asked for, of a source with the tags `stated`; None: the source's.

    A source that states its transfer keeps its tags, because no light is converted here; asking it for another
    colour space is told in the log. One that states none gets what is asked for. None and auto ask for nothing.
    """
    if color_space in (None, "auto"):
        return None
    if color_space not in TAGS:
        say_once("save_to", f"color_space={color_space}")
        return None
    if stated.transfer == UNSTATED:
        return TAGS[color_space]
    if color_space != color_space_of(stated):
        log.warning(
            "SAMA: the clip is %s and is saved so, not as %s: saving converts no colours. Set color space to "
            "auto.",
            color_space_of(stated),
            color_space,
        )
    return None


OURS = "h264"


# What passes through a second encoder on its way: no level is off by more than one or two.
NEARLY_LOSSLESS = 4.0


def wanted_file(
    path: str | os.PathLike | BinaryIO, format: object, codec: object
) -> tuple[str, str]:
    """Container and codec by name, `auto` and None resolved as ComfyUI does: by the ending, else mp4 with H.264."""
    container, codec = _name(format), _name(codec)
    if container == "auto":
        ending = "" if hasattr(path, "write") else Path(path).suffix.lower()
        container = {".mkv": "mkv", ".webm": "webm"}.get(ending, "mp4")
    return container, ("av1" if container == "webm" else OURS) if codec == "auto" else codec


def is_ours(container: str, codec: str) -> bool:
    """Whether the pack writes such a file itself: restored frame by frame, and encoded once."""
    return container in CONTAINERS and codec == OURS


def check_offered(container: str, codec: str, width: int, height: int) -> None:
    """Raises ClipError, with what can be chosen instead, for a file that this ComfyUI would not write."""
    for what, got, own, all_of_them in (
        ("video format", container, CONTAINERS, Types.VideoContainer),
        ("video codec", codec, [OURS], Types.VideoCodec),
    ):
        offered = sorted({*own, *(_name(member) for member in all_of_them)} - {"auto"})
        if got not in offered:
            raise ClipError(
                needed(
                    what,
                    got,
                    f"one of {', '.join(['auto', *offered])}, which this ComfyUI writes",
                    "Set it to auto in Save Video, or update ComfyUI.",
                )
            )
    if (container, codec) == ("webm", OURS):
        raise ClipError(
            needed(
                "video codec",
                f"{codec} in webm",
                "auto or av1 there",
                "Set it to auto in Save Video.",
            )
        )
    if not is_ours(container, codec) and (width % 2 or height % 2):
        raise ClipError(
            needed(
                "video size",
                f"{width}x{height}",
                f"even sides for {container} with {codec}",
                "Set format and codec to auto in Save Video: an mp4 with H.264 takes odd sides.",
            )
        )


def save_through_core(
    write_mp4, target: str | os.PathLike | BinaryIO, container: str, codec: str, **options
) -> None:
    """`write_mp4(path)` writes a nearly lossless mp4; ComfyUI turns that into the wanted file.

    `options` go to ComfyUI's `save_to` as far as this version has them. A file appears whole or not at all. Raises
    ClipError for what ComfyUI refuses.
    """
    with tempfile.TemporaryDirectory(dir=_folder(), prefix="sama_") as folder:
        mp4 = os.path.join(folder, "edit.mp4")
        write_mp4(mp4)
        video = InputImpl.VideoFromFile(mp4)
        known = inspect.signature(video.save_to).parameters
        options = {
            name: value for name, value in options.items() if value is not None and name in known
        }

        def convert(to) -> None:
            try:
                video.save_to(
                    to,
                    format=Types.VideoContainer(container),
                    codec=Types.VideoCodec(codec),
                    **options,
                )
            except ValueError as refused:
                raise ClipError(
                    needed(
                        "video",
                        f"{container} with {codec} ({refused})",
                        "a format and codec that go together",
                        "Set both to auto in Save Video.",
                    )
                ) from refused

        if hasattr(target, "write"):
            whole = io.BytesIO()
            convert(whole)
            target.write(whole.getvalue())
            return
        with complete_or_absent(Path(target)) as unfinished:
            convert(str(unfinished))


def _folder() -> str:
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    return folder


def _name(member: object) -> str:
    """An entry of ComfyUI's lists, its text, or None for auto → its text."""
    return str(getattr(member, "value", member) or "auto").lower()
