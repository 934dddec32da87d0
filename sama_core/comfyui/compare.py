"""SAMA Compare: two clips → the films that the player shows, and their comparison as a VIDEO."""

import uuid
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import Input

from ..clip import ClipRange, FileSource, ImageSource, Seconds, cut_audio
from ..clip.comparison import LONGEST_SIDE, composer, even_size, fit_to, pack
from ..clip.film import KEPT, PLAYER, write_film, write_sound
from ..clip.pairs import Pair, Pairs, Take
from ..clip.sound_pieces import SoundPieces
from ..errors import ClipError, needed
from .made_video import MadeVideo
from .restored_video import RestoredVideo
from .video import on_black, open_video, resolve_range
from .whole_result import WholeVideo

FOLDER = "sama_compare"
"""In ComfyUI's folder for temporary files."""
IMAGE_FPS = 24.0
"""Rate of two IMAGE batches where nothing is said."""
_written: list[Path] = []
"""What the players of this process show."""


def pair(edit: object, source: object | None, fps: float = 0.0) -> Pairs:
    """The pairs of two clips, each a VIDEO or IMAGE; `fps` is the rate of IMAGE, 0 the other's.

    The source may be None where the edit remembers it, as `RestoredVideo` and `WholeVideo` do. One
    that was made of a part of the same file is compared with that part. Raises ClipError for
    anything else.
    """
    own = _find_own_source(edit)
    if source is None and own is None:
        raise ClipError(
            needed(
                "source",
                "nothing",
                "the clip before the edit",
                "Connect it; only the VIDEO of SAMA Finish Video or SAMA Edit Whole Video "
                "remembers its source.",
            )
        )
    takes = {}
    for name, clip in (("source", source), ("edit", edit)):
        if clip is not None and not torch.is_tensor(clip):
            takes[name] = _take_video(clip)
    if source is None or (own is not None and _is_same_file(takes.get("source"), own)):
        takes["source"] = own
    for name, clip in (("source", source), ("edit", edit)):
        if name not in takes:
            other = next(iter(takes.values()), None)
            rate = fps or (other.fps if other is not None else IMAGE_FPS)
            takes[name] = Take(ImageSource(on_black(clip), rate))
    return Pairs(takes["edit"], takes["source"])


def _take_video(video: Input.Video) -> Take:
    """All of a VIDEO as ComfyUI shows it."""
    found = open_video(video)
    return found.take(resolve_range(found, ClipRange(), Seconds()))


def _find_own_source(edit: object) -> Take | None:
    """The part of the source that a finished edit was made of; None for other clips."""
    if isinstance(edit, WholeVideo):
        return edit.source
    if not isinstance(edit, RestoredVideo):
        return None
    info = edit.info
    return Take(
        info.source,
        info.clip_range,
        lambda start, duration: SoundPieces.of_audio(cut_audio(info.audio, Fraction(0), duration)),
    )


def _is_same_file(take: Take | None, own: Take) -> bool:
    """Whether `take` is a file that `own` is a part of."""
    return (
        take is not None
        and isinstance(take.source, FileSource)
        and isinstance(own.source, FileSource)
        and isinstance(take.source.stream, str)
        and take.source.stream == own.source.stream
    )


# --- what the player shows -----------------------------------------------------------------------
def films_for_player(pairs: Pairs, report: Callable[[int, int], None]) -> dict[str, object]:
    """Write what the player shows to ComfyUI's temporary files; returns what it needs to know.

    filename, …    the film, as ComfyUI names results: each of its pictures has both frames of a
                   pair, see `comparison.pack`
    sounds         files of the sides that have any
    width, height  of one of the two, count, fps; times of the frames where their rate varies
    remarks        what the artist should know, as texts

    `report(done, expected)` is called for each pair and may raise.
    """
    name = uuid.uuid4().hex[:12]
    shown = pairs.source.shown_size
    size = even_size(*shown, LONGEST_SIDE)

    def pack_all() -> Iterator[tuple[Fraction, object]]:
        for number, found in enumerate(pairs, 1):
            yield found.time, pack(fit_to(found.edit, size), fit_to(found.source, size))
            report(number, max(number, pairs.most))

    path = _folder() / f"{name}.mp4"
    write_film(path, pack_all(), pairs.fps, PLAYER)
    _written.append(path)
    sounds = {}
    for side in ("source", "edit"):
        sound = getattr(pairs, side).sound(pairs.starts[side], pairs.duration)
        file = f"{name}_{side}.m4a"
        if sound:
            write_sound(_folder() / file, sound)
            sounds[side] = _place(file)
    return {
        **_place(f"{name}.mp4"),
        "sounds": sounds,
        "width": size[0],
        "height": size[1],
        "count": len(pairs.times),
        "fps": float(pairs.fps),
        "times": None if _is_steady(pairs) else [round(float(time), 5) for time in pairs.times],
        "remarks": remarks(pairs, size),
    }


