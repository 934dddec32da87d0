"""Which server does which share of a clip, with servers that are none."""

from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace

import pytest

from sama_core.launch.batch import row_work
from sama_core.launch.batch.batch_outputs import DiskFull
from sama_core.launch.batch.row_work import Job, RowWork
from sama_core.launch.batch.scheduler import Halt
from sama_core.launch.batch.spread_work import SpreadWork
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.client import Client, Output
from sama_core.launch.server.comfy_place import Place

KEY, FOLDER = "0a", "f1"
LONGEST = 120
"""Seconds for what another thread does at once, also on a busy machine."""


there: dict[str, set[str]] = {}
"""The clips that are on each server."""


class Home(Place):
    """A server of ours: what is removed from it is gone."""

    def remove_files(self, uploaded: str, outputs: list) -> None:
        there[self.client.url].discard(uploaded)


class Fake:
    """A worker whose server says `key` and `folder` of every clip."""

    def __init__(
        self, number: int, key: str = KEY, folder: str = FOLDER, after: Event | None = None
    ):
        self.name, self.report, self.after = (
            f"server {number}",
            {"key": key, "folder": folder},
            after,
        )
        self.place = Home(Client(f"http://nowhere:{number}"))
        there[self.place.client.url] = set()

    def connect(self) -> Place:
        assert self.after is None or self.after.wait(LONGEST)
        return self.place

    def close(self) -> None:
        pass


@dataclass
class Work:
    """What stands in for `RowWork`: `refuse` is a share that fails; work waits for `held`, which is
    set when a server is left out; a server named `dumb` cannot say what an edit is."""

    segments: int
    pieces: int
    refuse: tuple = ()
    held: Event | None = None
    dumb: str = ""
    asked: Event = field(default_factory=Event)
    done: list = field(default_factory=list)
    sent: list = field(default_factory=list)

    def send(self, place, row) -> str:
        self.sent.append(place.client.url)
        there[place.client.url].add(row.name.name)  # the same content again is kept once
        return row.name.name

    def share(self, flight, row, uploaded, part, first, count) -> dict:
        self.asked.set()
        if not count and flight.worker.name == self.dumb:
            raise LaunchError("its shared folder cannot be written")
        if count:
            assert self.held is None or self.held.wait(LONGEST)
            self.done.append((part, first, count))
        if (part, first) == self.refuse and count:
            raise ValueError("it cannot be edited")
        assert uploaded in there[flight.place.client.url]
        return {**flight.worker.report, "segments": self.segments, "pieces": self.pieces}

    def make(self, flight, job, uploaded, began) -> list:
        assert uploaded in there[flight.place.client.url]
        self.done.append("join")
        return [f"result of {job.key}"]


def spread(work: Work, *workers: Fake, clips: int = 1) -> tuple[list, list[str]]:
    said: list[str] = []
    ends: list = []

    def say(line: str) -> None:
        said.append(line)
        if work.held is not None and "not used any more" in line:
            work.held.set()

    row = SimpleNamespace(name=SimpleNamespace(name="a.mp4"))
    spreading = SpreadWork(
        work,
        list(workers),
        lambda flight, result, failed: ends.append((flight.job.key, result, failed)),
        say,
    )
    spreading.scheduler.pause = 0.01
    jobs = [Job(str(number), [row]) for number in range(clips)]
    spreading.scheduler.run(spreading.plans(jobs))
    return ends, said


def test_segments_then_pieces_then_one_join():
    work = Work(segments=40, pieces=3)
    ends, _ = spread(work, Fake(1), Fake(2))
    assert ends == [("0", ["result of 0"], None)]
    assert sorted(work.done[:20]) == [("segments", first, 2) for first in range(0, 40, 2)]
    assert sorted(work.done[20:23]) == [("pieces", number, 1) for number in range(3)]
    assert work.done[23:] == ["join"]
    assert len(work.sent) == len(set(work.sent)) <= 2, "each server gets the clip once"


def test_a_clip_of_one_segment_is_one_servers():
    work = Work(segments=1, pieces=1)
    assert spread(work, Fake(1))[0] == [("0", ["result of 0"], None)] and work.done == ["join"]


@pytest.mark.parametrize(
    ("unlike", "told"),
    [({"key": "0b"}, "another result"), ({"folder": "f2"}, "SAMA_SHARED_JOBS")],
)
def test_a_server_that_is_unlike_the_first_is_left_out_of_all_clips(unlike, told):
    work = Work(segments=4, pieces=1, held=Event())
    first, other = Fake(1), Fake(2, after=work.asked, **unlike)
    ends, said = spread(work, first, other, clips=3)
    assert sorted(ends) == [(str(number), [f"result of {number}"], None) for number in range(3)]
    (line,) = (line for line in said if "not used any more" in line)
    assert line.startswith("server 2 is not used any more") and told in line
    assert work.sent.count(other.place.client.url) == 1


