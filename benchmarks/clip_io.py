"""Reading, fitting, restoring and saving a clip: speed against plain PyAV, and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.clip_io --json clip_io.json

On one CPU thread. A clip of 60 s at 1080p with sound is made first: two seconds of moving pictures,
encoded once and repeated. 81 frames are taken from its middle. Every figure comes from the same
run; ratios are what to compare between machines.

decode     plain PyAV: jump to the keyframe, decode the range's pictures, nothing else
rgb        the same, each picture turned into RGB the way PyAV does by default
release    the same, and Pillow's crop and bicubic resize, as the release does; `fit` has to equal
           it bit for bit
fit        `fit_clip` in each fit mode: decode, convert, resize, float frames of the model's size
save       `save_restored` on unedited frames, sound copied: restore, convert, encode
transcode  plain PyAV: decode the same pictures and encode them with the same settings

Ratios: seconds of `fit` / seconds of `decode`, and of `release`; seconds of `save` / seconds of
`transcode`. Medians of the repeats.

Memory is each case's own process (Linux): its highest resident size during the case, less what it
held before, after a first small clip. `result_mb` are the float frames themselves, which every way
of reading has to hold; `added_mb` is what comes on top of them.
"""

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import torch
from torch import Tensor

from benchmarks.own_process import measure_in_child, reset_peak, resident
from benchmarks.report import describe_run, finish
from benchmarks.sample_clip import GROUP_SECONDS, RATE, make_clip
from sama_core.clip import (
    ClipInfo,
    ClipRange,
    FileSource,
    Fit,
    fit_clip,
    place,
    resize_frame,
    save_restored,
)
from sama_core.clip.save import Encoding

MODULE = "benchmarks.clip_io"
MEMORY_CASES = ("fit", "save", "save three times as long", "transcode")


def read_pictures(path: Path, wanted: ClipRange) -> Iterator[av.VideoFrame]:
    """Plain PyAV: the pictures of a range, decoded from the keyframe before it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        start = round(wanted.start / (RATE * stream.time_base))
        container.seek(start, stream=stream)
        yield from islice(
            (picture for picture in container.decode(stream) if picture.pts >= start), wanted.frames
        )


def decode(path: Path, wanted: ClipRange) -> int:
    """Decode alone; returns how many pictures there are."""
    return sum(1 for _ in read_pictures(path, wanted))


def convert_to_rgb(path: Path, wanted: ClipRange) -> int:
    """Decode and turn into RGB as PyAV does by default; returns how many pictures there are."""
    return sum(
        len(picture.to_ndarray(format="rgb24")) > 0 for picture in read_pictures(path, wanted)
    )


def fit_as_release(path: Path, wanted: ClipRange) -> None:
    """Decode, RGB, crop, resize: the release's steps."""
    for picture in read_pictures(path, wanted):
        placement = place(picture.width, picture.height)
        resize_frame(
            picture.to_ndarray(format="rgb24"),
            placement.source_box,
            placement.width,
            placement.height,
        )


def transcode(path: Path, wanted: ClipRange) -> int:
    """Decode and encode, with the encoder's settings of `save_restored`."""
    with av.open(io.BytesIO(), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=RATE, options={"crf": str(Encoding.crf)})
        for number, picture in enumerate(read_pictures(path, wanted)):
            if not number:
                stream.width, stream.height, stream.pix_fmt = (
                    picture.width,
                    picture.height,
                    "yuv420p",
                )
            picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, RATE), 0
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return number + 1


def read(path: Path, wanted: ClipRange, fit: Fit = Fit.CROP) -> tuple[Tensor, ClipInfo]:
    """Frames and receipt with sound, as the source node makes them."""
    source = FileSource(str(path))
    frames, info = fit_clip(source, wanted, fit=fit)
    return frames, replace(info, audio=source.audio(info.start_seconds, info.duration_seconds))


def measure_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median seconds, after one run that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


