"""The clip that an edit is asked for, and how SAMA Edit Whole Video cuts a long one by default."""

from dataclasses import dataclass, replace

from ..geometry import WAN_21, ClipShape, Lattice, pad_frame_count
from ..released_files import SAMA_14B
from .request import fitted_clip

OVERLAP_FRAMES = 16
"""Frames that neighbouring segments share."""


def count_segments(
    frames: int,
    lattice: Lattice,
    segment: int = SAMA_14B.frames,
    overlap: int = OVERLAP_FRAMES,
) -> int:
    """How many segments a clip of so many frames is edited in; as many as `long.plan_segments`."""
    latents = lattice.latents_of(pad_frame_count(frames, lattice))
    length = lattice.latents_of(pad_frame_count(segment, lattice))
    if latents <= length:
        return 1
    # A segment's first latent frame is not used, and others are blended with those before.
    shared = -(-overlap // lattice.temporal)
    return 1 - (length - latents) // (length - 1 - shared)


@dataclass(frozen=True)
class AskedClip:
    """The clip of an edit, before anything is changed to make it fit."""

    clip: ClipShape
    """What the model gets at once."""
    frames: int
    """Frames that are edited, without padding."""
    size: tuple[int, int]
    """Width and height before they are fitted."""
    remarks: tuple[str, ...]
    """Sentences for the report: what is changed."""


def ask_at_once(
    frames: int,
    size: tuple[int, int],
    area: int | None = None,
    lattice: Lattice = WAN_21,
) -> AskedClip:
    """All frames at once; arguments and errors are those of `fitted_clip`."""
    clip, remarks = fitted_clip(frames, *size, area=area, lattice=lattice)
    return AskedClip(clip, frames, size, remarks)


def ask_in_segments(
    frames: int,
    size: tuple[int, int],
    area: int | None = None,
    lattice: Lattice = WAN_21,
) -> AskedClip:
    """As `ask_at_once`, but where the clip is longer than one segment, `clip` is one of them."""
    asked = ask_at_once(min(frames, SAMA_14B.frames), size, area, lattice)
    if frames <= SAMA_14B.frames:
        return asked
    segments = count_segments(frames, lattice)
    remark = (
        f"SAMA Edit Whole Video edits {frames} frames in {segments} segments of {SAMA_14B.frames}."
    )
    return replace(asked, frames=frames, remarks=(*asked.remarks, remark))
