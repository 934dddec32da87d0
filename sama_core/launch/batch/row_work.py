"""One edit of a batch on one server: send the clip, run the graph, take the result."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...errors import needed
from ..model_choice import Trio
from ..places import Places, say_missing
from ..progress import LaunchError
from ..server.client import Lost, Unreachable
from ..server.comfy_place import Place
from ..server.edit_graph import PNG_CLASSES, fill_graph, save_frames, uploaded_files
from ..server.follow import LOAD, SAVE, saved_file, saved_files
from ..server.mask_graph import check_mask
from ..server.run_graph import run_graph
from ..server.share_graph import ask_share, read_share
from ..server.workflow import EDITOR, load_workflow, set_inputs
from .batch_outputs import DiskFull, Outputs
from .batch_rows import Clip, Row
from .clip_digests import ClipDigests
from .job_process import JobProcess
from .ledger import Result
from .numbered_frames import find_sequences
from .scheduler import Flight, Halt
from .workers import QuietStages


@dataclass
class Job:
    """An edit that one or more rows ask for."""

    key: str
    """What it is known by."""
    rows: list[Row]
    """The rows, at least one; the others get copies."""


@dataclass(frozen=True)
class RowWork:
    """What the scheduler does with each job."""

    places: Places
    """The pack's."""
    outputs: Outputs
    """Where results go."""
    pictures: JobProcess
    """Reads frames."""
    model: Trio
    """The files to edit with, the same on each server."""
    as_frames: bool
    """Whether results are 16-bit PNG files."""
    scratch: Path
    """Folder for films of frames."""

    segment_frames: int | None = None
    """Of clips that are spread; None for others, 0 for the usual."""
    digests: ClipDigests | None = None
    """What clips and masks are known by; one that changed since then is not edited."""

    def __call__(self, flight: Flight) -> list[Result]:
        """Makes the edit and writes a result for each target. Raises as `Scheduler.work`."""
        job: Job = flight.job
        return self.make(flight, job, None, time.monotonic())

    def make(self, flight: Flight, job: Job, uploaded: str | None, began: float) -> list[Result]:
        """As a call, for an edit that began at `began` and whose clip is `uploaded`, if it is."""
        with self._failures_told(flight):
            results = [self._edit(flight, job, job.rows[0], uploaded, began)]
            targets = {job.rows[0].target: job.rows[0]}
            for row in job.rows[1:]:
                if targets.setdefault(row.target, row) is row:
                    results.append(self.outputs.copy(row, results[0]))
            return results

    def share(
        self, flight: Flight, row: Row, uploaded: str, part: str, first: int, count: int
    ) -> dict[str, Any]:
        """Has a share of a whole video made; returns its report. Raises as `Scheduler.work`."""
        with self._failures_told(flight):
            graph = self._graph(flight, row, uploaded)
            ask_share(graph, part, first, count)
            report = read_share(self._run(flight, graph, QuietStages()), graph)
            for mask in uploaded_files(graph)[1:]:
                flight.place.remove_files(mask, [])
            return report

    def send(self, place: Place, row: Row) -> str:
        """Brings a row's clip to a server; its name there."""
        with self._clip_file(row) as clip:
            sent = place.send(clip)
        if self.digests:
            self.digests.require_unchanged(row.clip)
        return sent

    @contextmanager
    def _failures_told(self, flight: Flight) -> Iterator[None]:
        try:
            yield
        except DiskFull as full:
            raise Halt(str(full)) from full
        except Unreachable:
            raise
        except LaunchError as error:
            if not flight.place.client.is_reached():
                raise Lost(str(error)) from error
            raise

    def _graph(self, flight: Flight, row: Row, uploaded: str) -> dict:
        graph, client = load_workflow(self.places.root), flight.place.client
        named, options = Path(row.name.name), row.settings.options()
        fill_graph(graph, client, self.model, uploaded, named, options)
        if self.digests and row.settings.mask:
            self.digests.require_unchanged(Clip(check_mask(row.settings.mask)))
        if self.segment_frames:
            set_inputs(graph, EDITOR, segment_frames=self.segment_frames)
        if self.as_frames:
            save_frames(graph)
        return graph

    def _run(self, flight: Flight, graph: dict, stages: QuietStages) -> dict:
        place = flight.place
        return run_graph(place.client, graph, stages, place.server, flight.note_queued)

    def _edit(
        self, flight: Flight, job: Job, row: Row, uploaded: str | None, began: float
    ) -> Result:
        stages, client, held = QuietStages(), flight.place.client, uploaded
        stages.start(LOAD)
        uploaded = uploaded or self.send(flight.place, row)
        graph = self._graph(flight, row, uploaded)
        entry = self._run(flight, graph, stages)
        stages.start(SAVE)
        saved = (
            saved_files(entry, graph, PNG_CLASSES[1])
            if self.as_frames
            else [saved_file(entry, graph)]
        )
        names = frame_names(row, len(saved)) if self.as_frames else [""]
        files = [(name, client.fetch(output)) for name, output in zip(names, saved, strict=True)]
        facts = {
            "clip": str(row.name),
            "server": flight.worker.name,
            "tries": flight.tries,
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - began, 3),
        }
        try:
            result = self.outputs.write(row, job.key, files, facts)
        except (DiskFull, OSError) as failed:
            # Frames are kept by nobody: their segments are, and give them again.
            kept = "" if self.as_frames else flight.place.keep_result(saved[0], self.places.edits)
            if isinstance(failed, DiskFull):
                raise DiskFull(f"{failed}{kept}") from failed
            raise LaunchError(f"{failed}.{kept}") from failed
        for name in uploaded_files(graph):
            # Who brought the clip removes it: another edit may need it there.
            flight.place.remove_files(None if name == held else name, saved)
        return result

    @contextmanager
    def _clip_file(self, row: Row) -> Iterator[Path]:
        """The clip as one file; frames are joined for as long as it is sent."""
        if not row.clip.frames:
            check_file(row.clip.path)
            yield row.clip.path
            return
        film = self.scratch / f"{uuid.uuid4().hex}.nut"
        self.scratch.mkdir(parents=True, exist_ok=True)
        try:
            find_sequences(row.clip.frames)[0].check(str(row.name))
            frames = [str(path) for path in row.clip.files()]
            self.pictures.run("join", frames, str(row.clip.fps), str(film))
            yield film
        finally:
            film.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Raises LaunchError for a clip that is absent or empty."""
    if not path.is_file():
        raise LaunchError(needed(str(path), say_missing(path), "a video file", "Check the path."))
    if not path.stat().st_size:
        raise LaunchError(needed(str(path), "an empty file", "a video file", "Check the file."))


def frame_names(row: Row, count: int) -> list[str]:
    """Names of `count` results: the source's frames as PNG, or the clip's name with numbers."""
    if row.clip.frames:
        return [f"{Path(name).stem}.png" for name in row.clip.frames[:count]]
    stem = Path(row.name.name).stem
    return [f"{stem}_{number:05}.png" for number in range(count)]
