"""Small real files to train on: clips, images, a JSONL file, and the untrained SAMA with its text
encoder.
"""

import json
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from PIL import Image

from sama_core import embedded
from sama_core.training.config import TrainConfig

from ..harness.untrained import write_untrained
from ..harness.write_clip import write_clip

RED, BLUE, GREEN = (220, 30, 30), (30, 30, 220), (30, 200, 30)


def clip(
    path: Path, colour: tuple[int, int, int], frames: int = 5, size: tuple[int, int] = (32, 32)
) -> str:
    """A square of `colour` that moves two pixels a frame over grey; returns the file's name."""
    height, width = size
    pictures = np.full((frames, height, width, 3), 128, np.uint8)
    for number, picture in enumerate(pictures):
        picture[8:24, 2 * number : 2 * number + 16] = colour
    write_clip(path, list(pictures), Fraction(8))
    return path.name


def image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> str:
    """A plain picture; returns the file's name."""
    Image.new("RGB", (size[1], size[0]), colour).save(path)
    return path.name


def pair(source: str, target: str, instruction: str) -> dict:
    return {"source": source, "target": target, "instruction": instruction}


def jsonl(path: Path, rows: list) -> Path:
    """Rows as JSON lines; a string is a line as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@cache
def models() -> Path:
    """A models folder with the untrained SAMA, made once."""
    folder = Path(mkdtemp(prefix="sama_models_"))
    write_untrained(folder)
    return folder


def settings(data: Path, output: Path, **changes) -> dict:
    """Settings of a short run on `data` with the untrained model and the pack's own VAE."""
    return {
        "stage": 1,
        "data": str(data),
        "model": str(models() / "diffusion_models" / "sama_untrained.safetensors"),
        "text_encoder": str(models() / "text_encoders" / "sama_untrained_umt5.safetensors"),
        "vae": str(embedded.VAE),
        "output": str(output),
        "steps": 4,
        "batch_size": 2,
        "frames": 5,
        "height": 32,
        "width": 32,
        "image_share": 0.0,
        "warmup": 1,
        "log_every": 1,
        "checkpoint_every": 2,
        "learning_rate": 1e-3,
        "ema": 0.5,
        **changes,
    }


def config(data: Path, output: Path, **changes) -> TrainConfig:
    return TrainConfig(**settings(data, output, **changes))


def recipe(path: Path, values: dict) -> Path:
    """The settings as a TOML file; a dictionary is a table at its end."""
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    text = _lines(plain)
    for name, table in values.items():
        if isinstance(table, dict):
            text += f"[{name}]\n{_lines(table)}"
    path.write_text(text, encoding="utf-8")
    return path


def _lines(values: dict) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def report(output: Path) -> list[dict]:
    return [
        json.loads(line)
        for line in (output / "bad_rows.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def losses(output: Path) -> list[float]:
    return logged(output, "total")


def logged(output: Path, name: str) -> list[float]:
    """A loss of each logged step."""
    return [
        json.loads(line)[name]
        for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
