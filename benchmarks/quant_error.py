"""How far each converted form is from the unquantised model, loaded through ComfyUI's own loaders.

    .venv/bin/python benchmarks/quant_error.py --seed 0 --n 2 --gguf-pack DIR --json quant_error.json

Two models are converted: the golden `dit_headdim128` (random weights, two blocks, stored as float32) and the embedded
SAMA-Shapes (trained, float16). Each result is loaded in this process, the float8 forms by the pack's loader into core's
mixed precision layers, GGUF by the loader and layers of ComfyUI-GGUF if its folder is given with `--gguf-pack`, else by
the library's dequantisation and the ordinary loader. Everything is computed in float32 on the CPU.

velocity   relative L2 of the DiT's video velocity from the unquantised model's: on the golden cases; on held-out clips,
           noised to sigma 1, 0.8, 0.5 and 0.2
edit       PSNR in dB of SAMA-Shapes' edits (8-bit frames, sampled as it is made for, `--n` clips of each kind
           it was taught) against the unquantised model's edits with the same noise; its least and its mean over clips

`fp8_fast` is measured a second time with core made to believe that the CPU multiplies float8, which it then emulates:
this is what cards with float8 units compute.
"""

import argparse
import importlib.util
import json
import logging
import math
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if "sama_core" not in sys.modules:
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from sama_core import embedded  # noqa: E402
from sama_core.convert.formats import FORMATS, GGUF, format_named  # noqa: E402
from sama_core.convert.job import convert  # noqa: E402
from sama_core.convert.targets import default_name  # noqa: E402
from sama_core.launch.places import Places  # noqa: E402
from sama_core.launch.setup.comfyui_source import find_comfyui  # noqa: E402
from sama_core.model.dit import SamaDiT  # noqa: E402
from sama_core.model.schedule import TRAIN_TIMESTEPS, round_timestep  # noqa: E402
from sama_core.shapes.gate import Settings, load_core_editor  # noqa: E402
from sama_core.shapes.gate.clip_scores import from_bytes, to_bytes  # noqa: E402
from sama_core.shapes.gate.core_editor import (  # noqa: E402
    ModelFiles,
    clip_seed,
    joint_noise,
)
from sama_core.shapes.gate.evaluate import held_out  # noqa: E402
from sama_core.shapes.world import TAUGHT  # noqa: E402
from sama_core.training.semantics.siglip import mend_torchvision  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "dit_headdim128.safetensors"
SIGMAS = (1.0, 0.8, 0.5, 0.2)


class LoadedDit:
    """A DiT that ComfyUI loaded, called as the core's own is."""

    def __init__(self, patcher):
        import comfy.model_management

        comfy.model_management.load_models_gpu([patcher], force_full_load=True)
        self.patcher, self.model = patcher, patcher.model.diffusion_model
        self.config, self.blocks = self.model.config, self.model.blocks

    def __call__(self, *inputs):
        return SamaDiT.forward(self.model, *inputs)


class Measure:
    """The inputs, and what the unquantised models make of them."""

    def __init__(self, count: int, seed: int):
        self.golden = load_file(GOLDEN)
        files = ModelFiles(embedded.DIT, embedded.TEXT_ENCODER, embedded.VAE)
        self.editor = load_core_editor(files, Settings())
        batches = [held_out(kind, seed, 0, count) for kind in TAUGHT]
        self.frames = to_bytes(torch.cat([batch.source for batch in batches]))
        self.truth = to_bytes(torch.cat([batch.target for batch in batches]))
        self.words = [line for batch in batches for line in batch.instructions]
        self.seeds = [clip_seed(seed, index) for index in range(len(self.words))]

    def golden_velocity(self, dit: LoadedDit) -> torch.Tensor:
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

    def shapes_velocity(self, dit: LoadedDit) -> torch.Tensor:
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

    def edits(self, dit: LoadedDit) -> torch.Tensor:
        """uint8 frames of every clip's edit."""
        self.editor.dit = dit
        return self.editor.edit(self.frames, self.words, self.seeds).frames