def count_lost_films() -> int:
    """How many films of players were removed; where it rises, a node that ran must run again."""
    return sum(not path.is_file() for path in _written)


def _is_steady(pairs: Pairs) -> bool:
    """Whether frame i is shown at i / fps, to a tenth of its length."""
    return all(
        abs(time * pairs.fps - number) < Fraction(1, 10) for number, time in enumerate(pairs.times)
    )


def _folder() -> Path:
    folder = Path(folder_paths.get_temp_directory()) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _place(file: str) -> dict[str, str]:
    """A file as ComfyUI's `/view` is asked for it."""
    return {"filename": file, "subfolder": FOLDER, "type": "temp"}


def remarks(pairs: Pairs, size: tuple[int, int]) -> list[str]:
    """How clips that do not fit each other are compared; for pairs that were read."""
    found, shown, edited = [], pairs.source.shown_size, pairs.edit.shown_size
    count = len(pairs.times)
    if pairs.longer:
        found.append(
            f"The {pairs.longer} is longer: compared are the first {count} "
            f"{'frame' if count == 1 else 'frames'}, {float(pairs.duration):.4g} s."
        )
    if not pairs.in_step:
        found.append(
            f"The source has {float(pairs.source.fps):.4g} frames per second, the edit "
            f"{float(pairs.edit.fps):.4g}: compared is what both show at the same time."
        )
    if edited != shown:
        same_shape = abs(edited[0] * shown[1] / (edited[1] * shown[0]) - 1) < 0.01
        how = "is scaled to" if same_shape else "is stretched to"
        found.append(
            f"The edit, {edited[0]}x{edited[1]}, {how} the source's {shown[0]}x{shown[1]}."
        )
    takes = {"source": pairs.source, "edit": pairs.edit}
    kinds = {name: take.source.facts().colours.hdr for name, take in takes.items()}
    if bright := [f"the {name} ({kind})" for name, kind in kinds.items() if kind]:
        found.append(
            f"HDR: {' and '.join(bright)}. Compared are the values as they are stored, "
            "paler than a screen for HDR shows them."
        )
    width, height = even_size(*shown)
    if max(shown) > LONGEST_SIDE:
        found.append(
            f"The player shows {size[0]}x{size[1]}; each clip of the output {width}x{height}."
        )
    elif (width, height) != shown:
        found.append(f"Sides of a video are even: each clip of the output has {width}x{height}.")
    return found


# --- the comparison as a VIDEO -------------------------------------------------------------------
def comparison_video(pairs: Pairs, layout: str, position: float) -> MadeVideo:
    """The comparison as a VIDEO at the source's size, with the edit's sound or else the source's.

    It is written when a node uses it. `pairs` were read before: their count and times are used.
    """
    size, count, duration = even_size(*pairs.source.shown_size), len(pairs.times), pairs.duration
    fps, starts = pairs.fps, dict(pairs.starts)

    def make() -> Path:
        path = _folder() / f"{uuid.uuid4().hex[:12]}_comparison.mp4"
        again = Pairs(pairs.edit, pairs.source)
        compose, report = composer(layout, position, count), progress()

        def compose_all() -> Iterator[tuple[Fraction, object]]:
            for number, found in enumerate(again):
                yield found.time, compose(number, *_at(found, size))
                report(number + 1, count)

        sound = pairs.edit.sound(starts["edit"], duration) or pairs.source.sound(
            starts["source"], duration
        )
        write_film(path, compose_all(), fps, KEPT, sound, duration)
        return path

    return MadeVideo(make)


def _at(found: Pair, size: tuple[int, int]) -> tuple:
    return fit_to(found.edit, size), fit_to(found.source, size)


def progress() -> Callable[[int, int], None]:
    """A function that shows the running node's progress, and raises when the user interrupts."""
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, max(done, total))

    return report
