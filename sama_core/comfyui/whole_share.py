"""A share of an edit of a whole video, for several ComfyUIs that work on one clip.

They keep what is finished in one folder, see `whole_video.jobs_folder`. Each samples some segments,
then makes some pieces; who makes which is said from outside. A last one edits the whole video as
ever, and finds all of it done. Files appear whole or not at all, so two that make the same do no
harm: equal machines write the same bytes.
"""

import os
import uuid
import weakref
from pathlib import Path
from typing import Any

from ..errors import SamplingError, needed
from .model import lattice_of_model
from .whole_source import WholeSource
from .whole_video import WholeEdit, jobs_folder

SEGMENTS, PIECES = "segments", "pieces"
MARK = ".folder_id"
"""File in the folder of jobs by which it is known from several machines."""


_looked_at: tuple[weakref.ref, tuple, WholeSource] | None = None
"""The clip of the last share: looking at an hour of video takes minutes."""


def open_share(edit: WholeEdit, video, mask=None, mask_video=None) -> None:
    """`edit.open`; a clip without a mask that was looked at last, and is unchanged, is not looked
    at again.
    """
    global _looked_at  # noqa: PLW0603
    whole = edit.whole
    asked = whole.clip_range, whole.area, whole.fit, lattice_of_model(edit.model)
    known = _looked_at if mask is None and mask_video is None else None
    if known and known[0]() is video and known[1] == asked and known[2].info.source.is_unchanged():
        edit.open(video, source=known[2])
        return
    edit.open(video, mask, mask_video)
    if mask is None and mask_video is None:
        _looked_at = weakref.ref(video), asked, edit.source


def make_share(edit: WholeEdit, part: str, first: int, count: int) -> dict[str, Any]:
    """Sample the segments, or make the pieces, from `first` on, `count` of them: 0 does nothing.

    Returns the edit's `key`, its numbers of `segments` and `pieces`, how many segments are `kept`,
    and the id of the `folder` of jobs. `edit` is open. Raises SamplingError where the edit cannot
    be told from others, or where pieces are asked for before all segments are there.
    """
    if edit.key is None:
        got = f"a model that cannot be described ({edit.identity.obstacle})"
        fix = "Use the model without what other packs put on it."
        raise SamplingError(needed("an edit for several servers", got, "one that can", fix))
    numbers = range(first, first + count)
    if count and not edit.job.result.is_file():
        with edit.job.kept_on_failure(found_again=True):
            edit.begin()
            if part == SEGMENTS:
                edit.sample(numbers)
            else:
                edit.make_pieces(numbers)
    kept = sum(edit.job.has_latent(number) for number in range(len(edit.segments)))
    return {
        "key": edit.key,
        "segments": len(edit.segments),
        "pieces": len(edit.pieces),
        "kept": kept,
        "folder": folder_id(jobs_folder()),
    }


def folder_id(folder: Path) -> str:
    """What a folder is known by, from wherever it is seen; written at the first time.

    Raises SamplingError where it cannot be written.
    """
    try:
        return _mark(folder)
    except OSError as failed:
        got = f"{folder}, {failed.strerror or failed}"
        fix = "Set SAMA_SHARED_JOBS to a folder that this server may write to."
        raise SamplingError(needed("the folder of shared edits", got, "a folder", fix)) from failed


def _mark(folder: Path) -> str:
    mark, part = folder / MARK, folder / f".{uuid.uuid4().hex}.part"
    if not mark.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(uuid.uuid4().hex, encoding="utf-8")
        try:
            os.link(part, mark)  # never over one that another server has just written
        except FileExistsError:
            pass
        except OSError:
            part.replace(mark)
        part.unlink(missing_ok=True)
    return mark.read_text(encoding="utf-8")
