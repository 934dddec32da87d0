"""Reading, fitting, restoring and saving a clip: speed against plain PyAV, and memory; on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/clip_io.py --json clip_io.json

A clip of 60 s at 1080p with sound is made first: two seconds of moving pictures, encoded once and repeated. From its
middle 81 frames are taken. Every figure comes from the same run; ratios are what to compare between machines.

decode     plain PyAV: jump to the keyframe, decode the range's pictures, nothing else
rgb        the same, each picture turned into RGB the way PyAV does by default
release    the same, and Pillow's crop and bicubic resize, as the release does; `fit` has to equal it bit for bit
fit        `fit_clip` in each fit mode: decode, convert, resize, float frames of the model's size
save       `save_restored` on unedited frames, sound copied: restore, convert, encode
transcode  plain PyAV: decode the same pictures and encode them with the same settings
Ratios: seconds of `fit` / seconds of `decode`, and of `release`; seconds of `save` / seconds of `transcode`. Medians of
the repeats.

Memory is each case's own process (Linux): its highest resident size during the case, less what it held before, after a
first small clip. `result_mb` are the float frames themselves, which any way of reading has to hold; `added_mb` is what
comes on top of them.
"""

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
if "sama_core" not in sys.modules:
    sys.path.insert(0, str(ROOT))

import av  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from process_memory import fresh_peak, resident  # noqa: E402

from sama_core.clip import ClipRange, FileSource, Fit, fit_clip, place, resize_frame, save_restored  # noqa: E402
from sama_core.clip.save import Encoding  # noqa: E402

RATE, SOUND_RATE, GROUP_SECONDS = 24, 48_000, 2
MEMORY_CASES = ("fit", "save", "save three times as long", "transcode")


def make_clip(path: Path, width: int, height: int, seconds: int) -> None:
    """A drifting pattern with grain, `GROUP_SECONDS` of it encoded once and repeated, and a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"}
        )
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size, video.codec_context.max_b_frames = GROUP_SECONDS * RATE, 0
        track = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        stored = [
            (bytes(packet), packet.pts, packet.is_keyframe)
            for picture in _pattern(width, height)
            for packet in video.encode(picture)
        ]
        stored += [(bytes(packet), packet.pts, packet.is_keyframe) for packet in video.encode(None)]
        for repeat in range(seconds // GROUP_SECONDS):
            for data, number, is_keyframe in stored:
                container.mux(_packet(video, data, number + repeat * len(stored), is_keyframe))
            container.mux(track.encode(_tone(repeat)))
        container.mux(track.encode(None))


def _pattern(width: int, height: int):
    random = np.random.default_rng(0)
    grain = random.integers(-4, 5, (height, width, 3), dtype=np.int16)
    rows, columns = np.mgrid[:height, :width]
    for number in range(GROUP_SECONDS * RATE):
        wave = 127 + 80 * np.sin((columns + 6 * number) / 60) * np.cos((rows - 3 * number) / 45)
        pixels = np.stack([wave, 255 - wave, np.full_like(wave, 110)], axis=-1) + np.roll(
            grain, number, axis=1
        )
        picture = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
        picture.pts = number
        yield picture.reformat(format="yuv420p")


def _packet(stream: av.VideoStream, data: bytes, number: int, is_keyframe: bool) -> av.Packet:
    packet = av.Packet(data)
    packet.stream, packet.time_base = stream, Fraction(1, RATE)
    packet.pts = packet.dts = number
    packet.duration, packet.is_keyframe = 1, is_keyframe
    return packet


def _tone(part: int) -> av.AudioFrame:
    times = np.arange(GROUP_SECONDS * SOUND_RATE, dtype=np.float32) / SOUND_RATE
    frame = av.AudioFrame.from_ndarray(
        0.3 * np.sin(2764 * times)[None].astype(np.float32), "fltp", "mono"
    )
    frame.sample_rate, frame.pts = SOUND_RATE, part * GROUP_SECONDS * SOUND_RATE
    return frame


def pictures(path: Path, wanted: ClipRange):
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
    return sum(1 for _ in pictures(path, wanted))


def rgb(path: Path, wanted: ClipRange) -> int:
    return sum(len(picture.to_ndarray(format="rgb24")) > 0 for picture in pictures(path, wanted))


def release(path: Path, wanted: ClipRange) -> None:
    """Decode, RGB, crop, resize: the release's steps."""
    for picture in pictures(path, wanted):
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
        for number, picture in enumerate(pictures(path, wanted)):
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


