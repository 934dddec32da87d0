"""Takes the sound of clips through reading and saving, in a process of its own: `python -m …
sound_worker FILE …`.

One JSON line per file: what was heard of it, what the result holds. A file that kills the process
has none.
"""

import io
import json
import sys

import av

from . import imports

imports.install()

from sama_core.clip import ClipRange, FileSource, fit_clip, save_restored  # noqa: E402
from sama_core.clip.sound import fitting_sound  # noqa: E402

from .sound_files import pitches  # noqa: E402


def main() -> None:
    av.logging.set_level(av.logging.PANIC)
    for path in sys.argv[1:]:
        source, saved = FileSource(path), io.BytesIO()
        frames, info = fit_clip(source, ClipRange(), 1024)
        info = info.with_sound(source.sound(info.start_seconds, info.duration_seconds))
        heard = info.audio["waveform"]
        if heard.shape[1] <= 8 and heard.shape[1] != 7:
            save_restored(saved, frames, info, {**info.audio, "waveform": heard.clone() * 0.9})
            back = FileSource(io.BytesIO(saved.getvalue())).audio(0, 0)["waveform"]
        else:
            back = heard
        print(
            json.dumps(
                {
                    "frames": info.frame_count,
                    "shape": list(heard.shape),
                    "pitches": pitches(heard[0].numpy()),
                    "saved": pitches(back[0].numpy()),
                    "remark": fitting_sound(info, info.audio)[1] or "",
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
