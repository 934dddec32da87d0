"""The gate of the embedded model: how often, how exactly and how fast it makes the edit that was
asked for.

    python -m benchmarks.shapes.gate --seed 0 --n 200 --json gate.json --sheet gate.png

Per edit, n clips that training never saw (17 frames of 64x64; other seeds, colour-shape pairs and
wordings):

accuracy   share of outputs nearest, in pixels, to the truth among truth, source and all wrong edits
dB         mean PSNR against the truth, of the whole clip, where the edit changes it, and where it
           must not; beside the codec's round trip of the truth (the best possible) and the source
           returned unchanged (copy)
track      distance of the object's centroid from the true one, see
           sama_core/shapes/gate/clip_scores.py
gate       accuracy ≥ 90 %, kept region within 3 dB of the codec's, whole clip ≥ 3 dB above the copy

With `--through core` clips are edited in batches by torch alone, with `--through comfyui` one by
one by a real ComfyUI server; both draw the same noise and give the same numbers. Exit code 0 if all
edits pass, 1 if not, 2 on an error.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.report import check_folder, check_least, write_json
from benchmarks.shapes.comfyui_editor import running_comfyui
from benchmarks.shapes.report import describe_models, markdown
from benchmarks.shapes.sheet import ContactSheet
from sama_core import embedded
from sama_core.errors import SamaError
from sama_core.shapes.gate import Editor, Settings, evaluate, load_core_editor
from sama_core.shapes.gate.core_editor import ModelFiles
from sama_core.shapes.gate.evaluate import (
    FRAMES,
    SIDE,
    check_plan,
)
from sama_core.shapes.world import KINDS, TAUGHT

MODEL_FILES = {
    "--dit": embedded.DIT,
    "--text-encoder": embedded.TEXT_ENCODER,
    "--vae": embedded.VAE,
}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except SamaError as error:
        print(error, file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Check, evaluate, print and store."""
    check(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    files = ModelFiles(options.dit, options.text_encoder, options.vae)
    settings = Settings(options.steps, options.shift, options.cfg)
    sheet, started, done = ContactSheet(options.rows), time.perf_counter(), 0

    def watch(batch, edited, scores) -> None:
        nonlocal done
        sheet.add(batch, edited, scores)
        done += len(scores)
        right = sum(clip.right for clip in scores)
        print(
            f"{done}/{options.n * len(options.edits)} clips · {batch.kinds[0]}: "
            f"{right} of {len(scores)} right · "
            f"{time.perf_counter() - started:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    with editor(options, files, settings) as chosen:
        edits = evaluate(chosen, options.edits, options.seed, options.n, options.batch, watch=watch)
    ran = describe_models(
        files,
        settings,
        seed=options.seed,
        clips=options.n,
        frames=FRAMES,
        height=SIDE,
        width=SIDE,
        through=options.through,
        batch=options.batch,
        seconds=time.perf_counter() - started,
    )
    print(f"{markdown(edits)}\n\n{describe(ran)}")
    if options.json:
        write_json(options.json, {"ran": ran, "edits": edits})
    if options.sheet:
        sheet.write(options.sheet)
    return 0 if all(row["gate"]["passes"] for row in edits.values()) else 1


def check(options: argparse.Namespace) -> None:
    """Raises SamaError for what no evaluation can have, before anything is loaded."""
    check_plan(options.edits, options.n, options.batch)
    check_least(options, steps=1, seed=0, rows=1)
    check_folder("--json", options.json)
    check_folder("--sheet", options.sheet)


@contextmanager
def editor(options: argparse.Namespace, files: ModelFiles, settings: Settings) -> Iterator[Editor]:
    """The editor that `--through` asks for."""
    if options.through == "core":
        yield load_core_editor(files, settings)
        return
    with running_comfyui(files, settings, options.comfyui) as chosen:
        yield chosen


def describe(ran: dict) -> str:
    """What ran, in two lines under the table."""
    files = ", ".join(f"{part['file']} {part['sha256']}" for part in ran["files"].values())
    size = f"{ran['frames']} frames of {ran['width']}x{ran['height']}"
    return (
        f"{ran['clips']} clips per edit, {size}, seed {ran['seed']}, {ran['steps']} steps, "
        f"cfg {ran['cfg']:g}, shift {ran['shift']:g}, through {ran['through']}, "
        f"batch {ran['batch']}, {ran['threads']} threads, torch {ran['versions']['torch']}, "
        f"{ran['seconds']:.0f} s.\n{files}"
    )


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--seed", type=int, default=0, help="decides clips and noise (0)")
    found.add_argument("--n", type=int, default=200, help="clips per edit (200)")
    found.add_argument(
        "--edits",
        nargs="+",
        default=list(TAUGHT),
        metavar="EDIT",
        help=f"of {', '.join(KINDS)} (default: what the model was taught, all but add)",
    )
    found.add_argument(
        "--steps", type=int, default=embedded.STEPS, help=f"sampling steps ({embedded.STEPS})"
    )
    found.add_argument("--shift", type=float, default=5.0, help="schedule shift (5)")
    found.add_argument(
        "--cfg",
        type=float,
        default=embedded.CFG,
        help=f"guidance; 1 skips the negative pass ({embedded.CFG:g})",
    )
    found.add_argument(
        "--through", choices=("core", "comfyui"), default="core", help="what edits the clips (core)"
    )
    found.add_argument(
        "--batch", type=int, default=25, help="clips edited at once (25; ComfyUI takes them singly)"
    )
    found.add_argument(
        "--threads", type=int, default=0, help="threads of torch here (0: torch's own choice)"
    )
    found.add_argument("--json", type=Path, help="write all numbers here")
    found.add_argument("--sheet", type=Path, help="write a contact sheet PNG here")
    found.add_argument("--rows", type=int, default=3, help="clips of each edit on the sheet (3)")
    found.add_argument(
        "--comfyui", help="ComfyUI's folder for --through comfyui (found as run.py does)"
    )
    for option, path in MODEL_FILES.items():
        found.add_argument(
            option,
            type=Path,
            default=path,
            metavar="FILE",
            help=f"({path.name} in sama_core/embedded)",
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
