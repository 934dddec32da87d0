"""A LoRA over SAMA-Shapes in fp8 beside one over SAMA-Shapes as it ships: validation losses.

    OMP_NUM_THREADS=1 python -m benchmarks.train_fp8_base --json train_fp8_base.json

Images of SAMA-Shapes' world and the same with red and blue swapped, an edit that the model does not
know, are rows of a file; some are held out. `sama_core.convert` writes the model as fp8_scaled, and
the pack's own trainer trains three times with the same settings: over the file as it ships, over
the one in fp8, and, for a step, over the file as it ships from the LoRA that was trained over fp8.
All on one CPU thread, in float32. Losses are `[validation]`'s: held-out rows at fixed noise levels
and fixed noise.

    measured   validation loss before the first step and after the last, of both bases; and of the
               fp8 base's LoRA on the other base
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from benchmarks.report import describe_run, finish
from sama_core import embedded
from sama_core.convert.job import convert
from sama_core.shapes.swapped_pairs import INSTRUCTION
from sama_core.shapes.world import generator_for, render, sample_scenes
from sama_core.training.__main__ import main as train
from sama_core.training.lora_file import LORA
from sama_core.training.outputs import VALIDATION_FILE

SIDE = 64


def write_rows(folder: Path, count: int, seed: int) -> Path:
    """Pairs of images, the target with red and blue swapped; returns the file of rows."""
    scenes = sample_scenes(generator_for(seed, "train", 0), count, 1)
    rows = []
    for number, frames in enumerate(render(scenes, 1, SIDE, SIDE)):
        pixels = (frames[0] * 255).round().byte().numpy()
        names = {"source": f"{number}_source.png", "target": f"{number}_target.png"}
        Image.fromarray(pixels).save(folder / names["source"])
        Image.fromarray(pixels[..., ::-1].copy()).save(folder / names["target"])
        rows.append(json.dumps({**names, "instruction": INSTRUCTION}))
    path = folder / "rows.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_recipe(
    path: Path, rows: Path, model: Path, steps: int, batch: int, held: int, init: Path | None
) -> Path:
    """Settings of one of the trainings; its output folder is named after the recipe."""
    settings: dict[str, object] = {
        "stage": 1,
        "data": str(rows),
        "model": str(model),
        "vae": str(embedded.VAE),
        "text_encoder": str(embedded.TEXT_ENCODER),
        "output": str(path.with_suffix("")),
        "steps": steps,
        "batch_size": batch,
        "image_share": 1.0,
        "frames": 1,
        "height": SIDE,
        "width": SIDE,
        "lora_rank": 16,
        "learning_rate": 2e-3,
        "warmup": 5,
        "ema": 0.9,
        "text_dropout": 0.0,
        **({"init": str(init)} if init else {}),
    }
    tables: dict[str, dict[str, object]] = {
        "validation": {"rows": held, "every": steps},
        "clips": {"cache_folder": str(rows.parent / "cache")},
    }
    text = _lines(settings) + "".join(f"[{name}]\n{_lines(one)}" for name, one in tables.items())
    path.write_text(text, encoding="utf-8")
    return path


def _lines(settings: dict[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def train_and_read(recipe: Path) -> list[float]:
    """Validation losses of a training, from before its first step to after its last."""
    with _accelerate_anew():
        if train(["train", str(recipe)]):
            raise SystemExit(f"{recipe.name} failed")
    lines = (recipe.with_suffix("") / VALIDATION_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["validation"] for line in lines]


@contextmanager
def _accelerate_anew() -> Iterator[None]:
    """Several trainings in one process: accelerate keeps one state for each."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def compare(folder: Path, rows: int, held: int, steps: int, batch: int, seed: int) -> dict:
    """All three trainings in `folder`, and what follows."""
    data, fp8 = write_rows(folder, rows, seed), folder / "shapes_fp8.safetensors"
    convert(embedded.DIT, fp8, "fp8_scaled")
    whole = train_and_read(
        write_recipe(folder / "whole.toml", data, embedded.DIT, steps, batch, held, None)
    )
    packed = train_and_read(write_recipe(folder / "fp8.toml", data, fp8, steps, batch, held, None))
    start = folder / "fp8" / LORA
    moved = train_and_read(
        write_recipe(folder / "moved.toml", data, embedded.DIT, 1, batch, held, start)
    )
    return {
        "validation": {
            "float_base": {"before": whole[0], "after": whole[-1]},
            "fp8_base": {"before": packed[0], "after": packed[-1]},
            "lora_of_fp8_on_float_base": moved[0],
        },
        "fp8_against_float": {
            "before": packed[0] / whole[0] - 1,
            "after": packed[-1] / whole[-1] - 1,
        },
        "lora_of_fp8_on_float_base_against_no_lora": moved[0] / whole[0] - 1,
        "lora_of_fp8_on_float_base_against_its_own": moved[0] / packed[-1] - 1,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rows", type=int, default=44)
    made.add_argument("--held", type=int, default=12, help="rows that are held out")
    made.add_argument("--steps", type=int, default=30)
    made.add_argument("--batch", type=int, default=4)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", type=Path)
    options = made.parse_args(arguments)
    torch.set_num_threads(1)
    settings = {name: getattr(options, name) for name in ("rows", "held", "steps", "batch", "seed")}
    with TemporaryDirectory() as folder:
        found = compare(Path(folder), **settings)
    finish({"ran": describe_run("accelerate", "peft", **settings), **found}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
