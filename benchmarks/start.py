"""From the command to the first step: `run.py edit` with a ComfyUI of its own, and with a kept one.

    python -m benchmarks.start --json start.json

Runs the real command on the pack's clip, in this checkout, as a user does. What it prints is dated:

fresh      seconds from the command to the ComfyUI that answers, to the first step, to the end
kept       the same with a ComfyUI that `--keep` left running, and `overhead`: the whole command
           without the time in which ComfyUI worked on the edit, by its own history
floors     a Python that imports torch and ends; ComfyUI's own `main.py` until it answers, with no
           pack at all; each in the environment of the commands

Each is the median of `--repeats` turns, with all turns beside it. Set-up is done before. Seconds
depend on the machine and on what else runs on it: measure on one that is idle.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.edit import versions_of
from benchmarks.own_process import ROOT
from benchmarks.report import check_least, describe_run, finish_measuring
from sama_core.launch.places import Places, clean_env
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server import comfy_main
from sama_core.launch.server.client import Client
from sama_core.launch.server.kept import read_record
from sama_core.launch.server.ports import free_port
from sama_core.launch.setup.comfyui_source import ComfyUI, places_of
from sama_core.launch.setup.environment import Environment

MARKS = {"[load]": "answers", "[sampling]": "first step"}
"""What begins the first line of a stage, and the name of that moment."""
PARTS = ["fresh", "kept", "floors"]
LONGEST = 300
"""Seconds in which ComfyUI must answer."""


def time_command(*arguments: str) -> dict[str, float]:
    """Seconds from the start of `run.py` with these arguments to each of its moments, and its end.

    Raises LaunchError with its output if it fails.
    """
    began, found, lines = time.perf_counter(), {}, []
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            name = MARKS.get(line.split(maxsplit=1)[0] if line.strip() else "")
            if name and name not in found:
                found[name] = time.perf_counter() - began
    if process.returncode:
        raise LaunchError("".join(lines))
    return {**found, "end": time.perf_counter() - began}


def time_edit(folder: Path, seed: int, asked: argparse.Namespace, *more: str) -> dict[str, float]:
    """`time_command` of one edit of the pack's clip."""
    given = ["--comfyui", asked.comfyui] if asked.comfyui else []
    out = folder / f"{seed}_{time.monotonic_ns()}.mp4"
    return time_command("edit", "--seed", str(seed), "--out", str(out), *given, *more)


def time_kept(
    places: Places, folder: Path, seed: int, asked: argparse.Namespace
) -> dict[str, float]:
    """`time_edit` on the server that runs, and its `overhead`."""
    seconds = time_edit(folder, seed, asked, "--keep")
    record = read_record(places)
    assert record is not None
    history = Client(record.url).histories()
    last = max(history.values(), key=lambda entry: entry["prompt"][0])
    dates = {kind: data["timestamp"] for kind, data in last["status"]["messages"]}
    worked = (dates["execution_success"] - dates["execution_start"]) / 1000
    return {**seconds, "overhead": seconds["end"] - worked}


def time_torch(python: Path) -> float:
    """Seconds of a Python that imports torch and ends."""
    began = time.perf_counter()
    subprocess.run([python, "-c", "import torch"], check=True, env=clean_env())
    return time.perf_counter() - began


BARE = """
import importlib.util, pathlib, runpy, sys
own, main = sys.argv[1:3]
sys.path[0] = own
from comfy_main import declare_vision_operators
sys.path[0] = str(pathlib.Path(main).parent)
vision = importlib.util.find_spec("torchvision")
declare_vision_operators(pathlib.Path(vision.origin).parent)
del sys.argv[:2]
runpy.run_path(main, run_name="__main__")
"""
"""Runs ComfyUI's own main.py as it is; torchvision does not load with a torch for CPUs alone."""


def time_bare_comfyui(python: Path, comfyui: ComfyUI, folder: Path) -> float:
    """Seconds until ComfyUI's own `main.py` answers, without any pack, on the CPU."""
    port, main = free_port(), comfyui.folder / "main.py"
    program = [python, "-c", BARE, Path(comfy_main.__file__).parent, main]
    program += ["--cpu", "--port", port, "--base-directory", folder]
    program += ["--disable-all-custom-nodes", "--disable-api-nodes"]
    program += ["--database-url", "sqlite:///:memory:"]
    client, began = Client(f"http://127.0.0.1:{port}"), time.perf_counter()
    with subprocess.Popen(
        [str(part) for part in program],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=comfyui.folder,
        env=clean_env(),
    ) as process:
        try:
            while not client.is_reached():
                if process.poll() is not None or time.perf_counter() - began > LONGEST:
                    raise LaunchError("ComfyUI's own main.py: did not answer.")
                time.sleep(0.02)
            return time.perf_counter() - began
        finally:
            process.kill()


def sum_up(turns: list[dict[str, float]]) -> dict:
    """The median of each moment, and all turns."""
    return {
        "median": {name: statistics.median(turn[name] for turn in turns) for name in turns[0]},
        "turns": turns,
    }


def measure(asked: argparse.Namespace) -> dict:
    """Run everything that is asked for, and sum up."""
    places = places_of(Places(), asked.comfyui)
    comfyui = Environment(places, Stages(sys.stderr)).ready(asked.comfyui)
    if read_record(places):
        raise LaunchError("A ComfyUI was left running here: end it with `run.py serve --stop`.")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found: dict = {
        "ran": {
            **describe_run(repeats=asked.repeats, seed=asked.seed, load_before=load),
            "versions": versions_of(places.python, comfyui),
        }
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        turns: dict[str, Callable[[int], dict[str, float]]] = {
            "fresh": lambda turn: time_edit(folder, asked.seed + turn, asked),
            "kept": lambda turn: time_kept(places, folder, asked.seed + turn, asked),
            "floors": lambda turn: {
                "import torch": time_torch(places.python),
                "main.py answers": time_bare_comfyui(places.python, comfyui, folder),
            },
        }
        for part in asked.parts:
            if part == "kept":
                time_edit(folder, asked.seed, asked, "--keep")
            try:
                found[part] = sum_up([turns[part](turn) for turn in range(asked.repeats)])
            finally:
                if part == "kept":
                    time_command("serve", "--stop")
    return found


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns of each part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--seed", type=int, default=1, help="of the first edit; then the next ones")
    parser.add_argument("--comfyui", help="ComfyUI's folder, unless run.py finds it")
    parser.add_argument("--json", type=Path, help="write the result here too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0 if every edit came out, else 1 with a sentence."""
    asked = parse(arguments)

    def check_and_measure() -> dict:
        check_least(asked, repeats=1)
        return measure(asked)

    return finish_measuring(check_and_measure, asked.json)


if __name__ == "__main__":
    sys.exit(main())
