"""What Save Video can ask for: colour space, container and codec.

The pack itself writes mp4 and mkv with H.264. Other files, webm, AV1 and what later versions add,
are written through ComfyUI from a nearly lossless mp4.
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
from ..clip.own_priority import keep_priority
from ..clip.save import CONTAINERS, complete_or_absent
from ..errors import ClipError, needed
from .later_core import warn_once

SRGB, HLG, PQ = "sRGB", "HDR", "HDR PQ"
"""ComfyUI's names of colour spaces."""
_HDR = {"HLG": HLG, "PQ": PQ}
TAGS = {SRGB: Colours(1, 1, 13), HLG: Colours(9, 9, 18), PQ: Colours(9, 9, 16)}
"""Matrix, primaries and transfer of H.273, as ComfyUI writes them."""
OURS = "h264"
"""The codec that the pack itself encodes."""
NEARLY_LOSSLESS = 4.0
"""The crf of a video that is encoded again: levels change by one or two."""

log = logging.getLogger(__name__)


def color_space_of(colours: Colours) -> str:
    """One of ComfyUI's three names; colours that state nothing are sRGB."""
    return _HDR.get(colours.hdr, SRGB)


def colours_for(color_space: str | None, stated: Colours) -> Colours | None:
    """The tags to write for the wanted `color_space`; None for the source's own tags, `stated`.

    A source that states its transfer keeps its tags, because no light is converted here; asking for
    another colour space is logged. A source that states none gets what is asked for. None and
    "auto" ask for nothing.
    """
    if color_space in (None, "auto"):
        return None
    if color_space not in TAGS:
        warn_once("save_to", f"color_space={color_space}")
        return None
    if stated.transfer == UNSTATED:
        return TAGS[color_space]
    if color_space != color_space_of(stated):
        log.warning(
            "SAMA: the clip is %s and is saved so, not as %s: saving converts no colours. Set "
            "color space to auto.",
            color_space_of(stated),
            color_space,
        )
    return None


def resolve_file(
    path: str | os.PathLike | BinaryIO, format: object, codec: object
) -> tuple[str, str]:
    """Container and codec by name. `auto` and None are resolved as ComfyUI does.

    They follow the path's ending; without one it is mp4 with H.264.
    """
    container, codec = _name(format), _name(codec)
    if container == "auto":
        ending = "" if hasattr(path, "write") else Path(path).suffix.lower()
        container = {".mkv": "mkv", ".webm": "webm"}.get(ending, "mp4")
    return container, ("av1" if container == "webm" else OURS) if codec == "auto" else codec


def is_ours(container: str, codec: str) -> bool:
    """Whether the pack writes such a file itself, restored frame by frame and encoded once."""
    return container in CONTAINERS and codec == OURS


def check_offered(container: str, codec: str, width: int, height: int) -> None:
    """Raises ClipError, with the possible choices, for a file that this ComfyUI cannot write."""
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
    """Write a file through ComfyUI from the nearly lossless mp4 that `write_mp4(path)` writes.

    `options` are passed to ComfyUI's `save_to` as far as this version has them. A file appears
    whole or not at all. Raises ClipError for what ComfyUI refuses.
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
                with keep_priority():
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
    """The text of an entry of ComfyUI's lists, "auto" for None."""
    return str(getattr(member, "value", member) or "auto").lower()
