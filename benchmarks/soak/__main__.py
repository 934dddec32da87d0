"""Does one server stay the same over many edits?

    nice -n 5 python -m benchmarks.soak --json soak.json --plot soak.png

A real ComfyUI with this pack edits short clips of changing sizes with SAMA-Shapes in one step,
queued in rounds of six; clips are uploaded, results fetched and compared with the
same edit made without a server, and the history is cleared through the API after each. Then 20
clients edit at once, and one leaves in the middle. Stopped at any moment, the same command goes on:
what was measured lies in the work folder, .runtime/soak.

slope     bytes of the server's resident memory per edit, by least squares over the last 80 %,
          looked at behind each round of edits, when none runs; a run that was continued has
          several servers, and each warms up anew. It decides where its standard error is below
          half the limit, which takes some 600 edits
lowest    the least memory in each tenth of the edits: what was leaked does not go again
right     results with the frames, size, sound and pixels of the reference, bit for bit
files     in the server's folders after each edit: input, output, temp, and TMPDIR

MALLOC_ARENA_MAX is 2 and OMP_NUM_THREADS is 1, in the server and for the reference. Ends with 1
where a result is wrong, a file stays, or the slope is above the limit.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.comfyui import find, running_server
from benchmarks.edit import GivenPython
from benchmarks.own_process import ROOT, run_module
from benchmarks.report import check_folder, check_least, describe_run, finish
from benchmarks.soak.cases import describe_cases, write_clips
from benchmarks.soak.clients import Editor, break_off, edit_at_once, edit_in_turn
from benchmarks.soak.slope import fit_slope, list_floors, plot
from benchmarks.soak.watch import Place
from sama_core.errors import RuntimeSetupError
from sama_core.launch.progress import LaunchError
from sama_core.launch.setup.comfyui_source import ComfyUI

LIMIT_BYTES = 20_000
"""Bytes per edit that the server's memory may grow by."""
MOST_FILES = 24
"""Files in the server's folders at any time: the clips that are queued, and what ComfyUI has."""
STEADY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Makes glibc give freed blocks back, so that resident memory is what is in use."""
WORK = ROOT / ".runtime" / "soak"
ROWS = "edits.jsonl"
"""In the work folder: a line for each edit."""
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}


def make_references(work: Path, comfyui: ComfyUI, environment: dict[str, str]) -> None:
    """The cases' clips and right results. Raises RuntimeSetupError with the end of what failed.

    `environment` is the server's: sums are exact to the bit for one number of threads.
    """
    write_clips(work)
    done = run_module("benchmarks.soak.reference", work, comfyui.folder, **environment)
    if done.returncode:
        raise RuntimeSetupError(f"The reference was not made: {done.stderr.strip()[-2000:]}")


@contextmanager
def start_place(work: Path, comfyui: ComfyUI, environment: dict[str, str]) -> Iterator[Place]:
    """A server in the work folder."""
    base = work / "base"
    shutil.rmtree(base, ignore_errors=True)  # of a run that was stopped
    (base / "tmp").mkdir(parents=True)
    before = dict(os.environ)
    os.environ.update(environment, TMPDIR=str(base / "tmp"))
    try:
        with running_server(GivenPython(folder=work), comfyui) as server:
            yield Place(server.url, server.process.pid, base)
    finally:
        os.environ.clear()
        os.environ.update(before)


def add_edits(place: Place, work: Path, rows: list[dict], total: int) -> None:
    """Make the edits that `rows` lack of so many; each is added there, and to the rows' file."""
    server = max((row["server"] for row in rows), default=-1) + 1
    with (work / ROWS).open("a", encoding="utf-8") as file:
        for row in edit_in_turn(place, work, range(len(rows), total)):
            rows.append({"server": server, "load": os.getloadavg()[0], **row})
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
            if len(rows) % 10 == 0:
                print(f"{len(rows)} of {total} edits", file=sys.stderr)


def meet_clients(place: Place, work: Path, clients: int, each: int) -> dict:
    """Many clients at once, then those that leave in the middle; what is there afterwards."""
    return {
        "edits_at_once": edit_at_once(place, work, clients, each),
        "left": break_off(place, work),
        "still_queued": Editor(place, work).waiting(),
        "after": place.look(),
    }


