"""One edit of a batch on one server: send the clip, run the graph, take the result."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...errors import needed
from ..model_choice import Trio
from ..places import Places
from ..progress import LaunchError
from ..server.client import Lost, Unreachable
from ..server.edit_graph import PNG_CLASSES, fill_graph, save_frames
from ..server.follow import LOAD, SAVE, saved_file, saved_files
from ..server.run_graph import run_graph
from ..server.workflow import load_workflow
from .batch_outputs import DiskFull, Outputs
from .batch_rows import Row
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

    def __call__(self, flight: Flight) -> list[Result]:
        """Makes the edit and writes a result for each target. Raises as `Scheduler.work`."""
        job: Job = flight.job
        client = flight.place.client
        try:
            results = [self._edit(flight, job, job.rows[0])]
            targets = {job.rows[0].target: job.rows[0]}
            for row in job.rows[1:]:
                if targets.setdefault(row.target, row) is row:
                    results.append(self.outputs.copy(row, results[0]))
            return results
        except DiskFull as full:
            raise Halt(str(full)) from full
        except Unreachable:
            raise
        except LaunchError as error:
            if not client.is_reached():
                raise Lost(str(error)) from error
            raise

    def _edit(self, flight: Flight, job: Job, row: Row) -> Result:
        began, stages, client = time.monotonic(), QuietStages(), flight.place.client
        stages.start(LOAD)
        graph = load_workflow(self.places.root)
        with self._clip_file(row) as clip:
            uploaded = client.upload(clip)
        named = Path(row.name.name.encode("utf-8", "replace").decode())
        fill_graph(graph, client, self.model, uploaded, named, row.settings.options())
        if self.as_frames:
            save_frames(graph)

        def note_id(prompt_id: str) -> None:
            flight.prompt_id = prompt_id

        entry = run_graph(client, graph, stages, flight.place.server, note_id)
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
        result = self.outputs.write(row, job.key, files, facts)
        flight.place.remove_files(uploaded, saved)
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
        got = "a folder" if path.is_dir() else "no such file"
        raise LaunchError(needed(str(path), got, "a video file", "Check the path."))
    if not path.stat().st_size:
        raise LaunchError(needed(str(path), "an empty file", "a video file", "Check the file."))


def frame_names(row: Row, count: int) -> list[str]:
    """Names of `count` results: the source's frames as PNG, or the clip's name with numbers."""
    if row.clip.frames:
        return [f"{Path(name).stem}.png" for name in row.clip.frames[:count]]
    stem = Path(row.name.name).stem
    return [f"{stem}_{number:05}.png" for number in range(count)]
