"""Video in and out: read a range, fit it to the model, restore the result, write it.

    FileSource · ImageSource ──fit_clip──▶ frames (F, H, W, 3) float 0..1, ClipInfo
                                                   │ edit
    mp4: size, borders, count, times, sound ◀──save_restored┘

Needs torch, numpy, Pillow and PyAV; knows nothing of ComfyUI. A source is never held whole: frames
are decoded as they are asked for, and only the fitted ones stay in memory. They are restored and
written a few at a time, on all processors.
"""

from .audio import Sound
from .clip_range import ClipRange, Seconds, check_one_start
from .file_source import FileSource
from .fit import fit_clip, measure_clip
from .info import ClipInfo, Timing, cut_audio
from .own_sound import OwnSound
from .pieces import count_pictures, join_pieces, write_piece
from .placement import Fit, Placement, place, resize_frame
from .restore import (
    EditedSource,
    check_frames,
    require_unchanged,
    restore_frames,
    restored_frames,
)
from .save import prepare_pictures, save_restored
from .source import ClipFacts, ClipSource, ImageSource, in_frames
from .walk import FrameWalk

__all__ = [
    "ClipFacts",
    "ClipInfo",
    "ClipRange",
    "ClipSource",
    "EditedSource",
    "FileSource",
    "Fit",
    "FrameWalk",
    "ImageSource",
    "OwnSound",
    "Placement",
    "Seconds",
    "Sound",
    "Timing",
    "check_frames",
    "check_one_start",
    "count_pictures",
    "cut_audio",
    "fit_clip",
    "in_frames",
    "join_pieces",
    "measure_clip",
    "place",
    "prepare_pictures",
    "require_unchanged",
    "resize_frame",
    "restore_frames",
    "restored_frames",
    "save_restored",
    "write_piece",
]
