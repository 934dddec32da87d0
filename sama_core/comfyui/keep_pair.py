"""SAMA Keep Pair: an accepted edit becomes a row of training data, whatever editor made it.

    source, result ──▶ output/sama_pairs/COLLECTION/words_id_source.mp4, words_id_target.mp4
    instruction    ──▶ a row of rows.jsonl beside them, which a recipe takes as `data`

Both clips are written frame by frame with each other, as SAMA Compare pairs them: one length, one
rate. Two single images become PNG files. The id says what a pair shows and asks for, so that the
same pair is kept once.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import folder_paths
import numpy as np
from PIL import Image

from ..clip.comparison import even_size, fit_to
from ..clip.film import Look, write_film
from ..clip.pairs import Pair, Pairs, differ_in_shape
from ..clip.save import complete_or_absent
from ..errors import ClipError, InputError, needed
from ..folders.result_names import is_device
from ..text import clean_instruction
from ..training.rows.append_row import append_row, find_row

FOLDER, ROWS = "sama_pairs", "rows.jsonl"
"""In ComfyUI's output folder; and the file of rows in a collection."""
LOOK = Look(crf=8, preset="faster")
"""Training data: nearly without loss."""
_NAME = re.compile(r"\w[\w .-]{0,63}")
Report = Callable[[int, int], None]

_there: set[Path] = set()
"""The files that this ComfyUI has kept or found, while they are there."""
_lost: list[Path] = []
"""Those that were removed since, in order."""


@dataclass(frozen=True)
class Kept:
    """A pair in its collection."""

    number: int
    """Its row, from 1."""
    rows: Path
    """The file of rows."""
    is_new: bool
    """Whether it was kept just now; else it was there."""
    shape: str
    """Frames, size and rate, for people."""

    def describe(self) -> str:
        """What was kept, and how to train on it."""
        what = "Kept as" if self.is_new else "Kept already, as"
        place = f"output/{FOLDER}/{self.rows.parent.name}"
        return f'{what} pair {self.number} of {place}\n{self.shape}\ndata = "{self.rows}"'


def why_not_a_collection(name: str) -> str | None:
    """Why a name is none of a folder, in one sentence; None for a good one."""
    if _NAME.fullmatch(name) and not is_device(name) and name[-1] not in " .":
        return None
    fix = "Use letters, digits, spaces, - and _."
    return needed("collection", repr(name), "the plain name of a folder, up to 64 letters", fix)


def keep_pair(
    pairs: Pairs, instruction: str, collection: str, images: bool, report: Report
) -> Kept:
    """Write both clips and add their row; `images`: both are single IMAGE frames.

    Raises ClipError for clips that are no pair, InputError for a name that is no folder's, and what
    `report(done, expected)` raises.
    """
    wrong = why_not_a_collection(collection)
    if wrong:
        raise InputError(wrong)
    text = clean_instruction(instruction)
    _check_shapes(pairs)
    key = _identify(pairs, text, report)
    folder = Path(folder_paths.get_output_directory()) / FOLDER / collection
    name = f"{_slug(text)}_{key}"
    ending = ".png" if images else ".mp4"
    files = {role: folder / f"{name}_{role}{ending}" for role in ("source", "target")}
    shape = _describe(pairs, images)
    there = find_row(folder / ROWS, key)
    for role, path in files.items():
        if not (there and path.is_file()):
            _make_folder(folder)
            _write(path, pairs, role, report)
    row = {"source": files["source"].name, "target": files["target"].name, "instruction": text}
    number = append_row(folder / ROWS, {**row, "id": key})
    _there.update((*files.values(), folder / ROWS))
    return Kept(number, folder / ROWS, not there, shape)


def count_losses() -> int:
    """How often something that was kept was removed since: where it rises, what ComfyUI knows of
    a node that kept a pair is no longer true.
    """
    for path in [path for path in _there if not path.is_file()]:
        _there.discard(path)
        _lost.append(path)
    return len(_lost)


def _check_shapes(pairs: Pairs) -> None:
    (width, height), (other_width, other_height) = pairs.source.shown_size, pairs.edit.shown_size
    if differ_in_shape((width, height), (other_width, other_height)):
        raise ClipError(
            needed(
                "result",
                f"{other_width}x{other_height}",
                f"the shape of its source, {width}x{height}",
                "Connect the frames that were edited as source, or the VIDEO of SAMA Finish Video.",
            )
        )


def _identify(pairs: Pairs, text: str, report: Report) -> str:
    """12 digits of what both clips show and what is asked. ClipError where nothing was edited."""
    digest, changed = hashlib.blake2b(text.encode(), digest_size=6), False
    for number, one in enumerate(pairs, 1):
        report(number, pairs.most)
        for frame in (one.source, one.edit):
            digest.update(repr(frame.shape).encode() + np.ascontiguousarray(frame).tobytes())
        changed = changed or not np.array_equal(one.source, one.edit)
    digest.update(f"{pairs.fps}".encode())
    if not pairs.times:
        fix = "Check both clips."
        raise ClipError(needed("source and result", "no frame in common", "one at least", fix))
    if not changed:
        fix = "Connect the clip before the edit as source."
        raise ClipError(needed("source and result", "the same frames", "an edit", fix))
    return digest.hexdigest()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        why = failed.strerror or str(failed)
        fix = "Free disk space, check the output folder's rights, or choose another collection."
        raise InputError(needed(f"folder {folder}", why, "one to write to", fix)) from failed


def _write(path: Path, pairs: Pairs, role: str, report: Report) -> None:
    """Write one clip of the pairs, or the one image."""
    if path.suffix == ".png":
        frame = next(_frames(pairs, role, report, even=False))[1]
        with complete_or_absent(path) as partial:
            Image.fromarray(frame).save(partial, format="PNG")
        return
    write_film(path, _frames(pairs, role, report, even=True), pairs.fps, LOOK)


def _frames(
    pairs: Pairs, role: str, report: Report, even: bool
) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Time and frame of one clip, in square pixels; at an even size for a video."""
    take = pairs.source if role == "source" else pairs.edit
    size = even_size(*take.shown_size) if even else take.shown_size
    for number, one in enumerate(pairs, 1):
        report(number, pairs.most)
        yield one.time, fit_to(_frame(one, role), size)


def _frame(one: Pair, role: str) -> np.ndarray:
    return one.source if role == "source" else one.edit


def _describe(pairs: Pairs, images: bool) -> str:
    size = "{}x{}".format(*pairs.edit.shown_size)
    if images:
        return f"two images, {size}"
    return f"{len(pairs.times)} frames of {size} at {float(pairs.fps):.5g} per second"


def _slug(text: str) -> str:
    """The first words of an instruction, as a part of a file's name."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:40].strip("-") or "pair"
