"""What PyAV 16.0, the oldest that ComfyUI admits, has not; and the program that works without it on
a newer PyAV:

`python -m tests.harness.old_pyav (old|new) CLIP RESULT` reads CLIP, writes RESULT, and prints what
it found as JSON.
"""

import hashlib
import json
import sys
from enum import IntEnum

import av
from av.video import reformatter

LATER = {
    "av.VideoFrame": ("color_primaries", "color_trc", "sw_format", "metadata", "from_dlpack"),
    "av.VideoStream": ("set_display_matrix", "set_display_rotation", "index_entries", "discard"),
    "av.VideoCodecContext": (
        "sw_format",
        "reorder_depth",
        "field_order",
        "level",
        "supported_options",
    ),
    "av.Packet": ("rescale_ts",),
}
"""Owner → its attributes that came after PyAV 16.0."""
INTERPOLATIONS = "FAST_BILINEAR BILINEAR BICUBIC X POINT AREA BICUBLIN GAUSS SINC LANCZOS"
REFORMAT_WORDS = {
    "width",
    "height",
    "format",
    "src_colorspace",
    "dst_colorspace",
    "interpolation",
    "src_color_range",
    "dst_color_range",
}


def hide() -> list[str]:
    """Takes away what is later, and makes deadly what kills PyAV 16.

    What could not be hidden is returned.
    """
    kept = []
    for owner, names in LATER.items():
        target = getattr(av, owner.removeprefix("av."))
        for name in names:
            for place in target.__mro__:
                if name in vars(place):
                    try:
                        delattr(place, name)
                    except TypeError:
                        kept.append(f"{owner}.{name}")
    flags = {name: int(reformatter.Interpolation[name]) for name in INTERPOLATIONS.split()}
    reformatter.Interpolation = IntEnum("Interpolation", flags)
    _guard_open()
    return kept


def _guard_open() -> None:
    opened = av.open

    def open_as_16(file, mode=None, *args, **words):
        if mode != "w" and words.get("options"):
            raise AssertionError(
                "PyAV 16 dies of options for reading where a format has streams late"
            )
        return opened(file, mode, *args, **words)

    av.open = open_as_16


def work(clip: str, result: str) -> dict:
    """Colours, pictures and sound of a clip, and what a result of it states."""
    from sama_core.clip import ClipRange, FileSource, fit_clip, save_restored

    source = FileSource(clip)
    frames, info = fit_clip(source, ClipRange(), 1024)
    save_restored(result, frames, info, source.audio(0, 1))
    return {
        path: [
            str(FileSource(path).facts()),
            *(
                hashlib.sha256(picture.pixels.tobytes()).hexdigest()
                for deep in (False, True)
                for picture in FileSource(path).pictures(ClipRange(), deep)
            ),
        ]
        for path in (clip, result)
    }


if __name__ == "__main__":
    left = hide() if sys.argv[1] == "old" else []
    print(json.dumps({"left": left, "found": work(*sys.argv[2:])}))