def read(path: Path, wanted: ClipRange, fit: Fit = Fit.CROP):
    """Frames and receipt with sound, as the source node makes them."""
    source = FileSource(str(path))
    frames, info = fit_clip(source, wanted, fit=fit)
    return frames, replace(info, audio=source.audio(info.start_seconds, info.duration_seconds))


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median seconds, after one run that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


def speeds(path: Path, wanted: ClipRange, repeats: int) -> dict:
    """Seconds of every case, and the ratios."""
    plain, theirs = (
        timed(lambda: decode(path, wanted), repeats),
        timed(lambda: release(path, wanted), repeats),
    )
    fits = {str(fit): timed(lambda fit=fit: read(path, wanted, fit), repeats) for fit in Fit}
    frames, info = read(path, wanted)
    saving = timed(lambda: save_restored(io.BytesIO(), frames, info, info.audio), repeats)
    again = timed(lambda: transcode(path, wanted), repeats)
    return {
        "seconds": {
            "decode": plain,
            "rgb": timed(lambda: rgb(path, wanted), repeats),
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


def memory_of(case: str, path: Path, wanted: ClipRange) -> dict:
    """Megabytes that one case adds to this process."""
    with tempfile.TemporaryDirectory() as folder:
        make_clip(Path(folder) / "small.mp4", 64, 64, GROUP_SECONDS)
        small = read(Path(folder) / "small.mp4", ClipRange(0, 5))
        save_restored(Path(folder) / "out.mp4", *small, small[1].audio)
        longer = replace(wanted, frames=wanted.frames * 3) if case == MEMORY_CASES[2] else wanted
        if case == "transcode":
            held, before = torch.empty(0), fresh_peak()
            transcode(path, longer)
        elif case == "fit":
            before = fresh_peak()
            held = read(path, longer)[0]
        else:
            held, info = read(path, longer)
            before = fresh_peak()
            save_restored(Path(folder) / "out.mp4", held, info, info.audio)
        result = held.numel() * held.element_size()
        added = resident("VmHWM") - before - (result if case == "fit" else 0)
    return {
        "frames": longer.frames,
        "result_mb": round(result / 1e6, 1),
        "added_mb": round(added / 1e6, 1),
    }


def in_a_process(case: str, path: Path, wanted: ClipRange) -> dict:
    """One memory case in a new process, so that its peak is its own."""
    asked = [
        "--case",
        case,
        "--clip",
        str(path),
        "--frames",
        str(wanted.frames),
        "--start",
        str(wanted.start),
    ]
    done = subprocess.run(
        [sys.executable, __file__, *asked], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]}
    return json.loads(done.stdout.splitlines()[-1])


def measure(asked: argparse.Namespace) -> dict:
    """Make the clip, and take every figure."""
    wanted = ClipRange(asked.start, asked.frames)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        make_clip(path, asked.width, asked.height, asked.seconds)
        return {
            "clip": {
                "width": asked.width,
                "height": asked.height,
                "seconds": asked.seconds,
                "fps": RATE,
            },
            "range": {"start": wanted.start, "frames": wanted.frames},
            "repeats": asked.repeats,
            **speeds(path, wanted, asked.repeats),
            "memory": {case: in_a_process(case, path, wanted) for case in MEMORY_CASES},
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "av": av.__version__,
            },
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        }


def parsed(arguments: list[str] | None) -> argparse.Namespace:
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
    asked = parsed(arguments)
    torch.set_num_threads(1)
    if asked.case:
        print(json.dumps(memory_of(asked.case, asked.clip, ClipRange(asked.start, asked.frames))))
        return 0
    result = measure(asked)
    text = json.dumps(result, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")
    return 1 if any("failed" in case for case in result["memory"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
