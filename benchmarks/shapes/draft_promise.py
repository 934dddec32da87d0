"""Does a draft keep its promise? One-frame edits beside the full edit of the same clip.

    python -m benchmarks.shapes.draft_promise --n 100 --lines promise.jsonl --json promise.json

A draft is what SAMA Drafts shows: one frame edited as a clip of its own, from the noise that the
full edit has at this frame. Held-out clips (17 frames of 64x64) are edited whole with two seeds,
and their frames 0, 8 and 16 as drafts with the first seed:

same seed     the draft beside that frame of the full edit with its own seed
other seed    the draft beside that frame of the full edit with another seed; only for the first
              clips (`--others`)
two edits     that frame of both full edits: how much a seed decides
own noise     as same seed, but the draft's noise is drawn for a clip of one frame, as SAMA Anchor
              Preview and ComfyUI's samplers draw it; only for the first clips (`--own`)

Of each pair: dB, and whether both frames are the same edit, that is nearest in pixels to the same
one of truth, source and all other edits of this kind. Beside the five edits that the model was
taught stand two whose words leave room, such as "give the circle a new colour": there the "truth"
is only one of many that are as right.

Every finished clip is a line of `--lines`; a run that was stopped goes on there. All groups advance
together, so that a run that is cut short has as many clips of each.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from benchmarks.report import check_folder, check_least, write_json
from benchmarks.shapes.paired import compare_clips, compare_pairs
from benchmarks.shapes.report import describe_models
from sama_core import embedded
from sama_core.errors import SamaError, needed
from sama_core.geometry import pad_frame_count
from sama_core.scores.fidelity import psnr
from sama_core.shapes.gate import Settings, load_core_editor
from sama_core.shapes.gate.clip_scores import from_bytes, nearest, to_bytes, wilson
from sama_core.shapes.gate.core_editor import CoreEditor, ModelFiles, clip_seed, joint_noise
from sama_core.shapes.gate.evaluate import FRAMES, SIDE, held_out_clips
from sama_core.shapes.world import TAUGHT, EditBatch, render
from sama_core.shapes.world.scene import COLOURS, EMPTY, SHAPES
from sama_core.shapes.world.wordings import name_object

FILES = ModelFiles(embedded.DIT, embedded.TEXT_ENCODER, embedded.VAE)
ANCHORS = (0, 8, 16)
"""Frames that are drafted."""
OPEN = {
    "any colour": ("recolour", ("give {it} a new colour", "change the colour of {it}")),
    "any background": ("background", ("change the background", "replace the background")),
}
"""Group → kind of edit, and wordings that do not say which; all their words were taught."""
GROUPS = (*TAUGHT, *OPEN)
TOGETHER = "together"
"""All groups as one."""
PAIRS = {
    "same": "same seed",
    "other": "other seed",
    "edits": "two edits",
    "own": "own noise",
}
"""Pairs that are compared, with their names in the table."""
OTHER_SEED = 500_000
"""Added to a clip's number for its second seed."""