def read_rows(work: Path) -> list[dict]:
    """What an earlier run measured; a line that was cut off is left out."""
    path, rows = work / ROWS, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    if path.exists():
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def judge(rows: list[dict], clients: dict, total: int) -> dict:
    """What is measured, and what is wrong with it, in words."""
    slope = fit_slope(rows, total)
    many = [*clients["edits_at_once"], clients["left"]]
    wrong = [found for found in [*rows, *many] if not found["right"]]
    most_files = max(sum(row["files"].values()) for row in rows)
    faults = [f"{len(wrong)} results are not right"] * bool(wrong)
    decided = slope["slope"] is not None and slope["standard_error"] < LIMIT_BYTES / 2
    if decided and slope["slope"] > LIMIT_BYTES:
        faults.append(f"memory grows by {slope['slope'] / 1e3:.1f} KB an edit")
    if most_files > MOST_FILES or clients["left"]["of_a_half_upload"]:
        faults.append(f"files stay: {most_files} at once")
    if clients["still_queued"]:
        faults.append(f"{clients['still_queued']} edits are still queued")
    return {
        "slope_bytes_per_edit": slope,
        "slope_is_decided": decided,
        "lowest_memory_of_each_tenth": list_floors(rows),
        "anonymous_bytes_per_edit": fit_slope(rows, total, "anonymous"),
        "limit_bytes_per_edit": LIMIT_BYTES,
        "right": len(rows) + len(many) - len(wrong),
        "wrong": wrong,
        "most_files": most_files,
        "most_bytes_of_files": max(row["bytes"] for row in rows),
        "handles": {"least": min(r["handles"] for r in rows), "last": rows[-1]["handles"]},
        "threads": {"least": min(r["threads"] for r in rows), "last": rows[-1]["threads"]},
        "faults": faults,
    }


def measure(asked: argparse.Namespace) -> dict:
    """All edits of a run, with those of the runs before it, and what they say."""
    comfyui, work = find(asked.comfyui), asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    rows, load = read_rows(work), os.getloadavg()
    environment = ENVIRONMENT | (STEADY if asked.steady else {})
    with ThreadPoolExecutor(1) as pool:
        references = pool.submit(make_references, work, comfyui, environment)
        with start_place(work, comfyui, environment) as place:
            references.result()
            add_edits(place, work, rows, asked.edits)
            clients = meet_clients(place, work, asked.clients, asked.each)
    ran = describe_run(
        "av",
        "numpy",
        edits=asked.edits,
        clients=asked.clients,
        each=asked.each,
        comfyui=".".join(map(str, comfyui.version())),
        servers=len({row["server"] for row in rows}),
        environment=environment,
        nice=os.nice(0),
        load={
            "before": load,
            "after": os.getloadavg(),
            "mean": sum(row["load"] for row in rows) / len(rows),
        },
    )
    if asked.plot:
        plot(rows, asked.edits, asked.plot)
    cases = describe_cases()
    return {"ran": ran, "cases": cases, **judge(rows, clients, asked.edits), "clients": clients}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--edits", type=int, default=1000, help="one after the other")
    parser.add_argument("--clients", type=int, default=20, help="at once, after that")
    parser.add_argument("--each", type=int, default=3, help="edits of each of them")
    parser.add_argument("--work", type=Path, default=WORK, help="folder, kept to go on")
    parser.add_argument(
        "--steady",
        action="store_true",
        help="let glibc hold no freed blocks: the slope decides after fewer edits",
    )
    parser.add_argument("--comfyui", metavar="DIR", help="as run.py finds it by default")
    parser.add_argument("--json", type=Path, help="write the result here too")
    parser.add_argument("--plot", type=Path, help="a PNG of memory and files over the edits")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0 if all is right; 1 with what is not."""
    asked = parse(arguments)
    try:
        check_least(asked, edits=1, clients=1, each=1)
        check_folder("--json", asked.json)
        check_folder("--plot", asked.plot)
        result = measure(asked)
    except (LaunchError, RuntimeSetupError) as error:
        print(error, file=sys.stderr)
        return 1
    finish(result, asked.json)
    for fault in result["faults"]:
        print(f"Not right: {fault}.", file=sys.stderr)
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
