"""Reading, fitting, restoring and saving a clip: speed against plain PyAV, and memory.

    python -m benchmarks.clip_io --busy --json clip_io.json

A clip of 60 s at 1080p with sound is made first: two seconds of moving pictures, encoded once and
repeated. 81 frames are taken from its middle. Every figure comes from the same run; ratios are what
to compare between machines.

decode     plain PyAV: jump to the keyframe, decode the range's pictures, nothing else
release    the same, each picture turned into RGB the way PyAV does by default, and Pillow's crop
           and bicubic resize, as the release does
fit        `fit_clip` in fit mode `crop to bucket`, which is bit-equal to the release, and in
           `stretch`: decode, convert, resize, float frames of the model's size
save       `save_restored` on unedited frames, sound copied: restore, convert, encode
transcode  plain PyAV: decode the same pictures and encode them with the same settings

Reading is measured with one processor for this process, and with all; saving and transcoding with
all, as x264 takes them. With `--busy` a second series runs beside a process that only computes.
Torch computes with one thread. Medians of the repeats. On a machine that others use, the ratios by
processor seconds say more of the program.

Memory is each case's own process (Linux): its highest resident size during the case, less what it
held before, after a first small clip. `result_mb` are the float frames themselves, which every way
of reading has to hold; `added_mb` is what comes on top of them.
"""

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import torch
from torch import Tensor

from benchmarks.own_process import busy_process, measure_in_child, reset_peak, resident
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
FITS = (Fit.CROP, Fit.STRETCH)
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


def measure_seconds(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds, and median seconds of processors, after one run that does not count."""
    seconds, computed = [], []
    for _ in range(repeats + 1):
        begun, before = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - begun)
        computed.append(time.process_time() - before)
    return statistics.median(seconds[1:]), statistics.median(computed[1:])


@contextmanager
def processors(count: int | None) -> Iterator[int]:
    """Within it, this process has so many processors, or all it may have; how many that are."""
    if not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_of_them, reverse=True)[:count])
    try:
        yield len(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, all_of_them)


def measure_speed(path: Path, wanted: ClipRange, repeats: int) -> dict:
    """Seconds of every case, and the ratios."""
    load = round(os.getloadavg()[0], 2)
    measured = {"load_before": load}
    for name, count in (("one processor", 1), ("all processors", None)):
        with processors(count) as available:
            measured[name] = {
                "processors": available, **measure_reading(path, wanted, repeats)
            }  # fmt: skip
    frames, info = read(path, wanted)
    saving, saved = measure_seconds(
        lambda: save_restored(io.BytesIO(), frames, info, info.audio), repeats
    )
    again, coded = measure_seconds(lambda: transcode(path, wanted), repeats)
    one, all_of_them = measured["one processor"], measured["all processors"]
    return {
        **measured,
        "fit_gain_of_all_processors": {
            fit: one["seconds"][fit] / seconds
            for fit, seconds in all_of_them["seconds"].items()
            if fit in FITS
        },
        "seconds": {"save": saving, "transcode": again},
        "processor_seconds": {"save": saved, "transcode": coded},
        "save_per_transcode": saving / again,
        "save_per_transcode_by_processor_seconds": saved / coded,
        "save_frames_per_second": info.frame_count / saving,
    }


def measure_reading(path: Path, wanted: ClipRange, repeats: int) -> dict:
    """Seconds of reading, and their ratios to plain decoding."""
    works = {
        "decode": lambda: decode(path, wanted),
        "release": lambda: fit_as_release(path, wanted),
        **{str(fit): lambda fit=fit: read(path, wanted, fit) for fit in FITS},
    }
    measured = {name: measure_seconds(work, repeats) for name, work in works.items()}
    seconds = {name: both[0] for name, both in measured.items()}
    computed = {name: both[1] for name, both in measured.items()}
    return {
        "seconds": seconds,
        "processor_seconds": computed,
        "fit_per_decode": {fit: seconds[fit] / seconds["decode"] for fit in FITS},
        "fit_per_decode_by_processor_seconds": {
            fit: computed[fit] / computed["decode"] for fit in FITS
        },
        "crop_per_release": seconds[Fit.CROP] / seconds["release"],
        "fit_frames_per_second": wanted.frames / seconds[Fit.CROP],
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
        series = {"plain": measure_speed(path, wanted, asked.repeats)}
        if asked.busy:
            with busy_process():
                series["busy"] = measure_speed(path, wanted, asked.repeats)
        return {
            "ran": describe_run("av", "pillow", repeats=asked.repeats),
            "clip": clip,
            "range": {"start": wanted.start, "frames": wanted.frames},
            **series,
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
    parser.add_argument("--busy", action="store_true", help="again beside a busy process")
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
