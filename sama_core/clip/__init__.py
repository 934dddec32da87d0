"""Video in and out: read a range, fit it to the model, restore the result, write small clips.

    FileSource · ImageSource ──fit_clip──▶ frames (F, H, W, 3) float 0..1, ClipInfo
                                                   │ edit
    original size, borders, count ◀──restore_frames┘

Needs torch, numpy, Pillow and PyAV; knows nothing of ComfyUI. A source is never held whole: frames are
decoded as they are asked for, and only the fitted ones stay in memory.
"""

from .fit import fit_clip, resize_frame
from .info import ClipInfo
from .restore import restore_frames
from .source import ClipFacts, ClipRange, ClipSource, FileSource, ImageSource
from .write import write_clip

__all__ = [
    "ClipFacts", "ClipInfo", "ClipRange", "ClipSource", "FileSource", "ImageSource",
    "fit_clip", "resize_frame", "restore_frames", "write_clip",
]
