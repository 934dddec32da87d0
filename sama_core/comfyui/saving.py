"""Saving the result: checked before the work begins, and the edit is kept where saving fails.

Checked are format, size, name, folder and free space of each Save Video in the queued graph. An
edit that cannot be saved is written losslessly beside the results, and the error says where.
"""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import folder_paths
from torch import Tensor

from ..clip import ClipInfo
from ..clip.save import check_size, write_lossless
from ..errors import ClipError, SamaError, needed
from .transcode import check_offered, resolve_file

LEAST_BYTES = 0.005
"""Bytes per pixel and frame, fewer than in any real video, so that no possible save is refused."""
CLIP_INFO = 1
"""The output of SAMA Source Video that SAMA Finish Video takes."""
FOLDER = "sama_rescued"
"""The folder for edits that could not be saved."""
LOAD = (
    "To continue from it: Load Video → Get Video Components → frames of SAMA Finish Video, with "
    "the clip_info of the same SAMA Source Video."
)
IN_MEMORY = (
    "The edit could not be kept on disk either, but ComfyUI still holds it: solve this and queue "
    "the same workflow again before you close ComfyUI; it is not sampled again."
)

log = logging.getLogger(__name__)


# --- before the work -----------------------------------------------------------------------------


def check_saving(prompt: Mapping | None, node_id: str | None, info: ClipInfo) -> None:
    """Check each Save Video behind the source node `node_id` in the queued graph `prompt`.

    Raises ClipError where saving is certain to fail. Linked settings, and videos that pass through
    other nodes, are not known yet and are not checked.
    """
    for settings in _savers(
        prompt or {}, lambda given: given.get("clip_info") == [node_id, CLIP_INFO]
    ):
        check_size(info.width, info.height)
        _check(
            settings,
            info.width,
            info.height,
            LEAST_BYTES * info.width * info.height * info.frame_count,
        )


def check_saving_of(prompt: Mapping | None, node_id: str | None) -> None:
    """As `check_saving`, for the editing node `node_id`, whose source may be cached by ComfyUI.

    The clip's own size is not known here and is not checked.
    """
    prompt = prompt or {}
    for settings in _savers(
        prompt, lambda given: node_id in _nodes_behind(prompt, given.get("frames"))
    ):
        _check(settings, 2, 2, 0)


def check_saving_behind(prompt: Mapping | None, node_id: str | None, info: ClipInfo) -> None:
    """As `check_saving`, for each Save Video that takes the VIDEO of the node `node_id` itself."""
    least = LEAST_BYTES * info.width * info.height * info.frame_count
    for node in (prompt or {}).values():
        given = node.get("inputs", {})
        if node.get("class_type") == "SaveVideo" and given.get("video") == [node_id, 0]:
            check_size(info.width, info.height)
            _check(given, info.width, info.height, least)
            _check_copied(given, info.width, info.height)


def _check_copied(settings: Mapping, width: int, height: int) -> None:
    """Raises ClipError for odd sides where ComfyUI encodes a file again, and takes even ones."""
    again = "re-encode" in settings.values() or settings.get("format") == "mkv"
    if again and (width % 2 or height % 2):
        fix = "Set format and codec to auto in Save Video: then it is copied."
        got, need = f"{width}x{height}", "even sides for a file that ComfyUI encodes again"
        raise ClipError(needed("video size", got, need, fix))


def _check(settings: Mapping, width: int, height: int, least: float) -> None:
    """Check format and place of a Save Video with these inputs; it needs `least` bytes."""
    container, codec = resolve_file(
        "edit.mp4",
        _text(settings, "format"),
        _text(settings, "format.codec") or _text(settings, "codec"),
    )
    check_offered(container, codec, width, height)
    prefix = settings.get("filename_prefix")
    if isinstance(prefix, str) and "%" not in prefix:
        _check_place(prefix, container, least)


