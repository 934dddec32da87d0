"""A batch on many machines, by simulation: how far one command and one shared folder reach.

    python -m benchmarks.batch_scale --json benchmarks/results/batch_scale.json

The real scheduler, record, results and report of `run.py batch` run here, with real files and a
thread for each server. Simulated are the servers: an edit takes `--seconds` on the average, and is
a sleep on a clock that is `--speed` times as fast. Servers die in the middle of edits and start
again, nodes are gone for a while, and some edits fail for good. What the command itself takes is
not sped up: so its own limit shows where there is no sleep at all.

batch    --clips on --servers, with failures
limit    the same without any time for edits: rows a second that one command manages
spread   one clip of so many segments on all servers, with the same failures
"""

import argparse
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from unittest import mock

from benchmarks.report import check_folder, check_least, describe_run, finish
from sama_core.launch.batch import batch_run
from sama_core.launch.batch.batch_outputs import OWN
from sama_core.launch.batch.batch_report import DONE, FAILED
from sama_core.launch.batch.batch_rows import Clip, Row, Settings, name_targets
from sama_core.launch.batch.batch_run import Batch, Task
from sama_core.launch.batch.ledger import Result
from sama_core.launch.batch.row_work import Job, RowWork
from sama_core.launch.batch.scheduler import PATIENCE, PAUSE, Flight, Scheduler
from sama_core.launch.batch.spread_work import PIECES, SEGMENTS, SpreadWork
from sama_core.launch.batch.workers import QuietStages
from sama_core.launch.model_choice import Trio
from sama_core.launch.places import Places
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.client import Client, Lost, Unreachable
from sama_core.launch.server.comfy_place import Place

MODEL = Trio("sama.safetensors", "umt5.safetensors", "vae.safetensors")
START_SECONDS, RESTART_SECONDS, OUTAGE_SECONDS = 120.0, 90.0, 1800.0
"""Until a server answers first, after its death, and after its node's."""
SERVER_DIES, NODE_DIES, EDIT_FAILS = 0.01, 0.001, 0.002
"""Chances, for each edit."""
SPREAD_SHARE, PIECE_SECONDS, JOIN_SECONDS = 20.0, 25.0, 120.0
"""Seconds of a share beside its segments; of a piece; of the join."""


@dataclass
class World:
    """The servers' clock and their fates."""

    speed: float
    """How many times as fast the clock is."""
    seconds: float
    """Of an edit, on the average."""
    seed: int
    """Of the fates."""
    lost: float = 0.0
    """Server seconds that were spent on work that was lost."""
    used: float = 0.0
    """Server seconds that were spent on work that counts."""
    deaths: int = 0
    """Of servers and nodes."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Seconds of the simulated clock."""
        return time.monotonic() * self.speed

    def sleep(self, seconds: float) -> None:
        """So many of its seconds."""
        if seconds:
            time.sleep(seconds / self.speed)

    def work(self, server: "SimulatedServer", seconds: float, chance: random.Random) -> None:
        """An edit of so many seconds, in whose middle the server may die."""
        fate = chance.random()
        if fate >= SERVER_DIES + NODE_DIES or not self.seconds:
            self.sleep(seconds)
            with self.lock:
                self.used += seconds
            return
        spent = seconds * chance.random()
        self.sleep(spent)
        server.gone_until = self.now() + (RESTART_SECONDS if fate < SERVER_DIES else OUTAGE_SECONDS)
        with self.lock:
            self.lost, self.deaths = self.lost + spent, self.deaths + 1
        raise Lost(f"{server.name}: died")


class SimulatedServer:
    """A worker of the scheduler, without a server."""

    def __init__(self, number: int, world: World):
        self.name, self.world = f"server {number}", world
        self.client = Client(f"http://127.0.0.1:{number + 1}")
        self.gone_until = world.now() + (START_SECONDS if world.seconds else 0)

    def connect(self) -> Place:
        """See `Worker`."""
        if self.world.now() < self.gone_until:
            raise Unreachable(f"{self.name}: is gone")
        return Place(self.client)

    def close(self) -> None:
        """See `Worker`."""


class SimulatedWork(RowWork):
    """Edits that are sleeps; their results are real files."""

    world: World
    segments, pieces = 1, 1
    result = b"edited" * 20

    def make(self, flight: Flight, job: Job, uploaded: str | None, began: float) -> list[Result]:
        """A result of the right name."""
        world, row = self.world, job.rows[0]
        chance = random.Random(f"{world.seed} {row.name} {flight.tries}")
        spread = uploaded is not None
        usual = world.seconds * chance.lognormvariate(-0.045, 0.3)  # mean 1, 30 % around it
        world.work(flight.worker, JOIN_SECONDS if spread else usual, chance)
        if world.seconds and not spread and chance.random() < EDIT_FAILS:
            raise LaunchError("it cannot be edited")
        facts = {"server": flight.worker.name, "tries": flight.tries, "seconds": 1.0}
        return [self.outputs.write(row, job.key, [("", [self.result])], facts)]

    def send(self, place: Place, row: Row) -> str:
        """No clip is sent."""
        return row.name.name

    def share(
        self, flight: Flight, row: Row, uploaded: str, part: str, first: int, count: int
    ) -> dict:
        """The time of so many segments or pieces."""
        world = self.world
        chance = random.Random(f"{world.seed} {part} {first} {flight.tries}")
        each = world.seconds if part == SEGMENTS else PIECE_SECONDS
        world.work(flight.worker, SPREAD_SHARE + count * each, chance)
        return {SEGMENTS: self.segments, PIECES: self.pieces, "key": "", "folder": ""}


