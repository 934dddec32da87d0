"""What a LoRA teaches that was trained in ComfyUI: red and blue swapped, measured on other clips.

    python -m benchmarks.shapes.train_lora --pairs 12 --steps 120 --clips 24 --json FILE
    python -m benchmarks.shapes.train_lora --pairs 1 --steps 60 --clips 8 --json FILE
    python -m benchmarks.shapes.train_lora --lora FILE --clips 24 --json FILE

A real ComfyUI server gets the graph of the workflow `9 Train a LoRA` with its own Train LoRA, and
then edits clips of other seeds with the saved LoRA and without it (`LoraLoaderModelOnly`, strength
1 and 0), with the same noise. `--lora` measures a file that was trained elsewhere.

dB      PSNR over a whole clip against the source with red and blue swapped; mean over clips
gain    with the LoRA, less without it
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.own_process import ROOT
from benchmarks.report import describe_run, finish
from benchmarks.shapes.comfyui_editor import ComfyEditor, running_comfyui
from sama_core import embedded
from sama_core.errors import SamaError
from sama_core.launch.places import Places
from sama_core.shapes.gate.clip_scores import to_bytes
from sama_core.shapes.gate.core_editor import ModelFiles, Settings
from sama_core.shapes.swapped_pairs import INSTRUCTION, SEED, draw_pairs, write_joined

TEST_SEED = 77
FILES = ModelFiles(embedded.DIT, embedded.TEXT_ENCODER, embedded.VAE)
NAME = "benchmark"
PAIR, TRAIN, SAVE = "6", "7", "10"
"""Nodes of the graph `train_lora`."""
NEEDED = ("1", "2", "3", "4", "5", PAIR, TRAIN, SAVE)


class LoraEditor(ComfyEditor):
    """A `ComfyEditor` that can train a LoRA, and edits with one."""

    lora = ""
    strength = 0.0

    @property
    def base(self) -> Path:
        """ComfyUI's base directory."""
        return Places(work=self.folder).base

    def _queue(self, graph: dict) -> dict:
        """Run a graph; in an edit the LoRA stands between model and edit."""
        if "edited" in graph and self.lora:
            edit = graph["edited"]["inputs"]
            inputs = {"lora_name": self.lora, "strength_model": self.strength}
            graph["lora"] = {
                "class_type": "LoraLoaderModelOnly",
                "inputs": {"model": edit["model"], **inputs},
            }
            edit["model"] = ["lora", 0]
        return super()._queue(graph)

    def train(self, asked: argparse.Namespace) -> float:
        """Train a LoRA as `asked`; returns the seconds of loading, encoding and training."""
        text = (ROOT / "workflows" / "api" / "train_lora.json").read_text(encoding="utf-8")
        graph = {key: json.loads(text)[key] for key in NEEDED}
        names = [self.folder / f"{name}.mp4" for name in ("before", "after")]
        write_joined(*names, asked.pairs, asked.seed)
        for key, path in zip(("4", "5"), names, strict=True):
            graph[key]["inputs"]["file"] = self.client.upload(path)
        graph[TRAIN]["inputs"] |= {"steps": asked.steps, "learning_rate": asked.rate}
        graph[SAVE]["inputs"]["prefix"] = f"loras/{NAME}"
        started = time.perf_counter()
        self._queue(graph)
        seconds = time.perf_counter() - started
        (made,) = (self.base / "output" / "loras").glob(f"{NAME}_*.safetensors")
        self.lora = made.name
        return seconds

    def take(self, lora: Path) -> None:
        """Edit with a LoRA file from elsewhere."""
        folder = self.base / "models" / "loras"
        folder.mkdir(parents=True, exist_ok=True)
        self.lora = shutil.copy(lora, folder / lora.name).name

    def measure(self, source: Tensor, target: Tensor, strength: float) -> list[float]:
        """dB of every clip's edit (F, H, W, 3) in 0…1 against its target."""
        self.strength = strength
        words, seeds = [INSTRUCTION] * len(source), range(1, len(source) + 1)
        edited = self.edit(to_bytes(source), words, seeds).frames.float() / 255
        return psnr(edited, target)


def psnr(clips: Tensor, truth: Tensor) -> list[float]:
    """dB of each clip of a batch."""
    return (-10 * (clips - truth).square().flatten(1).mean(1).log10()).tolist()


def run(asked: argparse.Namespace) -> dict:
    """Train or take a LoRA, then edit the clips of the test."""
    source, target = draw_pairs(asked.clips, TEST_SEED)
    with running_comfyui(FILES, Settings(), asked.comfyui) as editor:
        mine = LoraEditor(
            editor.client, editor.files, editor.settings, editor.folder, editor.server
        )
        trained = None
        if asked.lora:
            mine.take(asked.lora)
        else:
            trained = mine.train(asked)
        without, with_lora = (mine.measure(source, target, strength) for strength in (0.0, 1.0))
    rows = list(zip(psnr(source, target), without, with_lora, strict=True))
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    made = {"lora": asked.lora.name} if asked.lora else {"pairs": asked.pairs, "steps": asked.steps}
    return {
        **describe_run("numpy", **made, clips=asked.clips, seeds=[asked.seed, TEST_SEED]),
        "train_seconds": trained,
        "mean_db": dict(zip(("source", "without", "with"), means, strict=True)),
        "gain_db": means[2] - means[1],
        "least_gain_db": min(row[2] - row[1] for row in rows),
        "clips_db": rows,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command, see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shapes.train_lora",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--pairs", type=int, default=12, help="pairs to train on (default: %(default)s)")
    add("--steps", type=int, default=120, help="steps (default: %(default)s)")
    add("--rate", type=float, default=0.004, help="learning rate (default: %(default)s)")
    add("--seed", type=int, default=SEED, help="of the pairs (default: %(default)s)")
    add("--clips", type=int, default=24, help="clips of the test (default: %(default)s)")
    add("--lora", type=Path, help="measure this file, and train nothing")
    add("--comfyui", help="ComfyUI's folder")
    add("--json", type=Path, help="write the result to this file")
    asked = parser.parse_args(arguments)
    torch.manual_seed(0)
    try:
        finish(run(asked), asked.json)
    except SamaError as error:
        sys.exit(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
