"""Which worker does which job, how often, and when it is over. Knows nothing of clips or servers.

    jobs ─▶ waiting ─▶ a thread for each worker: connect, take, work ─▶ ended
              ▲                                   │ the worker died
              └───────────── up to RETRIES ───────┘

A worker that does not answer is left out until it does. The scheduler ends when every job has
ended, when a worker says that nothing can go on (`Halt`), or when no worker has answered for a
while; jobs that are left then are in `rest`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any, Protocol

from ..progress import LaunchError
from ..server.client import Unreachable
from ..server.comfy_place import Place

RETRIES = 2
"""How often a job is done again after its worker died."""
PAUSE, PATIENCE = 5.0, 600.0
"""Seconds between two tries of a worker that does not answer; and until all are given up."""
JOIN_SECONDS = 20.0


class Halt(LaunchError):
    """Nothing can go on, on any worker; the job stays to be done."""


class Unfit(LaunchError):
    """The work needs another worker than this one, which is not used any more."""


class Worker(Protocol):
    """A ComfyUI that may be elsewhere, die and come back."""

    @property
    def name(self) -> str:
        """For messages and the report."""
        ...

    def connect(self) -> Place:
        """The ComfyUI, which answers; starts or restarts it where that is possible.

        Raises Unreachable if it does not answer now, and another LaunchError if it never can.
        """
        ...

    def close(self) -> None:
        """Ends what `connect` started; a work that is under way fails soon."""
        ...


@dataclass
class Flight:
    """A job on a worker."""

    job: Any
    """What is done."""
    worker: Worker
    """Where."""
    place: Place
    """Its ComfyUI."""
    tries: int = 0
    """How often its worker has died."""
    prompt_id: str | None = None
    """The graph's id there, once it is queued."""
    cancelled: bool = False
    """Whether the work is to stop."""

    def note_queued(self, prompt_id: str) -> None:
        """The work has queued its graph, maybe after it was to stop."""
        self.prompt_id = prompt_id
        if self.cancelled:
            self.cancel()

    def cancel(self) -> None:
        """Takes the work off the server, if that goes on running."""
        self.cancelled = True
        if self.place.server is None and self.prompt_id:
            self.place.client.cancel(self.prompt_id)


