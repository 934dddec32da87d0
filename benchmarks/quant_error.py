"""How far each converted form is from the unquantised model, loaded through ComfyUI's own loaders.

    python -m benchmarks.quant_error --seed 0 --n 2 --gguf-pack DIR --json quant_error.json

Two models are converted: the golden `dit_headdim128` (random weights, two blocks, stored as
float32) and the embedded SAMA-Shapes (trained, float16). Each result is loaded in this process, the
float8 forms by the pack's loader into core's mixed precision layers, GGUF by the loader and layers
of ComfyUI-GGUF if its folder is given with `--gguf-pack`, else by the library's dequantisation and
the ordinary loader. Everything is computed in float32 on the CPU.

velocity   relative L2 of the DiT's video velocity from the unquantised model's: on the golden
           cases; on held-out clips, noised to sigma 1, 0.8, 0.5 and 0.2
edit       PSNR in dB of SAMA-Shapes' edits (8-bit frames, sampled as it is made for, `--n` clips of
           each kind it was taught) against the unquantised model's edits with the same noise; its
           least and its mean over clips

`fp8_fast` is measured a second time with core made to believe that the CPU multiplies float8, which
it then emulates: this is what cards with float8 units compute.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.comfyui import find, start_here
from benchmarks.loaded_dit import LoadedDit, Loader, float8_everywhere
from benchmarks.own_process import ROOT
from benchmarks.report import describe_run, finish
from sama_core import embedded
from sama_core.convert.formats import FORMATS, default_name, format_named
from sama_core.convert.job import convert
from sama_core.model.schedule import TRAIN_TIMESTEPS, round_timestep
from sama_core.shapes.gate import Settings, load_core_editor
from sama_core.shapes.gate.clip_scores import from_bytes, to_bytes
from sama_core.shapes.gate.core_editor import (
    ModelFiles,
    clip_seed,
    joint_noise,
)
from sama_core.shapes.gate.evaluate import held_out_clips
from sama_core.shapes.world import TAUGHT

GOLDEN = ROOT / "tests" / "golden" / "dit_headdim128.safetensors"
SIGMAS = (1.0, 0.8, 0.5, 0.2)


class Measure:
    """The inputs, and what the unquantised models make of them."""

    def __init__(self, count: int, seed: int):
        self.golden = load_file(GOLDEN)
        files = ModelFiles(embedded.DIT, embedded.TEXT_ENCODER, embedded.VAE)
        self.editor = load_core_editor(files, Settings())
        batches = [held_out_clips(kind, seed, 0, count) for kind in TAUGHT]
        self.frames = to_bytes(torch.cat([batch.source for batch in batches]))
        self.truth = to_bytes(torch.cat([batch.target for batch in batches]))
        self.words = [line for batch in batches for line in batch.instructions]
        self.seeds = [clip_seed(seed, index) for index in range(len(self.words))]

    def golden_velocity(self, dit: LoadedDit) -> Tensor:
        """All video velocities of the golden cases, in one row."""
        out = []
        for case in sorted(
            {key.rsplit(".", 2)[0] for key in self.golden if key.endswith(".timestep")}
        ):
            inputs = [
                self.golden.get(f"{case}.{name}")
                for name in ("context", "source_latents", "semantic_latents")
            ]
            out += [
                dit(self.golden[f"{case}.latents"], self.golden[key], *inputs)[0].flatten()
                for key in sorted(self.golden)
                if key.startswith(case) and key.endswith(".timestep")
            ]
        return torch.cat(out)

    def shapes_velocity(self, dit: LoadedDit) -> Tensor:
        """Video velocities on clips noised along the truth, in one row."""
        source, target = self.editor.encode(self.frames), self.editor.encode(self.truth)
        text = self.editor.text_encoder(self.editor.token_rows(self.words))
        size = (dit.config.semantic_tokens, dit.config.semantic_dim)
        drawn = [joint_noise(source.shape[1:], size, seed) for seed in self.seeds]
        noise, semantic = (torch.stack(part) for part in zip(*drawn, strict=True))
        out = []
        for sigma in SIGMAS:
            timestep = round_timestep(torch.tensor([sigma * TRAIN_TIMESTEPS]))
            mixed = sigma * noise + (1 - sigma) * target
            out.append(dit(mixed, timestep, text, source, semantic)[0].flatten())
        return torch.cat(out)

    def edits(self, dit: LoadedDit) -> Tensor:
        """uint8 frames of every clip's edit."""
        self.editor.dit = dit
        return self.editor.edit(self.frames, self.words, self.seeds).frames


