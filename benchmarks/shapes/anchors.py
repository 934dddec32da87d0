"""Anchors that carry: an object of the given first frame, a drawing that the model has never seen,
has to follow the object that it replaces to the last frame.

    python -m benchmarks.shapes.anchors --n 100 --edits 200 --json anchors.json --sheet anchors.png

with, without   clips of the split `test` (17 frames of 64x64), one of ten held-out drawings in the
                first frame; edited with the LoRA and without it, the first frame given clean in
                both. Share of clips whose last frame is nearest, at the object's true place, to
                the drawing of the first frame among the ten; among the ten and the source; and to
                which of the ten it is most like, however faint it is
codec           the same share for the truth, encoded and decoded: no edit can do better
edits           the gate's five edits, without an anchor: accuracy with the LoRA, and without it

Every clip is a line in --lines, and is not made again: a run that was stopped goes on. With
`--without-edits FILE` the accuracy without the LoRA is read from a result of
`benchmarks.shapes.gate` with the same seed and number of clips, instead of being measured again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.report import check_folder, check_least, finish
from benchmarks.shapes.anchor_clips import AnchorClips, anchor_clips, judge
from benchmarks.shapes.anchor_drawings import held_out_drawings
from benchmarks.shapes.report import describe_models
from sama_core import embedded
from sama_core.errors import SamaError, needed
from sama_core.model.dit import SamaDiT
from sama_core.shapes.gate import CoreEditor, Settings, load_core_editor
from sama_core.shapes.gate.clip_scores import (
    from_bytes,
    is_right,
    to_bytes,
    wilson,
)
from sama_core.shapes.gate.core_editor import ModelFiles, clip_seed
from sama_core.shapes.gate.evaluate import FRAMES, held_out_clips
from sama_core.shapes.world import TAUGHT

LEAST_CARRIED, MOST_LOST = 0.80, 0.01
"""Least share of clips with the right drawing in the last frame; most accuracy that an edit may
lose."""


def apply_lora(dit: SamaDiT, path: Path) -> None:
    """Add a LoRA file of this pack's to the weights, in place, in float32."""
    lora, weights = load_file(path), dict(dit.named_parameters())
    for name, down in lora.items():
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            up = lora[f"{layer}.lora_B.weight"].float()
            with torch.no_grad():
                weights[layer.removeprefix("diffusion_model.") + ".weight"] += up @ down.float()


class Lines:
    """Results of clips as lines of JSON, kept by what they are of."""

    def __init__(self, path: Path | None):
        self.path, self.found = path, dict[str, dict]()
        if path and path.exists():
            for text in path.read_text(encoding="utf-8").splitlines():
                line = json.loads(text)
                self.found[line.pop("clip")] = line

    def missing(self, names: list[str]) -> list[int]:
        """The places in `names` of which there is no line."""
        return [place for place, name in enumerate(names) if name not in self.found]

    def add(self, name: str, line: dict) -> None:
        """Keep one."""
        self.found[name] = line
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"clip": name, **line}) + "\n")


def measure_anchors(
    editor: CoreEditor | None, arm: str, options: argparse.Namespace, lines: Lines
) -> list[dict]:
    """The judgements of all anchored clips of one arm; without an editor those of the codec."""
    names = [f"{arm} {options.seed} {index}" for index in range(options.n)]
    for part in _batches(lines.missing(names), options.batch):
        clips = anchor_clips(options.seed, part[0], part[-1] - part[0] + 1)
        made = _edit(editor or options.plain, clips, part, options.seed, bool(editor))
        for row, index in enumerate(range(part[0], part[-1] + 1)):
            lines.add(names[index], judge(clips, row, from_bytes(made[row])))
        _say(arm, part[-1] + 1, options.n, options.started)
    return [lines.found[name] for name in names]


