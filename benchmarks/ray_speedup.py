"""What a second worker of a Ray cluster brings, and what the command takes of each row.

    OMP_NUM_THREADS=1 python -m benchmarks.ray_speedup --json benchmarks/results/ray_speedup.json

A cluster of this machine, ComfyUIs with one processor each, SAMA-Shapes. They are started before
the time is taken, and have made one edit each. Edits of one clip, which differ in their seed, on
one worker and on two; then one clip that is spread over one and over two. `around` is what a row
takes beside the run of its graph on the server: sending the clip, polling, fetching and writing the
result; `driver_cpu` the processor's seconds of the command itself, with Ray in it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath
from unittest import mock

from benchmarks.comfyui import find
from benchmarks.edit import GivenPython
from benchmarks.report import check_folder, check_least, describe_run, finish
from benchmarks.sample_clip import make_clip
from sama_core.launch.batch import batch_run, row_work
from sama_core.launch.batch.batch_outputs import OWN
from sama_core.launch.batch.batch_report import DONE
from sama_core.launch.batch.batch_rows import Clip, Row, Settings, name_targets
from sama_core.launch.batch.batch_run import JOBS, Batch, Task
from sama_core.launch.batch.workers import QuietStages
from sama_core.launch.cluster.ray_cluster import LOCAL, join_cluster
from sama_core.launch.cluster.ray_worker import RayWorker
from sama_core.launch.cluster.slots import Slot
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.server.workflow import listed_trio
from sama_core.version import SHARED_JOBS, VERSION

SIDE, SECONDS, SPREAD_SECONDS, SEGMENT = 64, 2, 14, 49


class NoPictures:
    """In the place of the process that measures: it would take a processor from the workers."""

    def __init__(self, places):
        """It needs none."""

    def run(self, job: str, *arguments: object) -> dict:
        """No scores."""
        return {"not_measured": "not asked for"}

    def close(self) -> None:
        """Nothing was started."""


class Watch:
    """Seconds of rows, and of their graphs on the servers."""

    def __init__(self):
        self.around: list[float] = []
        self._graph = 0.0
        self._run, self._make = row_work.run_graph, row_work.RowWork.make

    def run_graph(self, *arguments):
        """As `run_graph`."""
        entry = self._run(*arguments)
        times = {name: data["timestamp"] for name, data in entry["status"]["messages"]}
        self._graph = (times["execution_success"] - times["execution_start"]) / 1000
        return entry

    def make(self, *arguments):
        """As `RowWork.make`; with one worker alone, since it keeps one graph."""
        began = time.monotonic()
        results = self._make(*arguments)
        self.around.append(time.monotonic() - began - self._graph)
        return results


def run(workers: list[RayWorker], clips: list[Path], out: Path, steps: int, spread: bool) -> dict:
    """One batch; seconds of all rows."""
    rows = [
        Row(
            *(number, PurePosixPath(clip.name), Clip(clip)),
            Settings("make it red", number, steps, 1.0, area=SIDE * SIDE),
        )
        for number, clip in enumerate(clips, 1)
    ]
    out.mkdir(parents=True, exist_ok=True)
    model = listed_trio(workers[0].connect().client)
    task = Task(out, name_targets(rows, False), model, segment_frames=SEGMENT if spread else None)
    batch, watch = Batch(task, list(workers), GivenPython(), QuietStages()), Watch()
    for worker in workers:
        worker.close = lambda: None  # the next batch uses it
    began, processor = time.monotonic(), time.process_time()
    with (
        mock.patch.object(batch_run, "JobProcess", NoPictures),
        mock.patch.object(row_work, "run_graph", watch.run_graph),
        mock.patch.object(row_work.RowWork, "make", lambda *given: watch.make(*given)),  # noqa: PLW0108
    ):
        batch.run()
    seconds, processor = time.monotonic() - began, time.process_time() - processor
    assert all(line.state == DONE for line in batch.lines), [line.error for line in batch.lines]
    return {
        "seconds": round(seconds, 2),
        "around": round(statistics.median(watch.around), 3) if len(workers) == 1 else None,
        "driver_cpu": round(processor / len(rows), 3),
    }


def measure(options: argparse.Namespace, folder: Path) -> dict:
    """Both cases on one worker and on two."""
    clips = [folder / "clip.mp4"] * options.clips
    make_clip(clips[0], SIDE, SIDE, SECONDS)
    long = folder / "long.mp4"
    make_clip(long, SIDE, SIDE, SPREAD_SECONDS)
    asked = {
        "pack": str(PACK_ROOT),
        "version": VERSION,
        "comfyui": str(find(options.comfyui).folder),
        "python": sys.executable,
        "runtime": str(folder / "runtime"),
        "variables": {"OMP_NUM_THREADS": "1", SHARED_JOBS: str(folder / OWN / JOBS)},
    }
    found: dict = {}
    with join_cluster(LOCAL, Slot.read("cpu:1"), asked, GivenPython(), 2) as workers:
        began = time.monotonic()
        for number, worker in enumerate(workers):
            run([worker], clips[:1], folder / f"warm{number}", 1, False)
            run([worker], clips[:1], folder / f"warm{number}", 1, True)
        found["start_and_first_edits"] = round(time.monotonic() - began, 1)
        for name, given, spread in (("edits", clips, False), ("spread", [long], True)):
            for count in (1, 2):
                out = folder / f"{name}{count}"
                found.setdefault(name, {})[f"{count} workers"] = run(
                    workers[:count], given, out, options.steps, spread
                )
            one, two = (found[name][f"{count} workers"]["seconds"] for count in (1, 2))
            found[name]["speed_up"] = round(one / two, 3)
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--comfyui", metavar="DIR")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    check_least(options, clips=2, steps=1)
    check_folder("--json", options.json)
    sizes = {"side": SIDE, "seconds": SECONDS, "spread_seconds": SPREAD_SECONDS}
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    finish(
        describe_run(
            "ray", **{"clips": options.clips, "steps": options.steps, **sizes}, seed=1, **found
        ),
        options.json,
    )


if __name__ == "__main__":
    main()
