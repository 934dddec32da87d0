"""The edit of a whole video as a VIDEO: a file that is there already, and cleared when it is saved.

The file stays with its job until a node has saved it outside of ComfyUI's temporary folder, so that
a run that is broken off while it saves is not edited again. Nodes get it by another name in the
temporary folder, which stays when the job is cleared: they may read it as long as this ComfyUI
runs. Copies of one clip in a list are one job: what is saved first leaves its file to the others.
"""

import contextlib
import logging
import os
import shutil
import uuid
import weakref
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import folder_paths

from ..clip.own_priority import keep_priority
from ..clip.pairs import Take
from ..clip.save import complete_or_absent
from ..errors import ClipError, needed
from ..long.whole_job import WholeJob
from .made_video import MadeVideo
from .node_progress import running_place
from .running_graph import sign_running_nodes

log = logging.getLogger(__name__)

RESULTS = 8
"""Results that stay in the temporary folder beside those that nodes of the running graph have
given, in this run or an earlier one; an edit whose file went is made again when asked.
"""

_held: "weakref.WeakSet[WholeVideo]" = weakref.WeakSet()
"""All that anything still refers to."""
_given: "dict[str | None, weakref.WeakSet[WholeVideo]]" = {}
"""What nodes gave, by their settings: ComfyUI hands it to every node with the same inputs, a pasted
copy say, and may keep what was made with others.
"""
_by_graph: "dict[str, tuple[str | None, weakref.WeakSet[WholeVideo]]]" = {}
"""What nodes gave, by their signatures, see `running_graph`, and the id of the run that made it."""
_cleared: dict[Path, Path] = {}
"""Files in the temporary folder of jobs that are cleared, by the folders of the jobs."""
_asked: dict[str | None, str] = {}
"""The settings of nodes in the run that is under way, by their ids."""
_of_run: dict[str, set[Path]] = {}
"""Names in the temporary folder that the run with this id has given; of the last run alone."""
_losses: Counter[str] = Counter()
"""See `count_losses`."""


class WholeVideo(MadeVideo):
    """What ComfyUI's `VideoFromFile` is of a job's result."""

    def __init__(self, job: WholeJob, keep: bool = False, source: Take | None = None):
        """`keep` leaves the job as it is when the result is saved; `source` is what was edited.

        Other processes leave the job to this one until the result is saved, or nothing refers to it
        any more.
        """
        super().__init__(self._place)
        self.job, self.keep, self.source = job, keep, source
        self._use = job.use() if job.result.is_file() else None
        _held.add(self)

    def save_to(self, path, *arguments, **keywords) -> None:
        """As ComfyUI saves a file: packets are copied where format, codec and quality are auto.

        A file appears whole or not at all.
        """
        if not isinstance(path, str | os.PathLike):
            self.file().save_to(path, *arguments, **keywords)
            return
        with complete_or_absent(Path(path)) as unfinished, keep_priority():
            self.file().save_to(str(unfinished), *arguments, **keywords)
        if not self.keep and not _is_temporary(Path(path)):
            self._clear()

    def _clear(self) -> None:
        """Remove the job, unless another ComfyUI works on it; the file stays in the temporary
        folder.
        """
        mine = [video for video in _held if video.job == self.job]
        try:
            with self.job.emptied_after() as alone:
                if alone:
                    self._move_result()
        except OSError as failed:
            log.info("SAMA: the edit stays in %s (%s).", self.job.folder.name, failed)
            return
        for video in mine:
            video._use = None
        if not alone:
            return
        for folder in [folder for folder, file in _cleared.items() if not file.is_file()]:
            del _cleared[folder]
        if self._path:
            _cleared[self.job.folder] = self._path
        for video in mine:
            if not (video._path and video._path.is_file()):
                video._path = self._path
            video.keep = True  # what comes to lie there later is another run's

    def _move_result(self) -> None:
        """Move the job's file into the temporary folder, unless it has a name of its own there.
        Raises OSError.
        """
        path = self._path
        if path is None or path.is_symlink() or path == self.job.result:
            place = _new_place()
            shutil.move(self.job.result, place)
            self._path = place if path in (None, self.job.result) else place.replace(path)

    def is_there(self) -> bool:
        """Whether the file can still be had."""
        return self.job.result.is_file() or bool(self._path and self._path.is_file())

    def _place(self) -> Path:
        """The file by a name that stays; by its own where the disks have no links.

        Raises ClipError where it was removed.
        """
        result = self.job.result
        if not result.is_file():
            got, fix = "a file that was removed since", "Queue the workflow again."
            raise ClipError(needed("the edited video", got, "the file", fix))
        for link in (os.link, os.symlink):
            with contextlib.suppress(OSError):
                place = _new_place()
                link(result, place)
                return place
        return result


