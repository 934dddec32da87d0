"""Small jobs on clips that need the environment's packages, and how commands run them there.

As a program: `python -m sama_core.launch.clip_jobs JOB FILE …`, where JOB is `probe` or `picture`,
prints `{"answer": …}`. If the job fails, the last line on standard error says why, in words for
the user. `lines` answers jobs that come as JSON on standard input, for `run.py batch`.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

from ..errors import needed
from .batch.frame_jobs import frames_size, join_frames, measure_row
from .places import Places, say_missing, write_new
from .progress import LaunchError
from .setup.messages import last_message
from .setup.processes import answer

COLUMNS, WIDEST, GAP = 5, 320, 8
"""Of the picture: frames per row, largest width of a frame, and gap in pixels."""


def probe(path: str) -> dict:
    """`width` and `height` as it is shown, `fps`, `frames` (0 if the file does not say) of a clip.

    Raises ValueError if the file is no video.
    """
    import av

    try:
        # Open the name as a file even if it looks like an address, and do not let a playlist lead
        # into the network.
        with av.open(
            f"file:{os.path.abspath(path)}", container_options={"protocol_whitelist": "file"}
        ) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise ValueError(
                    "it has no video in it, needs a video file (mp4, mov, mkv, webm …)"
                )
            turned = next(container.decode(stream)).rotation % 180
            width, height = stream.width, stream.height
            return {
                "width": height if turned else width,
                "height": width if turned else height,
                "frames": stream.frames,
                "fps": str(stream.average_rate or 0),
            }
    except (av.error.FFmpegError, StopIteration, OSError) as error:
        reason = getattr(error, "strerror", None) or "no picture in it can be read"
        raise ValueError(
            _as_the_node_says(path)
            or f"it cannot be read as a video ({reason}), needs a video file "
            "(mp4, mov, mkv, webm …)"
        ) from error


def _as_the_node_says(path: str) -> str | None:
    """The error of SAMA Source Video for an unreadable file; None if the node can read it.

    The node knows more kinds of files. Its imports stand here because they load torch, which a
    readable clip need not wait for.
    """
    from ..clip import ClipRange, FileSource
    from ..errors import ClipError

    try:
        next(iter(FileSource(path).frames(ClipRange(frames=1))), None)
    except ClipError as error:
        return str(error).removeprefix(f"video '{Path(path).name}': ")
    return None


def picture(source: str, edited: str, target: str) -> str:
    """Writes a PNG with up to five source frames above the same frames of the edit.

    Both clips start at the same frame. Returns the path; an existing file is kept and another name
    taken, as for the clip itself.
    """
    from PIL import Image

    from ..clip import ClipRange, FileSource

    clips = FileSource(source), FileSource(edited)
    count, facts = sum(1 for _ in clips[1].frames(ClipRange())), clips[0].facts()
    shown, width = min(COLUMNS, count), min(facts.width, WIDEST)
    height = round(facts.height * width / facts.width)
    chosen = [round(column * (count - 1) / max(shown - 1, 1)) for column in range(shown)]
    sheet = Image.new("RGB", (shown * (width + GAP) - GAP, 2 * height + GAP), "white")
    for row, clip in enumerate(clips):
        for number, frame in enumerate(clip.frames(ClipRange(frames=count))):
            if number in chosen:
                place = (chosen.index(number) * (width + GAP), row * (height + GAP))
                sheet.paste(Image.fromarray(frame).resize((width, height)), place)
    data = BytesIO()
    sheet.save(data, "PNG")
    return str(write_new(Path(target), [data.getvalue()], "--picture"))


def check_clip(given: str) -> Path:
    """The clip's absolute path. Raises LaunchError if the file is absent, unreadable or empty."""
    clip = Path(os.path.abspath(os.path.expanduser(given)))
    if not os.path.isfile(clip):
        got = say_missing(clip)
        raise LaunchError(needed(f"--video {clip}", got, "a video file", "Check the path."))
    if not os.access(clip, os.R_OK) or not clip.stat().st_size:
        got = "an empty file" if os.access(clip, os.R_OK) else "a file that may not be read"
        raise LaunchError(needed(f"--video {clip}", got, "a video file", "Check the file."))
    return clip


def clip_facts(clip: Path, places: Places) -> dict:
    """`probe` of a clip, run in the environment. Raises LaunchError if it is no video."""
    return run_job("probe", places, clip)


def describe(facts: dict) -> str:
    """A clip's facts in one line."""
    frames = f"{facts['frames']} frames, " if facts["frames"] else ""
    return f"{frames}{facts['width']}x{facts['height']}, {float(Fraction(facts['fps'])):g} fps"


def run_job(job: str, places: Places, *files: Path) -> Any:
    """Runs a job on `files` in the environment and returns its answer.

    Raises LaunchError with the job's own message if it fails.
    """
    command: list[str | Path] = [places.python, "-m", "sama_core.launch.clip_jobs", job, *files]
    what = files[-1].name
    said = answer(command, what, cwd=places.root, log=places.log("clip"))
    return last_message(said, what)["answer"]


JOBS: dict[str, Callable[..., object]] = {"probe": probe, "picture": picture}
"""Jobs by name; each takes the names of its files."""


def clip_size(clip: str | list[str]) -> dict:
    """`width`, `height` and `frames` (0 where the file does not say) of a video, or of frames."""
    return probe(clip) if isinstance(clip, str) else frames_size(clip)


BATCH_JOBS: dict[str, Callable[..., object]] = {
    "size": clip_size,
    "join": join_frames,
    "measure": measure_row,
}
"""Jobs that come in lines, `{"job": …, "arguments": […]}`, for as long as there are some."""


def serve_lines() -> None:
    """Answers each line of standard input with `{"answer": …}` or `{"error": …}`."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            told = {"answer": BATCH_JOBS[asked["job"]](*asked["arguments"])}
        except Exception as error:
            told = {"error": str(error) or type(error).__name__}
        print(json.dumps(told), file=answers, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """The command of this module. Exits with the job's message if it fails."""
    parser = argparse.ArgumentParser(
        "python -m sama_core.launch.clip_jobs", description=__doc__.splitlines()[0]
    )
    parser.add_argument("job", choices=[*JOBS, "lines"])
    parser.add_argument("files", nargs="*", help="probe: CLIP; picture: CLIP RESULT TARGET")
    asked = parser.parse_args(arguments)
    if asked.job == "lines":
        return serve_lines()
    try:
        print(json.dumps({"answer": JOBS[asked.job](*asked.files)}))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
