"""A whole edit with the model inside the pack, through a ComfyUI server: seconds of every stage.

    python -m benchmarks.edit --json edit.json

Does what `run.py edit` does, with its own code: set-up (here only the check that everything is
there), a server, the pack's clip of 17 frames sent, edited with SAMA-Shapes and fetched. Then the
same server edits it again with another seed, `--repeats` times, as for a user who queues once more;
by then the model files are loaded and ComfyUI's caches are filled.

Stages     set-up · start ComfyUI · load (sending the clip, model files, reading and fitting the
           clip) · encode (text and source) · sampling · decode · save (encoding the mp4 and
           fetching it)
cold       the first edit of a new server; the system may still hold the files in memory
warm       the later ones: median, lowest and highest of each stage

Seconds depend on the machine and on what else runs on it: compare shares, and warm / cold.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comfyui import find
from benchmarks.report import describe_run, finish_measuring
from sama_core import embedded
from sama_core.launch.cli import parser as launch_parser
from sama_core.launch.clip_jobs import clip_facts, describe
from sama_core.launch.commands.edit import SET_UP, run_edit
from sama_core.launch.places import Places
from sama_core.launch.progress import Stages
from sama_core.launch.server.comfy_place import start_server
from sama_core.launch.setup.comfyui_source import ComfyUI, places_of
from sama_core.launch.setup.environment import Environment

PACKAGES = ("torch", "numpy", "av", "safetensors")


@dataclass(frozen=True)
class GivenPython(Places):
    """An interpreter that has everything already, in place of `.venv`'s."""

    interpreter: Path = Path(sys.executable)
    """Runs ComfyUI."""
    folder: Path = Path()
    """Where the base directory and the logs go."""

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.interpreter

    @property
    def runtime(self) -> Path:
        """The folder."""
        return self.folder


def prepare_comfyui(places: Places, asked: argparse.Namespace, stages: Stages) -> ComfyUI:
    """The ComfyUI to run. Raises LaunchError if there is none and nothing may be set up."""
    if asked.python is None:
        return Environment(places, stages).ready(asked.comfyui)
    return find(asked.comfyui)


def edit_all(
    places: Places, asked: argparse.Namespace, folder: Path
) -> tuple[list[dict[str, float]], ComfyUI]:
    """Seconds of every stage: the first edit with set-up and start, then the later ones.

    And the ComfyUI that ran.
    """
    first = Stages(sys.stderr)
    first.start(SET_UP)
    comfyui, taken = prepare_comfyui(places, asked, first), []
    with start_server(comfyui, places, first) as place:
        for number in range(1 + asked.repeats):
            stages = Stages(sys.stderr) if number else first
            options = launch_parser().parse_args(
                [
                    "edit",
                    "--instruction",
                    asked.instruction,
                    "--seed",
                    str(asked.seed + number),
                    *_steps(asked.steps),
                ]
            )
            run_edit(place, embedded.CLIP, folder / f"edit_{number}.mp4", options, places, stages)
            stages.finish()
            taken.append(stages.seconds())
    return taken, comfyui


def _steps(steps: int | None) -> list[str]:
    return [] if steps is None else ["--steps", str(steps)]


def summarise(taken: list[dict[str, float]]) -> dict:
    """Cold and warm seconds by stage, and how the whole of them compare.

    Set-up and start are the cold edit's alone.
    """
    cold, warm = taken[0], taken[1:]
    work = [name for name in cold if any(name in later for later in warm)]
    found = {"cold": {**cold, "total": sum(cold.values())}}
    if warm:
        rows = {name: [later.get(name, 0.0) for later in warm] for name in work}
        rows["total"] = [sum(later.values()) for later in warm]
        found["warm"] = {
            name: {
                "median": statistics.median(values),
                "lowest": min(values),
                "highest": max(values),
            }
            for name, values in rows.items()
        }
        found["warm_per_cold"] = {
            name: statistics.median(values) / whole
            for name, values in rows.items()
            if (whole := cold[name] if name in cold else sum(cold[stage] for stage in work)) > 0
        }
    return found


def versions_of(python: Path, comfyui: ComfyUI) -> dict[str, str]:
    """Of what ran the edit, asked of its interpreter."""
    program = (
        "import json, platform; from importlib.metadata import version; "
        "print(json.dumps({'python': platform.python_version(), "
        f"**{{name: version(name) for name in {PACKAGES}}}}}))"
    )
    told = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(told.stdout) | {"comfyui": ".".join(map(str, comfyui.version()))}


def measure(asked: argparse.Namespace) -> dict:
    """Run all edits, and sum up."""
    with tempfile.TemporaryDirectory() as folder:
        places = (
            places_of(Places(), asked.comfyui)
            if asked.python is None
            else GivenPython(interpreter=asked.python, folder=Path(folder))
        )
        taken, comfyui = edit_all(places, asked, Path(folder))
        ran = describe_run(
            steps=asked.steps or embedded.STEPS,
            cfg=embedded.CFG,
            seed=asked.seed,
            instruction=asked.instruction,
        )
        return {
            "ran": {**ran, "versions": versions_of(places.python, comfyui)},
            "clip": describe(clip_facts(embedded.CLIP, places)),
            "model": embedded.DIT.name,
            **summarise(taken),
            "edits": taken,
        }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line\'s options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instruction", default="make the circle red")
    parser.add_argument("--repeats", type=int, default=3, help="warm edits")
    parser.add_argument(
        "--steps", type=int, help=f"sampling steps; {embedded.STEPS}, as the model was made for"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first edit; each later one has the next"
    )
    parser.add_argument(
        "--python",
        type=Path,
        help="an interpreter that has everything; else .venv is made or taken",
    )
    parser.add_argument("--comfyui", help="ComfyUI's folder, unless run.py finds it")
    parser.add_argument("--json", type=Path, help="write the result here too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0 if every edit came out, else 1 with a sentence."""
    asked = parse(arguments)
    return finish_measuring(lambda: measure(asked), asked.json)


if __name__ == "__main__":
    sys.exit(main())