def measure_speed(path: Path, wanted: ClipRange, repeats: int) -> dict:
    """Seconds of every case, and the ratios."""
    plain, theirs = (
        measure_seconds(lambda: decode(path, wanted), repeats),
        measure_seconds(lambda: fit_as_release(path, wanted), repeats),
    )
    fits = {
        str(fit): measure_seconds(lambda fit=fit: read(path, wanted, fit), repeats) for fit in Fit
    }
    frames, info = read(path, wanted)
    saving = measure_seconds(lambda: save_restored(io.BytesIO(), frames, info, info.audio), repeats)
    again = measure_seconds(lambda: transcode(path, wanted), repeats)
    return {
        "seconds": {
            "decode": plain,
            "rgb": measure_seconds(lambda: convert_to_rgb(path, wanted), repeats),
            "release": theirs,
            "fit": fits,
            "save": saving,
            "transcode": again,
        },
        "fit_per_decode": {fit: seconds / plain for fit, seconds in fits.items()},
        "crop_per_release": fits[Fit.CROP] / theirs,
        "save_per_transcode": saving / again,
        "fit_frames_per_second": info.frame_count / fits[Fit.CROP],
        "save_frames_per_second": info.frame_count / saving,
    }


def measure_memory(case: str, path: Path, wanted: ClipRange) -> dict:
    """Megabytes that one case adds to this process."""
    with tempfile.TemporaryDirectory() as folder:
        make_clip(Path(folder) / "small.mp4", 64, 64, GROUP_SECONDS)
        small = read(Path(folder) / "small.mp4", ClipRange(0, 5))
        save_restored(Path(folder) / "out.mp4", *small, small[1].audio)
        longer = replace(wanted, frames=wanted.frames * 3) if case == MEMORY_CASES[2] else wanted
        if case == "transcode":
            held, before = torch.empty(0), reset_peak()
            transcode(path, longer)
        elif case == "fit":
            before = reset_peak()
            held = read(path, longer)[0]
        else:
            held, info = read(path, longer)
            before = reset_peak()
            save_restored(Path(folder) / "out.mp4", held, info, info.audio)
        result = held.numel() * held.element_size()
        added = resident("VmHWM") - before - (result if case == "fit" else 0)
    return {
        "frames": longer.frames,
        "result_mb": round(result / 1e6, 1),
        "added_mb": round(added / 1e6, 1),
    }


def run_case(case: str, path: Path, wanted: ClipRange) -> dict:
    """One memory case in a new process, so that its peak is its own."""
    asked = ("--clip", path, "--frames", wanted.frames, "--start", wanted.start)
    return measure_in_child(MODULE, "--case", case, *asked)


def measure(asked: argparse.Namespace) -> dict:
    """Make the clip, and take every figure."""
    wanted = ClipRange(asked.start, asked.frames)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        make_clip(path, asked.width, asked.height, asked.seconds)
        clip = {"width": asked.width, "height": asked.height, "seconds": asked.seconds, "fps": RATE}
        return {
            "ran": describe_run("av", "pillow", repeats=asked.repeats),
            "clip": clip,
            "range": {"start": wanted.start, "frames": wanted.frames},
            **measure_speed(path, wanted, asked.repeats),
            "memory": {case: run_case(case, path, wanted) for case in MEMORY_CASES},
        }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line\'s options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--seconds", type=int, default=60, help="length of the clip, even")
    parser.add_argument("--start", type=int, default=600, help="first frame taken")
    parser.add_argument("--frames", type=int, default=81, help="frames taken")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the result here too")
    parser.add_argument(
        "--case", choices=MEMORY_CASES, help="measure one memory case of --clip in this process"
    )
    parser.add_argument("--clip", type=Path)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0 if every case ran, else 1."""
    asked = parse(arguments)
    torch.set_num_threads(1)
    if asked.case:
        print(
            json.dumps(measure_memory(asked.case, asked.clip, ClipRange(asked.start, asked.frames)))
        )
        return 0
    result = measure(asked)
    finish(result, asked.json)
    return 1 if any("failed" in case for case in result["memory"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
