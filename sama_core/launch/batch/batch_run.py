"""A whole batch in one output folder: what is done, what is to do, and what came of it."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import needed
from ..model_choice import Trio
from ..places import Places
from ..progress import LaunchError, Stages
from ..server.mask_graph import check_mask
from .batch_outputs import OWN, DiskFull, Outputs
from .batch_report import DONE, FAILED, PAGE, PICTURES, TABLE, Line, write_report
from .batch_rows import Clip, Row
from .clip_digests import ClipDigests, key_of
from .folder_lock import hold_folder
from .job_process import JobProcess
from .ledger import Ledger, Result
from .measuring import Measuring
from .result_folder import HereResults, Results, UrlResults
from .row_work import Job, RowWork
from .scheduler import Flight, Scheduler, Worker
from .spread_work import SpreadWork

LEDGER, DIGESTS, LOCK, JOBS = "ledger.jsonl", "digests.jsonl", "lock", "jobs"
"""Files in the folder OWN of the output folder."""
REPORT_SECONDS = 30.0
"""The report is written again after so long, if more is done."""
EDIT, MEASURE, READ = "edit", "measure", "read clips"
"""Names of stages."""


@dataclass
class Task:
    """What a batch is asked to do."""

    out: Path
    """Where results go."""
    rows: list[Row]
    """The rows with their targets."""
    model: Trio
    """The files to edit with."""
    as_frames: bool = False
    """Whether results are 16-bit PNG files."""
    remarks: list[str] = field(default_factory=list)
    """Sentences for the report."""
    segment_frames: int | None = None
    """Of clips that are spread over all servers, 0 for the usual; None for one server a clip."""

    url: str | None = None
    """Where results go, if not into `out`: then an fsspec URL, and `out` has record and report."""

    def results(self, create: bool = True) -> Results:
        """Where they lie. Raises LaunchError if that cannot be reached.

        Without `create` a folder behind a URL is not made.
        """
        if self.url is None:
            return HereResults(self.out)
        published = (f"{OWN}/{LEDGER}", TABLE, PAGE, PICTURES)
        return UrlResults(self.url, self.out, published, create)

    @property
    def form(self) -> str:
        """What kind of result it is, in an edit's key."""
        if self.segment_frames is not None:
            return f"whole mp4 {self.segment_frames}"
        return "png16" if self.as_frames else "mp4"

    def sort(
        self, digests: ClipDigests, show: Callable[[str], None]
    ) -> tuple[dict[str, Job], dict[int, str]]:
        """Jobs by key, and the errors of rows whose clip or mask cannot be read, by their index."""
        jobs: dict[str, Job] = {}
        unreadable: dict[int, str] = {}
        for index, row in enumerate(self.rows):
            show(f"{index + 1} of {len(self.rows)}")
            try:
                clip, mask = digests.of(row.clip), None
                if row.settings.mask:
                    mask = digests.of(Clip(check_mask(row.settings.mask, self.as_frames)))
                key = key_of(row, clip, self.model, self.form, mask)
            except LaunchError as error:
                unreadable[index] = str(error)
                continue
            except OSError as error:
                unreadable[index] = needed(
                    str(row.clip.path),
                    f"a clip that cannot be read ({error.strerror or error})",
                    "a video file, or a folder of frames",
                    "Check the path.",
                )
                continue
            jobs.setdefault(key, Job(key, [])).rows.append(row)
        return jobs, unreadable