def remember(node_id: str | None, video: WholeVideo) -> None:
    """Keep in mind that the node `node_id` gave a video."""
    for settings in [settings for settings, videos in _given.items() if not videos]:
        del _given[settings]
    _given.setdefault(_asked.get(node_id), weakref.WeakSet()).add(video)
    for sign in [sign for sign, (_, videos) in _by_graph.items() if not videos]:
        del _by_graph[sign]
    run, sign = _find_run(), sign_running_nodes().get(node_id or "")
    if sign is not None:
        if _by_graph.get(sign, ("",))[0] != run:  # it was made anew: an earlier one is not used
            _by_graph[sign] = run, weakref.WeakSet()
        _by_graph[sign][1].add(video)


def count_losses(node_id: str | None, settings: Mapping[str, object]) -> int:
    """How often the file of what nodes with these settings gave was removed while ComfyUI still
    held their output: as part of their fingerprint it lets them run anew then.
    """
    asked = _asked[node_id] = repr(sorted(settings.items()))
    videos = _given.get(asked, weakref.WeakSet())
    lost = [video for video in videos if not video.is_there()]
    for video in lost:
        videos.discard(video)
    if lost:
        _losses[asked] += 1
    return _losses[asked]


def find_again(job: WholeJob, source: Take) -> WholeVideo | None:
    """An edit of this very job whose file is still in the temporary folder, though the job is
    cleared; `source` is what was edited.
    """
    file = _cleared.get(job.folder)
    if file is None or not file.is_file():
        return None
    _keep_during_run(file)
    with contextlib.suppress(OSError):
        os.utime(file)  # one of the latest again
    video = WholeVideo(job, True, source)
    video._path = file
    return video


def _find_run() -> str | None:
    """The id of the run that is under way in this thread."""
    place = running_place()
    return place and place["prompt_id"]


def _new_place() -> Path:
    """A new name in the temporary folder, which keeps the latest results, all of this run (what
    comes behind a list of edits reads the first one when the last one is saved) and all that nodes
    of the running graph gave in an earlier run: ComfyUI hands it on as it is.
    """
    folder = Path(folder_paths.get_temp_directory()) / "sama_results"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{uuid.uuid4().hex}.mp4"
    mine = _keep_during_run(place) | _used_by_graph()
    earlier = sorted(folder.glob("*.mp4"), key=lambda path: path.lstat().st_ctime_ns)
    for path in earlier[: 1 - RESULTS]:
        if path not in mine:
            with contextlib.suppress(OSError):
                path.unlink()
    return place


def _keep_during_run(place: Path) -> set[Path]:
    """All names that stay until the run that is under way has ended, this one with them."""
    run = _find_run()
    mine = {place, *_of_run.get(run or "", ())}
    if run:
        _of_run.clear()
        _of_run[run] = mine
    return mine


def _used_by_graph() -> set[Path]:
    """The files of all that nodes of the running graph have given and ComfyUI still holds."""
    signs = set(sign_running_nodes().values())
    held = (videos for sign, (_, videos) in _by_graph.items() if sign in signs)
    return {video._path for videos in held for video in videos if video._path is not None}


def _is_temporary(path: Path) -> bool:
    return path.resolve().is_relative_to(Path(folder_paths.get_temp_directory()).resolve())
