"""What becomes of an edit that cannot be saved: it is kept beside the results, and the error says where."""

import logging
import time
import uuid
from pathlib import Path

import folder_paths
from torch import Tensor

from ..clip import ClipInfo
from ..clip.rescue import write_lossless
from ..errors import ClipError, SamaError, needed

log = logging.getLogger(__name__)

FOLDER = "sama_rescued"
LOAD = ("To go on from it: Load Video → Get Video Components → frames of SAMA Finish Video, with the clip_info of the "
        "same SAMA Source Video.")
IN_MEMORY = ("The edit could not be kept on disk either, but ComfyUI still holds it: mend this and queue the same "
             "workflow again before you close ComfyUI; it is not sampled again.")


def keep_edit(frames: Tensor, info: ClipInfo, tags: dict[str, str] | None = None) -> Path | None:
    """The lossless file in which the fitted edit now is; None where no folder of ComfyUI's takes it."""
    name = f"edit_{time.strftime('%Y%m%d_%H%M%S')}_{uuid.uuid4().hex[:6]}.mov"
    for root in (folder_paths.get_output_directory(), folder_paths.get_user_directory(),
                 folder_paths.get_temp_directory()):
        folder = Path(root) / FOLDER
        made = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_lossless(folder / name, frames[:info.frame_count], info.fps, info.facts.bit_depth > 8, tags)
            return folder / name
        except Exception as failed:  # whatever it is, it must not take the place of what is to be told
            log.info("SAMA: %s did not take the edit: %s", folder, failed)
            if made and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return None


def not_saved(failed: Exception, kept: Path | None) -> ClipError:
    """`failed`, and where the edit is."""
    cause = str(failed) if isinstance(failed, SamaError) else needed(
        "saving", f"{type(failed).__name__}: {failed}", "a video that can be written", "Try format and codec auto.")
    where = IN_MEMORY if kept is None else f"The edit is kept as {kept.parent.parent.name}/{FOLDER}/{kept.name}. {LOAD}"
    return ClipError(f"{cause} {where}")