@torch.no_grad()
def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    version = start_comfyui(options.comfyui)
    measure = Measure(options.n, options.seed)
    with tempfile.TemporaryDirectory(prefix="sama-quant-") as folder:
        golden, shapes = golden_file(measure.golden, Path(folder)), embedded.DIT
        load = Loader(options.gguf_pack, Path(folder))
        whole, whole_shapes = load(golden), load(shapes)
        references = (
            measure.golden_velocity(whole),
            measure.shapes_velocity(whole_shapes),
            measure.edits(whole_shapes),
        )
        rows = {}
        for name in options.formats:
            files = [
                convert(path, Path(folder) / default_name(path, format_named(name)), name).target
                for path in (golden, shapes)
            ]
            rows[name] = row(measure, references, [load(path) for path in files]) | {
                "bits_per_weight_of_file": round(
                    8 * files[1].stat().st_size / parameters(shapes), 2
                )
            }
            print(name, json.dumps(rows[name]), flush=True)
            if name == "fp8_fast":
                with float8_everywhere():
                    rows["fp8_fast, multiplied in float8"] = row(
                        measure, references, [load(path) for path in files]
                    )
                print(name, json.dumps(rows["fp8_fast, multiplied in float8"]), flush=True)
    result = {
        "seed": options.seed,
        "clips": len(measure.words),
        "sigmas": SIGMAS,
        "torch": torch.__version__,
        "comfyui": version,
        "gguf_read_by": load.gguf_reader(),
        "formats": rows,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
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


def start_comfyui(asked: str | None) -> str:
    """Make ComfyUI importable, on the CPU, and know SAMA; returns its version."""
    mend_torchvision()
    sys.path.insert(0, str(find_comfyui(Places(), asked).folder))
    import comfy.options  # noqa: F401  before cli_args: leaves sys.argv unparsed
    from comfy.cli_args import args

    args.cpu = True
    logging.getLogger().setLevel(logging.WARNING)
    from comfyui_version import __version__

    from sama_core.comfyui.register import register

    register()
    return __version__


class Loader:
    """Any of the files → a LoadedDit."""

    def __init__(self, gguf_pack: Path | None, folder: Path):
        self.pack, self.folder = gguf_pack and import_pack(gguf_pack), folder

    def __call__(self, path: Path) -> LoadedDit:
        from sama_core.comfyui.loaders import load_diffusion_model

        if path.suffix != GGUF:
            return LoadedDit(load_diffusion_model(str(path)))
        if self.pack is None:
            return LoadedDit(load_diffusion_model(str(self._dequantised(path))))
        return LoadedDit(self._through_pack(path))

    def gguf_reader(self) -> str:
        return (
            "ComfyUI-GGUF's loader and layers"
            if self.pack
            else "the library's dequantisation, then core's layers"
        )

    def _through_pack(self, path: Path):
        """What the pack's node does."""
        import comfy.sd

        weights = importlib.import_module(f"{self.pack}.loader").gguf_sd_loader(str(path))
        layers = importlib.import_module(f"{self.pack}.ops").GGMLOps()
        return comfy.sd.load_diffusion_model_state_dict(
            weights, model_options={"custom_operations": layers}
        )

    def _dequantised(self, path: Path) -> Path:
        import gguf

        reader, values = gguf.GGUFReader(path), {}
        for tensor in reader.tensors:
            field = reader.get_field(f"comfy.gguf.orig_shape.{tensor.name}")
            shape = field.contents() if field else [int(size) for size in reversed(tensor.shape)]
            data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            values[tensor.name] = torch.from_numpy(data.copy()).reshape(shape)
        target = self.folder / f"{path.name}.safetensors"
        save_file(values, target, metadata={"config": reader.get_field("config").contents()})
        return target


def import_pack(folder: Path) -> str:
    """Make a folder of modules importable as a package, without running its `__init__`; returns its name."""
    spec = importlib.util.spec_from_loader("gguf_pack", loader=None, is_package=True)
    module = importlib.util.module_from_spec(spec)
    module.__path__ = [str(folder)]
    sys.modules["gguf_pack"] = module
    return "gguf_pack"


@contextmanager
def float8_everywhere():
    """Core believes that this device multiplies float8."""
    import comfy.model_management

    before = comfy.model_management.supports_fp8_compute
    comfy.model_management.supports_fp8_compute = lambda device=None: True
    try:
        yield
    finally:
        comfy.model_management.supports_fp8_compute = before


def golden_file(golden: dict, folder: Path) -> Path:
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


def row(measure: Measure, references: tuple, dits: list[LoadedDit]) -> dict:
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


def distance(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2."""
    return float(f"{((got - expected).norm() / expected.norm()).item():.3g}")


def decibels(one: torch.Tensor, other: torch.Tensor) -> float:
    error = (from_bytes(one) - from_bytes(other)).square().mean().item()
    return 99.0 if error == 0 else -10 * math.log10(error)


def parameters(path: Path) -> int:
    return sum(value.numel() for value in load_file(path).values())


if __name__ == "__main__":
    sys.exit(main())