def _edit(
    editor: CoreEditor, clips: AnchorClips, part: list[int], seed: int, edits: bool
) -> Tensor:
    """Edited clips, or the truth as the codec shows it; uint8 (B, F, H, W, 3)."""
    truth = to_bytes(clips.target)
    if not edits:
        return editor.round_trip(truth)
    seeds = [clip_seed(seed, index) for index in range(part[0], part[-1] + 1)]
    source = to_bytes(clips.source)
    return editor.edit(source, clips.words, seeds, anchors=truth[:, :1]).frames


def measure_edits(
    editor: CoreEditor, arm: str, options: argparse.Namespace, lines: Lines
) -> dict[str, list[dict]]:
    """Whether each of the gate's clips is right, by kind of edit."""
    names = {
        kind: [f"{arm} {kind} {options.seed} {index}" for index in range(options.edits)]
        for kind in TAUGHT
    }
    for first in range(0, options.edits, options.batch):  # all kinds side by side
        for kind in TAUGHT:
            last = min(first + options.batch, options.edits)
            if not lines.missing(names[kind][first:last]):
                continue
            clips = held_out_clips(kind, options.seed, first, last - first)
            seeds = [clip_seed(options.seed, index) for index in range(first, last)]
            made = editor.edit(to_bytes(clips.source), clips.instructions, seeds).frames
            for row, index in enumerate(range(first, last)):
                right = is_right(clips, row, from_bytes(made[row]))
                lines.add(names[kind][index], {"right": right})
            _say(f"{arm} {kind}", last, options.edits, options.started)
    return {kind: [lines.found[name] for name in names[kind]] for kind in TAUGHT}


def _batches(places: list[int], size: int) -> Iterator[list[int]]:
    """Runs of neighbouring places, `size` at most."""
    part: list[int] = []
    for place in places:
        if part and (len(part) == size or place != part[-1] + 1):
            yield part
            part = []
        part.append(place)
    if part:
        yield part


def _say(what: str, done: int, total: int, started: float) -> None:
    took = time.perf_counter() - started
    print(f"{what}: {done} of {total} · {took:.0f} s", file=sys.stderr, flush=True)