def _savers(prompt: Mapping, is_ours: Callable[[Mapping], bool]) -> Iterator[Mapping]:
    """The inputs of every Save Video behind a SAMA Finish Video whose inputs are `is_ours`."""

    def inputs(kind: str) -> dict[str, Mapping]:
        return {
            name: node.get("inputs", {})
            for name, node in prompt.items()
            if node.get("class_type") == kind
        }

    finished = [name for name, given in inputs("SAMAFinishVideo").items() if is_ours(given)]
    return (
        given
        for given in inputs("SaveVideo").values()
        if given.get("video") in [[name, 0] for name in finished]
    )


def _nodes_behind(prompt: Mapping, link: object) -> set[str]:
    """Ids of the node that `link` names and of all nodes that it depends on."""
    found, links = set(), [link]
    while links:
        link = links.pop()
        # Other lists are values of widgets, such as points or colours.
        is_link = (
            isinstance(link, list)
            and len(link) == 2
            and isinstance(link[0], str)
            and link[0] in prompt
        )
        if is_link and link[0] not in found:
            found.add(link[0])
            links += prompt[link[0]].get("inputs", {}).values()
    return found


def _text(settings: Mapping, name: str) -> str | None:
    """A setting that is a text; None for a link."""
    value = settings.get(name)
    return value if isinstance(value, str) else None


def _check_place(prefix: str, container: str, least: float) -> None:
    """Check that the folder takes a file of that name, and has `least` bytes free."""
    output = Path(folder_paths.get_output_directory()).resolve()
    path = Path(os.path.normpath(output / f"{prefix}_00001_.{container}"))
    if not path.is_relative_to(output):
        raise ClipError(
            needed(
                "Save Video's filename_prefix",
                prefix,
                "a place in the output folder",
                "Remove .. and the leading / from it.",
            )
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as failed:
        raise _no_place(prefix, failed) from failed
    probe = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        probe.touch()
    except OSError as failed:
        raise _no_place(prefix, failed) from failed
    finally:
        probe.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < least:
        raise ClipError(
            needed(
                "room for the result",
                f"{free / 1e6:.1f} MB free in the output folder",
                f"at least {least / 1e6:.1f} MB",
                "Free some disk space.",
            )
        )


def _no_place(prefix: str, failed: Exception) -> ClipError:
    got = getattr(failed, "strerror", None) or str(failed)
    return ClipError(
        needed(
            "Save Video's filename_prefix",
            f"{prefix[:60]} ({got})",
            "a name and folder that can be written to",
            "Choose a shorter or another name.",
        )
    )


# --- where saving fails --------------------------------------------------------------------------
def keep_edit(frames: Tensor, info: ClipInfo, tags: dict[str, str] | None = None) -> Path | None:
    """Write the fitted edit losslessly; returns the file, or None where no folder takes it.

    `frames` are (4k+1, H, W, 3) of the clip that `info` describes. The folders are ComfyUI's, for
    outputs, for the user, and for temporary files.
    """
    name = f"edit_{time.strftime('%Y%m%d_%H%M%S')}_{uuid.uuid4().hex[:6]}.mov"
    for root in (
        folder_paths.get_output_directory(),
        folder_paths.get_user_directory(),
        folder_paths.get_temp_directory(),
    ):
        folder = Path(root) / FOLDER
        made = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_lossless(
                folder / name, frames[: info.frame_count], info.fps, info.facts.bit_depth > 8, tags
            )
            return folder / name
        except Exception as failed:  # it must not replace the error that is being reported
            log.info("SAMA: %s did not take the edit: %s", folder, failed)
            if made and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return None


def not_saved(failed: Exception, kept: Path | None) -> ClipError:
    """The error for `failed`, with the place where the edit is kept."""
    cause = (
        str(failed)
        if isinstance(failed, SamaError)
        else needed(
            "saving",
            f"{type(failed).__name__}: {failed}",
            "a video that can be written",
            "Try format and codec auto.",
        )
    )
    where = (
        IN_MEMORY
        if kept is None
        else f"The edit is kept as {kept.parent.parent.name}/{FOLDER}/{kept.name}. {LOAD}"
    )
    return ClipError(f"{cause} {where}")