@torch.no_grad()
def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    comfyui = find(options.comfyui)
    start_here(comfyui.folder, cpu=True)
    measure = Measure(options.n, options.seed)
    with tempfile.TemporaryDirectory(prefix="sama-quant-") as folder:
        golden, shapes = write_golden(measure.golden, Path(folder)), embedded.DIT
        load = Loader(options.gguf_pack, Path(folder))
        whole, whole_shapes = load(golden), load(shapes)
        references = (
            measure.golden_velocity(whole),
            measure.shapes_velocity(whole_shapes),
            measure.edits(whole_shapes),
        )
        rows = {}
        for name in options.formats:
            files = [convert_into(Path(folder), path, name) for path in (golden, shapes)]
            rows[name] = compare(measure, references, [load(path) for path in files])
            bits = 8 * files[1].stat().st_size / count_weights(shapes)
            rows[name]["bits_per_weight_of_file"] = round(bits, 2)
            if name == "fp8_fast":
                with float8_everywhere():
                    dits = [load(path) for path in files]
                    rows[f"{name}, multiplied in float8"] = compare(measure, references, dits)
            print(name, json.dumps(rows[name]), file=sys.stderr, flush=True)
    ran = describe_run(
        "gguf",
        seed=options.seed,
        clips=len(measure.words),
        sigmas=SIGMAS,
        comfyui=".".join(map(str, comfyui.version())),
        gguf_read_by=load.describe_gguf_reader(),
    )
    finish({"ran": ran, "formats": rows}, options.json)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line\'s options."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument(
        "--formats", nargs="+", default=[name for name in FORMATS if name != "gguf_f16"]
    )
    made.add_argument("--n", type=int, default=2, help="clips of each kind of edit")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument(
        "--comfyui", metavar="DIR", help="ComfyUI's folder (default: as run.py finds it)"
    )
    made.add_argument(
        "--gguf-pack", type=Path, metavar="DIR", help="folder of the custom nodes ComfyUI-GGUF"
    )
    made.add_argument("--json", type=Path)
    return made


def write_golden(golden: dict, folder: Path) -> Path:
    """The golden model's weights as a float32 file."""
    path = folder / "golden.safetensors"
    save_file(
        {
            key.removeprefix("weights."): value.float()
            for key, value in golden.items()
            if key.startswith("weights.")
        },
        path,
    )
    return path


def convert_into(folder: Path, path: Path, name: str) -> Path:
    """Convert a file to the format of that name; the new file."""
    return convert(path, folder / default_name(path, format_named(name)), name).target


def compare(measure: Measure, references: tuple, dits: list[LoadedDit]) -> dict:
    """How far converted models, golden and Shapes, are from what the unquantised ones made."""
    golden, shapes = dits
    psnr = [
        decibels(one, other)
        for one, other in zip(measure.edits(shapes), references[2], strict=True)
    ]
    return {
        "golden_velocity": distance(measure.golden_velocity(golden), references[0]),
        "shapes_velocity": distance(measure.shapes_velocity(shapes), references[1]),
        "edit_psnr_mean": round(sum(psnr) / len(psnr), 1),
        "edit_psnr_least": round(min(psnr), 1),
    }


def distance(got: Tensor, expected: Tensor) -> float:
    """Relative L2."""
    return float(f"{((got - expected).norm() / expected.norm()).item():.3g}")


def decibels(one: Tensor, other: Tensor) -> float:
    """PSNR of 8-bit frames, 99 where they are equal."""
    error = (from_bytes(one) - from_bytes(other)).square().mean().item()
    return 99.0 if error == 0 else -10 * math.log10(error)


def count_weights(path: Path) -> int:
    """Weights in a safetensors file."""
    return sum(value.numel() for value in load_file(path).values())


if __name__ == "__main__":
    sys.exit(main())