class Batch:
    """One run of a task; leaves ledger, results and report in the output folder."""

    def __init__(self, task: Task, workers: list[Worker], places: Places, stages: Stages):
        """`stages` shows what happens."""
        self.task, self.workers, self.places, self.stages = task, workers, places, stages
        self.lines = [Line(row) for row in task.rows]
        self._line_of = {id(line.row): line for line in self.lines}
        self._reported = time.monotonic()

    def run(self) -> int:
        """Does what is missing; the number of rows that are not done.

        Raises LaunchError if another batch works in the folder or nothing can go on.
        """
        own = self.task.out / OWN
        own.mkdir(parents=True, exist_ok=True)
        with hold_folder(self.task.out, own / LOCK):
            there = self.task.results()
            self.ledger = Ledger(there, own / LEDGER)
            self.outputs = Outputs(self.task.out, self.ledger, there)
            self.outputs.remove_unfinished()
            pictures = JobProcess(self.places)
            try:
                self._run(pictures, ClipDigests(own / DIGESTS))
            finally:
                pictures.close()
                remove_if_done(own / JOBS)
        return sum(line.state != DONE for line in self.lines)

    def _run(self, pictures: JobProcess, digests: ClipDigests) -> None:
        self.stages.start(READ)
        jobs, unreadable = self.task.sort(
            digests, lambda text: self.stages.update(text, transient=True)
        )
        for index, error in unreadable.items():
            self._fail(self.lines[index], error)
        self.measuring = Measuring(self.task.out, self.ledger, pictures, self.outputs.there)
        missing = [job for job in jobs.values() if not self._take_done(job)]
        work = RowWork(
            self.places,
            self.outputs,
            pictures,
            self.task.model,
            self.task.as_frames,
            self.task.out / OWN / "parts",
            self.task.segment_frames,
            digests,
        )
        self.scheduler, self._jobs = self._schedule(work)
        try:
            self._edit(missing)
            self._measure()
        finally:
            self._report()
        if self.scheduler.halted:
            raise self.scheduler.halted

    def _schedule(self, work: RowWork) -> tuple[Scheduler, Callable[[list[Job]], list]]:
        """The scheduler, and what it makes of edits: themselves, or shares."""
        if self.task.segment_frames is None:
            return Scheduler(self.workers, work, self._end, self.stages.say), list
        spread = SpreadWork(work, self.workers, self._end, self.stages.say)
        return spread.scheduler, spread.plans

    def _edit(self, jobs: list[Job]) -> None:
        done = sum(line.state == DONE for line in self.lines)
        self.stages.say(
            f"{len(self.lines)} rows: {done} done already, {len(jobs)} edits to make on "
            f"{', '.join(worker.name for worker in self.workers)}"
        )
        if not jobs:
            return
        self.stages.start(EDIT)
        self._show()
        self.scheduler.run(self._jobs(jobs))
        left = sum(line.state not in (DONE, FAILED) for line in self.lines)
        if left and not self.scheduler.halted:
            self.stages.say(f"No server is left for {left} edits; the same command makes them.")

    def _measure(self) -> None:
        self.stages.start(MEASURE)
        self.measuring.finish(
            lambda: self.stages.update(f"{self.measuring.waiting} left", transient=True)
        )
        self.stages.finish()

    def _take_done(self, job: Job) -> bool:
        """Whether an edit is there; rows that lack it get a copy."""
        results = self.ledger.results(job.key)
        if not results:
            return False
        try:
            for row in job.rows:
                mine = next((one for one in results if one.target == str(row.target)), None)
                if mine is None:
                    mine = self.outputs.copy(row, results[0])
                    results.append(mine)
                self._finish(row, mine)
        except (DiskFull, OSError) as error:
            raise LaunchError(str(error)) from error
        return True

    def _end(self, flight: Flight, results: list[Result] | None, failed: Exception | None) -> None:
        """Notes what came of one edit; called by the scheduler, one at a time."""
        job: Job = flight.job
        for row in job.rows:
            if results is None:
                line = self._line_of[id(row)]
                line.key = job.key
                self._fail(line, str(failed) or type(failed).__name__)
            else:
                mine = next(one for one in results if one.target == str(row.target))
                self._finish(row, mine)
        if results is not None:
            seconds = results[0].facts.get("seconds", 0.0)
            self.stages.say(f"done    {job.rows[0].name} · {seconds:.1f} s · {flight.worker.name}")
        self._show()
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._report()

    def _finish(self, row: Row, result: Result) -> None:
        line = self._line_of[id(row)]
        line.state, line.key, line.result = DONE, result.key, result.first
        line.facts = result.facts
        self.measuring.add(row, result)

    def _fail(self, line: Line, error: str) -> None:
        line.state, line.error = FAILED, error.strip()
        self.stages.say(f"failed  {line.row.name}: {line.error}")

    def _show(self) -> None:
        ended = [line for line in self.lines if line.state in (DONE, FAILED)]
        failed = sum(line.state == FAILED for line in ended)
        self.stages.step(len(ended), len(self.lines), f"{failed} failed" if failed else "")

    def _report(self) -> None:
        """Writes the report; one that cannot be written now is written at the next time."""
        self._reported = time.monotonic()
        for line in self.lines:
            line.scores = self.ledger.scores.get(line.key, {}) if line.state == DONE else {}
        try:
            write_report(self.task.out, self.lines, self.task.remarks)
            self.outputs.there.publish()
        except OSError as error:
            self.stages.say(f"The report could not be written: {error.strerror or error}.")


def remove_if_done(jobs: Path) -> None:
    """Removes the folder of spread clips if no clip in it is unfinished."""
    if jobs.is_dir() and not any(path.is_dir() for path in jobs.iterdir()):
        shutil.rmtree(jobs, ignore_errors=True)
