"""Scores and small pictures of finished edits, made beside the edits that still run."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from ..progress import LaunchError
from .batch_report import small_picture
from .batch_rows import Row
from .job_process import Closed, JobProcess
from .ledger import Ledger, Result
from .result_folder import Results


class Measuring:
    """A thread that measures one edit after another."""

    def __init__(self, out: Path, ledger: Ledger, pictures: JobProcess, there: Results):
        """Of the results `there`; small pictures go into `out`, what is measured into `ledger`."""
        self.out, self.ledger, self.pictures, self.there = out, ledger, pictures, there
        self._queue: Queue[tuple[Row, Result] | None] = Queue()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, row: Row, result: Result) -> None:
        """Measures an edit, unless that is done."""
        small = self.out / f"{small_picture(result.key)}_after.jpg"
        scores = self.ledger.scores.get(result.key)
        if scores is None or not (small.is_file() or "not_measured" in scores):
            self._queue.put((row, result))

    @property
    def waiting(self) -> int:
        """Edits that are not measured yet."""
        return self._queue.unfinished_tasks

    def finish(self, tick: Callable[[], None]) -> None:
        """Waits until all is measured; calls `tick` meanwhile."""
        self._queue.put(None)
        while self._thread.is_alive():
            tick()
            self._thread.join(0.5)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self.ledger.note_scores(item[1].key, self._measure(*item))
            except (OSError, Closed):
                pass  # a full disk, or Ctrl-C: the next run measures it
            finally:
                self._queue.task_done()

    def _measure(self, row: Row, result: Result) -> dict[str, Any]:
        source: Any = [str(path) for path in row.clip.files()]
        if not row.clip.frames:
            source = source[0]
        small = str(self.out / small_picture(result.key))
        try:
            with ExitStack() as copies:
                edited: Any = [
                    str(copies.enter_context(self.there.local(name))) for name in result.files
                ]
                if result.first.endswith(".mp4"):
                    edited = edited[0]
                return self.pictures.run("measure", source, edited, small)
        except Closed:
            raise
        except LaunchError as error:
            return {"not_measured": str(error)}
