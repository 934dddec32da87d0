"""The edit of a whole video as a VIDEO: a file that is there already, and cleared when it is saved.

The file stays with its job until a node has saved it outside of ComfyUI's temporary folder, so that
a run that is broken off while it saves is not edited again. Then it moves to the temporary folder,
where it can be saved once more as long as this ComfyUI runs.
"""

import logging
import os
import shutil
import uuid
from pathlib import Path

import folder_paths

from ..clip.save import complete_or_absent
from ..errors import ClipError, needed
from ..long.whole_job import WholeJob
from .made_video import MadeVideo

log = logging.getLogger(__name__)


class WholeVideo(MadeVideo):
    """What ComfyUI's `VideoFromFile` is of a job's result."""

    def __init__(self, job: WholeJob, keep: bool = False):
        """`keep` leaves the job as it is when the result is saved."""
        super().__init__(_refuse)
        self.job, self.keep = job, keep
        self._path = job.result

    def save_to(self, path, *arguments, **keywords) -> None:
        """As ComfyUI saves a file: packets are copied where format, codec and quality are auto.

        A file appears whole or not at all.
        """
        if not isinstance(path, str | os.PathLike):
            self.file().save_to(path, *arguments, **keywords)
            return
        with complete_or_absent(Path(path)) as unfinished:
            self.file().save_to(str(unfinished), *arguments, **keywords)
        if not self.keep and not _is_temporary(Path(path)):
            self._clear()

    def _clear(self) -> None:
        """Remove the job; its result moves to the temporary folder."""
        if not self._path.is_relative_to(self.job.folder):
            return
        place = Path(folder_paths.get_temp_directory()) / f"sama_{uuid.uuid4().hex}.mp4"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self._path, place)
        except OSError as failed:
            log.info("SAMA: the edit stays in %s (%s).", self.job.folder.name, failed)
            return
        self._path = place
        self.job.remove()


def _refuse() -> Path:
    got, fix = "a file that was removed since", "Queue the workflow again."
    raise ClipError(needed("the edited video", got, "the file", fix))


def _is_temporary(path: Path) -> bool:
    return path.resolve().is_relative_to(Path(folder_paths.get_temp_directory()).resolve())
