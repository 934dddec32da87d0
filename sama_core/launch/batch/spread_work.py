"""One long clip on many servers: its segments, then its pieces, then the file, by one of them.

    plan ─▶ segments 0…, segments k…, … ─▶ pieces 0…, … ─▶ join
            any server, in any order        any server      one server

Each is a job of the scheduler, and made again elsewhere where a server dies. Servers keep what is
finished in a folder that all of them see. The first one to answer says what the edit is known by;
one that would make another result, or that keeps it elsewhere, is not used.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from ...errors import needed
from ...version import SHARED_JOBS
from ..progress import LaunchError
from ..server.client import Unreachable
from ..server.comfy_place import Place
from .ledger import Result
from .row_work import Job, RowWork
from .scheduler import Flight, Scheduler, Unfit, Worker

PLAN, SEGMENTS, PIECES, JOIN = "plan", "segments", "pieces", "join"
FOLLOWING = {PLAN: SEGMENTS, SEGMENTS: PIECES, PIECES: JOIN}
SHARES = 16
"""Jobs for each server, of segments and of pieces, where there are as many: each reads the
instruction anew, but fewer would leave servers idle at the end."""


@dataclass
class Spread:
    """One edit that is spread."""

    job: Job
    """The edit."""
    report: dict[str, Any] = field(default_factory=dict)
    """What the first server said of it: key, folder, numbers of segments and pieces."""
    left: int = 0
    """Jobs of the present kind that have not ended."""
    over: bool = False
    """It has failed, or is done."""
    began: float = 0.0
    """When its first job did, by the monotonic clock."""
    sent: dict[str, tuple[Place, str]] = field(default_factory=dict)
    """Where its clip is by now: address → the server, and the clip's name there."""
    asking: set[str] = field(default_factory=set)
    """Addresses of servers that are asked about it, and need its clip until they have answered."""


@dataclass(frozen=True)
class Share:
    """A job of a spread edit."""

    edit: Spread
    """Of this edit."""
    kind: str
    """PLAN, SEGMENTS, PIECES or JOIN."""
    first: int = 0
    """Number of its first segment or piece."""
    count: int = 0
    """How many."""

    def __str__(self) -> str:
        whole = self.edit.report.get(self.kind)
        return f"{self.kind} {self.first + 1} to {self.first + self.count} of {whole}"


class SpreadWork:
    """What the scheduler does with shares, and what follows from each."""

    def __init__(
        self,
        work: RowWork,
        workers: list[Worker],
        ended: Callable[[Flight, list[Result] | None, Exception | None], None],
        say: Callable[[str], None],
    ):
        """`ended` is told of whole edits, as by a scheduler; `say` shows a line."""
        self.work, self.servers, self._ended, self.say = work, len(workers), ended, say
        self.scheduler = Scheduler(workers, self, self._follow, say)
        self._edits: list[Spread] = []
        self._first: Spread | None = None
        self._standard: dict[str, Any] = {}
        self._proven: set[str] = set()
        self._lock = Lock()

    def plans(self, jobs: list[Job]) -> list[Share]:
        """The first job of each edit."""
        self._edits = [Spread(job) for job in jobs]
        return [Share(edit, PLAN) for edit in self._edits]

    def __call__(self, flight: Flight) -> Any:
        """Does one share. Raises as `Scheduler.work`."""
        share: Share = flight.job
        edit = share.edit
        edit.began = edit.began or time.monotonic()
        self._prove(flight, edit)
        if share.kind == PLAN:
            edit.report = self._ask(flight, edit)
            return edit.report
        if share.kind == JOIN:
            return self.work.make(flight, edit.job, self._clip(flight, edit), edit.began)
        report = self._do(flight, share)
        self._compare(flight, report, edit.report)
        return report

    def _prove(self, flight: Flight, edit: Spread) -> None:
        """Raises Unfit if a server makes another result than the first one, keeps it elsewhere, or
        cannot say.

        It is asked once, about the first clip, whose key the first server to answer has given.
        """
        url = flight.place.client.url
        with self._lock:
            if self._first is None:
                self._standard, self._first = self._ask(flight, edit), edit
                self._proven.add(url)
        if url not in self._proven:
            try:
                report = self._ask(flight, self._first)
            except Unreachable:
                raise
            except LaunchError as failed:
                raise Unfit(str(failed)) from failed
            self._compare(flight, report, self._standard)
            self._proven.add(url)

    def _ask(self, flight: Flight, edit: Spread) -> dict[str, Any]:
        """What a server says of an edit, of which it does nothing."""
        url = flight.place.client.url
        edit.asking.add(url)
        try:
            return self._do(flight, Share(edit, SEGMENTS))
        finally:
            edit.asking.discard(url)
            if edit.over:
                self._remove_clips(edit)

    def _do(self, flight: Flight, share: Share) -> dict[str, Any]:
        clip = self._clip(flight, share.edit)
        asked = share.kind, share.first, share.count
        return self.work.share(flight, share.edit.job.rows[0], clip, *asked)

    def _clip(self, flight: Flight, edit: Spread) -> str:
        """Name of an edit's clip on a server, to which it is sent once."""
        url = flight.place.client.url
        if url not in edit.sent:
            edit.sent[url] = (flight.place, self.work.send(flight.place, edit.job.rows[0]))
        return edit.sent[url][1]

    def _remove_clips(self, edit: Spread) -> None:
        """Removes an edit's clip where nobody needs it: a server keeps the same clip of two edits
        once, under one name.
        """
        for url in edit.sent.keys() - edit.asking:
            place, clip = edit.sent.pop(url, (None, ""))
            held = (other.sent.get(url) for other in self._edits if other is not edit)
            if place and clip not in (name for _, name in filter(None, held)):
                place.remove_files(clip, [])

    def _compare(self, flight: Flight, report: dict, standard: dict) -> None:
        name, wrong = flight.worker.name, ""
        if report["key"] != standard["key"]:
            wrong = needed(
                name,
                "a card, torch or settings that give another result",
                "the same as on the first server that answered",
                "Use servers that are alike for one clip.",
            )
        elif report["folder"] != standard["folder"]:
            wrong = needed(
                name,
                "a folder of its own for what it samples",
                "the one of the other servers",
                f"Start each ComfyUI with {SHARED_JOBS} set to a folder that all of them see; with "
                "--ray, give an --out that all nodes see.",
            )
        if wrong:
            raise Unfit(wrong)

    def _follow(self, flight: Flight, result: Any, failed: Exception | None) -> None:
        """Adds what comes next, or tells of the edit's end."""
        share: Share = flight.job
        edit = share.edit
        if edit.over:
            return
        if failed is not None or share.kind == JOIN:
            edit.over = True
            self.scheduler.drop(lambda job: job.edit is edit)
            self._remove_clips(edit)
            self._ended(replace(flight, job=edit.job), result, failed)
            return
        if share.kind != PLAN:
            self.say(f"        {edit.job.rows[0].name} · {share} · {flight.worker.name}")
            edit.left -= 1
        if not edit.left:
            following = self._shares(edit, FOLLOWING[share.kind])
            edit.left = len(following)
            self.scheduler.add(following)

    def _shares(self, edit: Spread, kind: str) -> list[Share]:
        """The jobs of a kind. A clip of one segment is not worth more than one."""
        if kind == JOIN or edit.report[SEGMENTS] == 1:
            return [Share(edit, JOIN)]
        whole = edit.report[kind]
        length = -(-whole // (SHARES * self.servers))
        return [
            Share(edit, kind, first, min(length, whole - first))
            for first in range(0, whole, length)
        ]