class SimulatedBatch(Batch):
    """A batch whose servers are of another world."""

    world: World
    segments = 0

    def _schedule(self, work: RowWork):
        simulated = SimulatedWork(**vars(work))
        object.__setattr__(simulated, "world", self.world)
        if self.segments:
            object.__setattr__(simulated, "segments", self.segments)
            object.__setattr__(simulated, "pieces", -(-self.segments * 64 // 128))
            spread = SpreadWork(simulated, self.workers, self._end, self.stages.say)
            scheduler, jobs = spread.scheduler, spread.plans
        else:
            scheduler = Scheduler(self.workers, simulated, self._end, self.stages.say)
            jobs = list
        scheduler.pause, scheduler.patience = PAUSE / self.world.speed, PATIENCE
        return scheduler, jobs


class NoPictures:
    """In the place of the process that measures."""

    def __init__(self, places: Places):
        """It needs none."""

    def run(self, job: str, *arguments: object) -> dict:
        """No scores."""
        return {"not_measured": "simulated"}

    def close(self) -> None:
        """Nothing was started."""


def simulate(world: World, clips: int, servers: int, segments: int = 0) -> dict:
    """One batch in a folder of its own; hours by the simulated clock, seconds by the real one."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        rows = name_targets(list(_rows(Path(folder), clips)), as_frames=False)
        out.mkdir()
        task = Task(out, rows, MODEL, segment_frames=0 if segments else None)
        workers = [SimulatedServer(number, world) for number in range(servers)]
        batch = SimulatedBatch(task, workers, Places(), QuietStages())
        batch.world, batch.segments = world, segments
        timed, digests = _time_the_work(batch)
        processor = time.process_time()
        with mock.patch.object(batch_run, "JobProcess", NoPictures):
            batch.run()
        processor = time.process_time() - processor
        ledger = (out / OWN / "ledger.jsonl").stat().st_size
    hours = timed["seconds"] * world.speed / 3600
    ends = [line.state for line in batch.lines]
    return {
        "rows": {state: ends.count(state) for state in (DONE, FAILED) if ends.count(state)},
        "deaths": world.deaths,
        "hours": round(hours, 2),
        "server_hours": {"used": round(world.used / 3600, 1), "lost": round(world.lost / 3600, 1)},
        "of_ideal": round(world.used / 3600 / servers / hours, 4) if world.used else None,
        "real_seconds": round(timed["seconds"], 1),
        "rows_a_second": round(clips / timed["seconds"], 1),
        "driver_cpu_ms_a_row": round(processor / clips * 1000, 2),
        "read_clips_seconds": round(digests["seconds"], 1),
        "ledger_mb": round(ledger / 1e6, 1),
    }


def _time_the_work(batch: SimulatedBatch) -> tuple[dict, dict]:
    """Real seconds of the edits, and of what comes before them, filled in by the run."""
    edits, before, began = {"seconds": 0.0}, {"seconds": 0.0}, time.monotonic()
    edit = batch._edit

    def timed(jobs: list[Job]) -> None:
        before["seconds"] = time.monotonic() - began
        start = time.monotonic()
        edit(jobs)
        edits["seconds"] = time.monotonic() - start

    batch._edit = timed
    return edits, before


def _rows(folder: Path, clips: int):
    (folder / "clips").mkdir()
    settings = Settings("make it red", 1, 0, -1.0)
    for number in range(clips):
        path = folder / "clips" / f"{number:05}.mp4"
        path.write_bytes(f"clip {number}".encode())
        yield Row(number + 1, PurePosixPath(path.name), Clip(path), settings)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--servers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=426.0, help="of an edit")
    parser.add_argument("--segments", type=int, default=1329, help="of the clip that is spread")
    parser.add_argument("--speed", type=float, default=600.0, help="of the simulated clock")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    check_least(options, clips=1, servers=1, segments=1)
    check_folder("--json", options.json)
    world = (options.speed, options.seconds, options.seed)
    limit = World(options.speed, 0.0, options.seed)
    report = describe_run(
        **{name: value for name, value in vars(options).items() if name != "json"},
        chances={"server": SERVER_DIES, "node": NODE_DIES, "edit": EDIT_FAILS},
        batch=simulate(World(*world), options.clips, options.servers),
        limit=simulate(limit, options.clips, options.servers),
        spread=simulate(World(*world), 1, options.servers, options.segments),
    )
    finish(report, options.json)


if __name__ == "__main__":
    main()