@dataclass(frozen=True)
class Beside:
    """One pair of frames."""

    db: float
    """PSNR of the one against the other."""
    alike: bool
    """Whether both are nearest to the same edit."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        check(options)
        ran, clips = run(options)
    except SamaError as error:
        print(error, file=sys.stderr)
        return 2
    every = [row for rows in clips.values() for row in rows]
    groups = {group: summary(rows) for group, rows in {**clips, TOGETHER: every}.items()}
    print(table(groups))
    if options.json:
        write_json(options.json, {"ran": ran, "groups": groups})
    return 0


def check(options: argparse.Namespace) -> None:
    """Raises SamaError for what cannot be measured, before anything is loaded."""
    check_least(options, n=1, batch=1, steps=1, seed=0, others=1, own=0)
    check_folder("--json", options.json)
    check_folder("--lines", options.lines)
    unknown = [group for group in options.groups if group not in GROUPS]
    if unknown:
        raise SamaError(
            needed("--groups", ", ".join(unknown), "some of " + ", ".join(GROUPS), "Name those.")
        )


def run(options: argparse.Namespace) -> tuple[dict, dict[str, list[dict]]]:
    """What ran, and per group the rows of its first `n` clips, in order."""
    settings = Settings(options.steps, options.shift, options.cfg)
    ran = describe_models(
        FILES,
        settings,
        seed=options.seed,
        frames=FRAMES,
        height=SIDE,
        width=SIDE,
        drafted=list(ANCHORS),
        batch=options.batch,
    )
    done = read_lines(options.lines, ran)
    editor = load_core_editor(FILES, settings)
    for first in range(0, options.n, options.batch):
        for group in options.groups:
            beside = {"other": first < options.others, "own": first < options.own}
            wanted = {pair for pair, asked in beside.items() if asked}
            missing = [
                index
                for index in range(first, min(first + options.batch, options.n))
                if not is_measured(done.get((group, index)), wanted)
            ]
            if missing:
                started = time.process_time()
                rows = measure(editor, group, options.seed, missing[0], len(missing), **beside)
                seconds = (time.process_time() - started) / len(rows)
                for index, row in zip(missing, rows, strict=True):
                    done[group, index] = {**row, "seconds": round(seconds, 2)}
                    append_line(options.lines, {"clip": [group, index], **done[group, index]})
                print(f"{first + options.batch} · {group}: {seconds:.1f} s a clip", file=sys.stderr)
    kept = {group: [done[group, index] for index in range(options.n)] for group in options.groups}
    ran["clips"] = options.n
    ran["processor_minutes"] = sum(row["seconds"] for rows in kept.values() for row in rows) / 60
    return ran, kept


def is_measured(row: dict | None, wanted: set[str]) -> bool:
    """Whether a clip has its row, with all the pairs that are wanted of it now."""
    return row is not None and all(wanted <= frame.keys() for frame in row["frames"].values())


# --- measuring -----------------------------------------------------------------------------------
def measure(
    editor: CoreEditor,
    group: str,
    seed: int,
    first: int,
    count: int,
    other: bool = True,
    own: bool = False,
) -> list[dict]:
    """The rows of clips `first` … `first + count − 1` of one group.

    With `other` there is a full edit with another seed, with `own` drafts from their own noise.
    """
    batch, words = clips_of(group, seed, first, count)
    frames = to_bytes(batch.source)
    seeds = [clip_seed(seed, first + row) for row in range(count)]
    others = [clip_seed(seed, OTHER_SEED + first + row) for row in range(count)]
    shown = {
        "full": from_bytes(editor.edit(frames, words, seeds).frames)[:, list(ANCHORS)],
        "draft": from_bytes(draft(editor, frames, words, seeds)),
    }
    if other:
        edited = editor.edit(frames, words, others).frames
        shown["other"] = from_bytes(edited)[:, list(ANCHORS)]
    if own:
        shown["own"] = from_bytes(draft(editor, frames, words, seeds, own_noise=True))
    rows = []
    for row in range(count):
        options = possible(batch, row)[:, list(ANCHORS)]
        compared = {
            str(frame): compare(
                {name: edited[row, number] for name, edited in shown.items()}, options[:, number]
            )
            for number, frame in enumerate(ANCHORS)
        }
        rows.append({"words": words[row], "seeds": [seeds[row], others[row]], "frames": compared})
    return rows


def clips_of(group: str, seed: int, first: int, count: int) -> tuple[EditBatch, list[str]]:
    """Held-out clips of a group, and their instructions."""
    kind, wordings = OPEN.get(group, (group, ()))
    batch = held_out_clips(kind, seed, first, count)
    if not wordings:
        return batch, batch.instructions
    return batch, [
        wordings[(first + row) % len(wordings)].format(it=name_of(batch, row))
        for row in range(count)
    ]


def name_of(batch: EditBatch, row: int) -> str:
    """The edited object by its fullest name; of no use for an edit of the background."""
    scene = batch.source_scenes
    objects = [
        (list(COLOURS)[colour], SHAPES[shape])
        for colour, shape in zip(scene.colour[row].tolist(), scene.shape[row].tolist(), strict=True)
        if shape != EMPTY
    ]
    return name_object(objects, max(0, int(batch.edits.slot[row])))[0]


def draft(
    editor: CoreEditor,
    frames: Tensor,
    words: list[str],
    seeds: list[int],
    own_noise: bool = False,
) -> Tensor:
    """Drafts of clips (B, F, H, W, 3) uint8 at ANCHORS → (B, len(ANCHORS), H, W, 3) uint8.

    Each is a clip of one frame with the whole clip's noise at that frame, as in SAMA Drafts, or
    with its seed's `own_noise` for one frame.
    """
    count = len(ANCHORS)
    singles = frames[:, list(ANCHORS)].flatten(0, 1)[:, None]
    edited = editor.edit(
        singles,
        [line for line in words for _ in range(count)],
        [seed for seed in seeds for _ in range(count)],
        None if own_noise else noise_at_anchors(editor, frames, seeds),
    )
    return edited.frames[:, 0].unflatten(0, (len(frames), count))


def noise_at_anchors(
    editor: CoreEditor, frames: Tensor, seeds: list[int]
) -> list[tuple[Tensor, Tensor]]:
    """Per clip and anchor: the whole clip's noise at the latent frame that shows it."""
    config = editor.dit.config
    lattice = config.lattice
    size = (config.semantic_tokens, config.semantic_dim)
    cells = (side // lattice.spatial for side in frames.shape[2:4])
    whole = (lattice.channels, lattice.latents_of(frames.shape[1]), *cells)
    drawn = [joint_noise(whole, size, seed) for seed in seeds]
    at = [lattice.latents_of(pad_frame_count(frame + 1, lattice)) - 1 for frame in ANCHORS]
    return [(video[:, t : t + 1], semantic) for video, semantic in drawn for t in at]


def possible(batch: EditBatch, row: int) -> Tensor:
    """(K, F, H, W, 3): the truth, the source, and every other edit of the kind."""
    others = render(batch.wrong(row), *batch.source.shape[1:4])
    return torch.cat([batch.target[row : row + 1], batch.source[row : row + 1], others])


def compare(shown: dict[str, Tensor], options: Tensor) -> dict:
    """One frame (H, W, 3) of each edit in `shown`, beside `options` (K, H, W, 3)."""
    found = {name: nearest(frame, options) for name, frame in shown.items()}
    pairs = {
        "same": ("draft", "full"),
        "other": ("draft", "other"),
        "edits": ("full", "other"),
        "own": ("own", "full"),
    }
    return {
        "nearest": found,
        **{
            pair: asdict(beside(shown[one], shown[other], found[one] == found[other]))
            for pair, (one, other) in pairs.items()
            if {one, other} <= shown.keys()
        },
    }


def beside(one: Tensor, other: Tensor, alike: bool) -> Beside:
    """Compare two frames (H, W, 3)."""
    return Beside(round(float(psnr(one[None, None], other[None, None])), 3), alike)


# --- lines ---------------------------------------------------------------------------------------
def read_lines(path: Path | None, ran: dict) -> dict[tuple[str, int], dict]:
    """(group, clip) → row of an earlier run; a new file gets `ran` as its first line.

    Raises SamaError for the lines of a run with another seed, model or setting. A last line that
    was cut off by a kill is left out.
    """
    asked = {name: ran[name] for name in ("seed", "steps", "cfg", "shift", "drafted", "files")}
    if path is None:
        return {}
    if not path.exists():
        append_line(path, asked)
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    lines: Iterator[dict] = map(json.loads, whole.splitlines())
    if next(lines, asked) != asked:
        raise SamaError(
            needed("--lines", f"{path} of another run", "its own settings", "Name a new file.")
        )
    rows = [(line.pop("clip"), line) for line in lines]
    return {(group, index): row for (group, index), row in rows}


def append_line(path: Path | None, line: dict) -> None:
    """Add a line of JSON to the file, if there is one."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


# --- report --------------------------------------------------------------------------------------
def summary(rows: list[dict]) -> dict:
    """Frame → means of the pairs, and what the own seed adds over another one."""
    return {frame: summarise([row["frames"][frame] for row in rows]) for frame in map(str, ANCHORS)}


def summarise(frames: list[dict]) -> dict:
    """One frame of all clips of a group."""
    pairs = {}
    for name in PAIRS:
        of_pair = [frame[name] for frame in frames if name in frame]
        if of_pair:
            alike = sum(pair["alike"] for pair in of_pair)
            pairs[name] = {
                "clips": len(of_pair),
                "db": mean(pair["db"] for pair in of_pair),
                "alike": alike / len(of_pair),
                "alike_95": list(wilson(alike, len(of_pair))),
            }
    both = [frame for frame in frames if "other" in frame]
    gain = compare_pairs([frame["same"]["db"] - frame["other"]["db"] for frame in both])
    kept = compare_clips(*([frame[name]["alike"] for frame in both] for name in ("same", "other")))
    right = {
        name: mean(frame["nearest"][name] == 0 for frame in frames) for name in ("draft", "full")
    }
    finite = {name: None if math.isnan(value) else value for name, value in asdict(gain).items()}
    return {"clips": len(frames), **pairs, "gain_db": finite, "kept": asdict(kept), "right": right}


def table(groups: dict[str, dict]) -> str:
    """Markdown: a row per group and frame; pairs as dB and share of the same edit."""
    head = ("edit", "frame", *PAIRS.values(), "own seed adds, dB (95 %)", "right: draft / full")
    rows = [head, ("---",) * len(head)]
    for group, frames in groups.items():
        for frame, row in frames.items():
            gain = row["gain_db"]
            adds = f"{gain['mean']:+.1f}"
            if gain["low"] is not None:
                adds += f" ({gain['low']:+.1f} to {gain['high']:+.1f})"
            pairs = (
                f"{row[name]['db']:.1f}, {row[name]['alike']:.0%}" if name in row else "–"
                for name in PAIRS
            )
            right = f"{row['right']['draft']:.0%} / {row['right']['full']:.0%}"
            rows.append((group, frame, *pairs, adds, right if group in TAUGHT else "–"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--seed", type=int, default=0, help="decides clips and noise (0)")
    found.add_argument("--n", type=int, default=100, help="clips of each group (100)")
    found.add_argument(
        "--groups", nargs="+", default=list(GROUPS), metavar="GROUP", help=", ".join(GROUPS)
    )
    found.add_argument("--steps", type=int, default=embedded.STEPS, help="sampling steps")
    found.add_argument("--shift", type=float, default=5.0, help="schedule shift (5)")
    found.add_argument("--cfg", type=float, default=embedded.CFG, help="guidance")
    found.add_argument("--batch", type=int, default=10, help="clips edited at once (10)")
    found.add_argument(
        "--others", type=int, default=50, help="first clips with another seed, too (50)"
    )
    found.add_argument("--own", type=int, default=10, help="first clips with own noise, too (10)")
    found.add_argument("--lines", type=Path, help="a line per finished clip; goes on from it")
    found.add_argument("--json", type=Path, help="write all numbers here")
    return found


if __name__ == "__main__":
    sys.exit(main())