@dataclass
class Scheduler:
    """Runs jobs on workers."""

    workers: list[Worker]
    """At least one."""
    work: Callable[[Flight], Any]
    """Does one job. Raises Unreachable if its worker died, Unfit if the job needs another one, Halt
    to end everything, and anything else if the job failed."""
    ended: Callable[[Flight, Any, Exception | None], None]
    """Called with the work's result or error, one call at a time."""
    say: Callable[[str], None] = print
    """Shows a line."""
    pause: float = PAUSE
    """Seconds between two tries of a worker."""
    patience: float = PATIENCE
    """Seconds without any worker until the rest is given up."""
    halted: Exception | None = None
    """Why nothing can go on."""
    _waiting: deque[tuple[Any, int]] = field(default_factory=deque)
    _flights: list[Flight] = field(default_factory=list)
    _silent: dict[int, str] = field(default_factory=dict)
    _retired: set[int] = field(default_factory=set)
    _changed: Condition = field(default_factory=Condition)
    _stopping: bool = False
    _answered: float = 0.0
    _broken: Exception | None = None

    @property
    def rest(self) -> list[Any]:
        """Jobs that have not ended."""
        return [job for job, _ in self._waiting] + [flight.job for flight in self._flights]

    def run(self, jobs: Iterable[Any]) -> None:
        """Does all jobs; on Ctrl-C stops what is under way and raises KeyboardInterrupt.

        What `ended` or `say` raises, such as BrokenPipeError behind `| head`, ends it, too.
        """
        self._waiting.extend((job, 0) for job in jobs)
        self._answered = time.monotonic()
        threads = [
            Thread(target=self._serve, args=(number, worker), daemon=True)
            for number, worker in enumerate(self.workers)
        ]
        try:
            for thread in threads:
                thread.start()
            with self._changed:
                while not self._is_over():
                    self._changed.wait(0.5)
        finally:
            self._stop()
            until = time.monotonic() + JOIN_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
            for worker in self.workers:
                worker.close()
        if self._broken:
            raise self._broken

    def add(self, jobs: Iterable[Any]) -> None:
        """Puts jobs before those that wait; may be called while it runs, by `ended` too."""
        with self._changed:
            self._waiting.extendleft((job, 0) for job in reversed(list(jobs)))
            self._changed.notify_all()

    def drop(self, unwanted: Callable[[Any], bool]) -> None:
        """Forgets jobs that wait; may be called while it runs, by `ended` too."""
        with self._changed:
            left = [one for one in self._waiting if not unwanted(one[0])]
            self._waiting.clear()
            self._waiting.extend(left)

    def _is_over(self) -> bool:
        if self._stopping or not (self._waiting or self._flights):
            return True
        if self._flights:
            return False
        if len(self._retired) == len(self.workers):
            return True
        all_out = len(self._retired | self._silent.keys()) == len(self.workers)
        return all_out and time.monotonic() - self._answered > self.patience

    def _stop(self) -> None:
        with self._changed:
            self._stopping = True
            flights = list(self._flights)
            self._changed.notify_all()
        for flight in flights:
            flight.cancel()
        for worker in self.workers:
            worker.close()

    def _serve(self, number: int, worker: Worker) -> None:
        """One worker's thread."""
        try:
            self._work_on(number, worker)
        except Exception as broken:
            with self._changed:
                self._broken, self._stopping = broken, True
                self._changed.notify_all()

    def _work_on(self, number: int, worker: Worker) -> None:
        """Takes jobs and does them until all is over, or the worker is not used any more."""
        while self._wait_for_job():
            place = self._connect(number, worker) if number not in self._retired else None
            if number in self._retired:
                return
            flight = self._take(worker, place) if place else None
            if flight:
                self._fly(flight, number)

    def _wait_for_job(self) -> bool:
        """Whether a job waits now; False when all is over."""
        with self._changed:
            while not self._waiting:
                if self._is_over():
                    return False
                self._changed.wait(1.0)
            return not self._stopping

    def _connect(self, number: int, worker: Worker) -> Place | None:
        try:
            place = worker.connect()
        except Unreachable as gone:
            with self._changed:
                if number not in self._silent and not self._stopping:
                    self.say(f"{worker.name} does not answer, and is left out until it does.")
                self._silent[number] = str(gone)
                self._changed.wait(self.pause)
            return None
        except Exception as unusable:
            with self._changed:
                self._retire(number, unusable)
            return None
        with self._changed:
            if self._silent.pop(number, None):
                self.say(f"{worker.name} answers again.")
            self._answered = time.monotonic()
        return place

    def _retire(self, number: int, why: Exception) -> None:
        """Uses a worker no more."""
        if not self._stopping:
            self.say(f"{self.workers[number].name} is not used any more: {why}")
        self._retired.add(number)
        self._changed.notify_all()

    def _take(self, worker: Worker, place: Place) -> Flight | None:
        with self._changed:
            if not self._waiting or self._stopping:
                return None
            job, tries = self._waiting.popleft()
            flight = Flight(job, worker, place, tries)
            self._flights.append(flight)
            return flight

    def _fly(self, flight: Flight, number: int) -> None:
        """Does one job, and puts it back if its worker died or is unfit for it."""
        result, failed = None, None
        try:
            result = self.work(flight)
        except Exception as error:
            failed = error
        with self._changed:
            self._flights.remove(flight)
            self._answered = time.monotonic()
            died = isinstance(failed, Unreachable) and flight.tries < RETRIES
            if isinstance(failed, Unfit):
                self._waiting.appendleft((flight.job, flight.tries))
                self._retire(number, failed)
            elif failed is not None and (self._stopping or died or isinstance(failed, Halt)):
                self._waiting.appendleft((flight.job, flight.tries + died))
                if isinstance(failed, Halt):
                    self.halted, self._stopping = failed, True
                elif died and not self._stopping:
                    why = str(failed).partition("\n")[0]
                    self.say(f"{flight.worker.name} died, and its edit is made again: {why}")
            else:
                self.ended(flight, result, failed)
            self._changed.notify_all()