def share(judged: list[dict], name: str) -> dict:
    """How many are so, with Wilson's 95 % interval."""
    hits = sum(line[name] for line in judged)
    low, high = wilson(hits, len(judged))
    return {
        "clips": len(judged),
        "hits": hits,
        "share": hits / len(judged),
        "share_95": [low, high],
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
    """Check, measure, print and store; 0 where the drawings are carried and no edit suffers."""
    check(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.started, lines = time.perf_counter(), Lines(options.lines)
    files = ModelFiles(embedded.DIT, embedded.TEXT_ENCODER, embedded.VAE)
    options.plain, carrying = (load_core_editor(files, Settings()) for _ in range(2))
    apply_lora(carrying.dit, options.lora)
    anchors = {
        name: summary(measure_anchors(editor, name, options, lines))
        for name, editor in (("with", carrying), ("without", options.plain), ("codec", None))
    }
    edits = compare_edits(options, carrying, lines) if options.edits else {}
    report = {
        "ran": describe_models(
            files,
            Settings(),
            lora=options.lora.name,
            lora_bytes=options.lora.stat().st_size,
            seed=options.seed,
            clips=options.n,
            clips_per_edit=options.edits,
            seconds=time.perf_counter() - options.started,
        ),
        "anchors": anchors,
        "edits": edits,
        "passes": judge_report(anchors, edits),
    }
    if options.sheet:
        write_sheet(options.sheet, options, carrying)
    finish(report, options.json)
    return 0 if all(report["passes"].values()) else 1


def check(options: argparse.Namespace) -> None:
    """Raises SamaError for what cannot be measured, before anything is loaded."""
    check_least(options, n=1, seed=0, edits=0, batch=1)
    for option, path in (("--json", options.json), ("--sheet", options.sheet)):
        check_folder(option, path)


def summary(judged: list[dict]) -> dict:
    """Shares of the clips of one arm, of all drawings and of each."""
    names = list(held_out_drawings())
    return {
        **{name: share(judged, name) for name in ("of_ten", "and_source", "most_like")},
        "by_drawing": {
            name: share(own, "of_ten")["share"]
            for number, name in enumerate(names)
            if (own := judged[number :: len(names)])
        },
    }


def compare_edits(options: argparse.Namespace, carrying: CoreEditor, lines: Lines) -> dict:
    """Each of the gate's edits: accuracy with the LoRA and without it, on the same clips."""
    found = measure_edits(carrying, "with", options, lines)
    before = (
        read_gate(options.without_edits, options)
        if options.without_edits
        else {
            kind: share(judged, "right")
            for kind, judged in measure_edits(options.plain, "without", options, lines).items()
        }
    )
    return {
        kind: {"with": share(judged, "right"), "without": before[kind]}
        for kind, judged in found.items()
    }


def read_gate(path: Path, options: argparse.Namespace) -> dict[str, dict]:
    """The accuracies of the gate's result. Raises SamaError where its clips are others."""
    report = json.loads(path.read_text(encoding="utf-8"))
    ran = report["ran"]
    if (ran["seed"], ran["clips"]) != (options.seed, options.edits):
        got = f"seed {ran['seed']}, {ran['clips']} clips"
        need = f"seed {options.seed}, {options.edits} clips"
        raise SamaError(needed("--without-edits", got, need, "Measure the same clips."))
    return {
        kind: {"clips": row["clips"], "share": row["accuracy"], "share_95": row["accuracy_95"]}
        for kind, row in report["edits"].items()
    }


def judge_report(anchors: dict, edits: dict) -> dict[str, bool]:
    """Whether the drawings are carried, and whether each edit is as good as before."""
    kept = {
        kind: row["with"]["share"] >= row["without"]["share"] - MOST_LOST - 1e-9
        for kind, row in edits.items()
    }
    return {"carried": anchors["with"]["of_ten"]["share"] >= LEAST_CARRIED, **kept}


def write_sheet(path: Path, options: argparse.Namespace, carrying: CoreEditor) -> None:
    """One clip of each drawing: source, edit with the LoRA, edit without it, and the truth; of
    each the first, the middle and the last frame."""
    places = list(range(min(options.n, len(held_out_drawings()))))
    clips = anchor_clips(options.seed, 0, len(places))
    made = [
        _edit(editor, clips, places, options.seed, True) for editor in (carrying, options.plain)
    ]
    columns = [to_bytes(clips.source), *made, to_bytes(clips.target)]
    strips = torch.cat([column[:, [0, FRAMES // 2, FRAMES - 1]] for column in columns], 1)
    picture = strips.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)  # a clip to a row
    Image.fromarray(picture.numpy()).resize(
        (2 * picture.shape[1], 2 * picture.shape[0]), Image.Resampling.NEAREST
    ).save(path)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--lora", type=Path, default=embedded.ANCHOR_LORA, help="a LoRA file")
    found.add_argument("--seed", type=int, default=0, help="decides clips and noise (0)")
    found.add_argument("--n", type=int, default=100, help="clips with an anchor (100)")
    found.add_argument("--edits", type=int, default=200, help="clips of each edit (200); 0: none")
    found.add_argument("--batch", type=int, default=10, help="clips edited at once (10)")
    found.add_argument("--threads", type=int, default=0, help="threads of torch (its own choice)")
    found.add_argument("--lines", type=Path, help="keep every clip's result here, and go on there")
    found.add_argument("--without-edits", type=Path, help="a result of benchmarks.shapes.gate")
    found.add_argument("--json", type=Path, help="write all numbers here")
    found.add_argument("--sheet", type=Path, help="write a contact sheet PNG here")
    return found


if __name__ == "__main__":
    sys.exit(main())
