"""Small jobs on clips that need the environment's packages: `python -m sama_core.launch.clip_task probe|shapes FILE`.

The last line of standard error is a sentence for the artist if the job fails.
"""

import json
import sys
from fractions import Fraction


def probe(path: str) -> dict:
    """`width`, `height`, `fps`, `frames` (0 if the file does not say). Raises ValueError if it is no video."""
    import av
    try:
        with av.open(path) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise ValueError("it has no video in it, needs a video file (mp4, mov, mkv, webm …)")
            next(container.decode(stream))
            return {"width": stream.width, "height": stream.height, "frames": stream.frames,
                    "fps": str(stream.average_rate or 0)}
    except (av.error.FFmpegError, StopIteration, OSError) as error:
        reason = getattr(error, "strerror", None) or "no picture in it can be read"
        raise ValueError(f"it cannot be read as a video ({reason}), needs a video file (mp4, mov, mkv, webm …)"
                         ) from error


def shapes(path: str) -> dict:
    """Writes the clip of moving shapes and probes it."""
    from ..clip import moving_shapes, write_clip
    write_clip(path, moving_shapes(frames=17, width=128, height=128, seed=0), fps=Fraction(12))
    return probe(path)


if __name__ == "__main__":
    task = {"probe": probe, "shapes": shapes}[sys.argv[1]]
    try:
        print(json.dumps(task(sys.argv[2])))
    except ValueError as error:
        sys.exit(str(error))