def test_one_share_that_fails_is_the_end_of_its_clip_alone():
    work = Work(segments=3, pieces=1, refuse=("segments", 1))
    ends, _ = spread(work, Fake(1), clips=2)
    assert [(key, str(failed)) for key, _, failed in ends] == [
        ("0", "it cannot be edited"),
        ("1", "it cannot be edited"),
    ]
    assert "join" not in work.done


def test_a_server_that_cannot_say_what_an_edit_is_fails_no_edit():
    work = Work(segments=4, pieces=1, held=Event(), dumb="server 2")
    ends, said = spread(work, Fake(1), Fake(2, after=work.asked), clips=2)
    assert sorted(ends) == [(str(number), [f"result of {number}"], None) for number in range(2)]
    (line,) = (line for line in said if "not used any more" in line)
    assert line == "server 2 is not used any more: its shared folder cannot be written"


class Slow(Work):
    """Server 2 is asked about the first edit until that one is over; server 1 begins no other edit
    until then."""

    def __init__(self):
        super().__init__(segments=2, pieces=1)
        self.begun, self.other, self.over, self.answered = Event(), Event(), Event(), Event()

    def send(self, place, row) -> str:
        self.begun.set()
        return super().send(place, row)

    def share(self, flight, row, uploaded, part, first, count) -> dict:
        asks_other = flight.worker.name == "server 2" and not self.answered.is_set()
        if asks_other:
            self.other.set()
            assert self.over.wait(LONGEST)
        elif "join" in self.done:
            self.over.set()
            assert self.answered.wait(LONGEST)
        elif count:
            assert self.other.wait(LONGEST)
        try:
            return super().share(flight, row, uploaded, part, first, count)
        finally:
            if asks_other:
                self.answered.set()


def test_a_clip_stays_where_it_is_needed_and_goes_afterwards():
    """All edits are of one clip, which a server keeps once, under one name."""
    work = Slow()
    ends, _ = spread(work, Fake(1), Fake(2, after=work.begun), clips=3)
    assert sorted(ends) == [(str(number), [f"result of {number}"], None) for number in range(3)]
    assert set(map(len, there.values())) == {0}


@pytest.mark.parametrize(
    ("failure", "told", "why"),
    [
        (DiskFull("output folder x: got a full disk."), Halt, "full disk."),
        (PermissionError(13, "Permission denied", "x"), LaunchError, "denied: 'x'."),
    ],
)
def test_a_finished_edit_that_cannot_be_written_is_kept(
    monkeypatch, places, tmp_path, failure, told, why
):
    """The folder of a server that was started for the batch goes with it."""
    saved = Output("r.mp4", "video", "output")
    (tmp_path / "output" / "video").mkdir(parents=True)
    (tmp_path / "output" / "video" / "r.mp4").write_bytes(b"edit")
    monkeypatch.setattr(RowWork, "_graph", lambda *given: {})
    monkeypatch.setattr(RowWork, "_run", lambda *given: {})
    monkeypatch.setattr(row_work, "saved_file", lambda *given: saved)

    def refuse(*given):
        raise failure

    client = SimpleNamespace(fetch=lambda output: [b"edit"], is_reached=lambda: True)
    flight = SimpleNamespace(
        place=Place(client, folder=tmp_path), worker=SimpleNamespace(name="server 1"), tries=0
    )
    work = RowWork(places, SimpleNamespace(write=refuse), None, None, False, None)
    row = SimpleNamespace(name="a.mp4", target="a.mp4")
    kept = places.edits / "results" / "r.mp4"
    with pytest.raises(told, match=f"{why} The edit itself is done; .* lies in {kept}"):
        work.make(flight, Job("0", [row]), "a.mp4", 0.0)
    assert kept.read_bytes() == b"edit"


def test_the_join_leaves_the_clip_to_who_sent_it(monkeypatch):
    graph = {"1": {"class_type": "LoadVideo", "inputs": {"file": "a.mp4"}}}
    saved, removed = Output("r.mp4", "", "output"), []
    monkeypatch.setattr(RowWork, "_graph", lambda *given: graph)
    monkeypatch.setattr(RowWork, "_run", lambda *given: {})
    monkeypatch.setattr(row_work, "saved_file", lambda *given: saved)
    client = SimpleNamespace(fetch=lambda output: [b"edit"])
    place = SimpleNamespace(client=client, remove_files=lambda *files: removed.append(files))
    flight = SimpleNamespace(place=place, worker=SimpleNamespace(name="server 1"), tries=0)
    outputs = SimpleNamespace(write=lambda *given: "result")
    row = SimpleNamespace(name="a.mp4", target="a.mp4")
    work = RowWork(None, outputs, None, None, False, None)
    monkeypatch.setattr(RowWork, "send", lambda *given: "a.mp4")
    for sent in ("a.mp4", None):
        assert work.make(flight, Job("0", [row]), sent, 0.0) == ["result"]
    assert removed == [(None, [saved]), ("a.mp4", [saved])]
