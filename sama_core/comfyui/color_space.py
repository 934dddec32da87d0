"""ComfyUI's names for the colours of a VIDEO, and the tags that stand for them."""

import logging

from ..clip.colours import UNSTATED, Colours
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
        log.warning("SAMA: the clip is %s and is saved so, not as %s: saving converts no colours. Set color space to "
                    "auto.", color_space_of(stated), color_space)
    return None
