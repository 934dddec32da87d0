"""Takes hostile weight files through the pack's loaders: `python -m
tests.harness.hostile.weights_worker FOLDER`.

This process has imported ComfyUI and forks a child for every file, which writes it, loads it as the
nodes do, and compares what was loaded or patched with what the file holds. One JSON line per file,
then one of what was touched.
"""

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file

from .. import imports

imports.install()

from .. import weight_layout_cases  # noqa: E402
from ..lora_files import SPELLINGS, kinds, pairs, right, wrong  # noqa: E402
from ..registry import import_core  # noqa: E402
from .children import all_under, in_child  # noqa: E402
from .strange_weights import OWNED, Strange, other_loras, strange_weights  # noqa: E402

LAYERS = {
    "blocks.0.self_attn.q": (256, 256),
    "blocks.0.cross_attn.o": (256, 256),
    "blocks.1.ffn.0": (512, 256),
    "blocks.1.ffn.2": (256, 512),
}
QUANTISED_ERROR = 0.06


class Case(NamedTuple):
    """One file: `try_it(folder)` writes and loads it; returns what is wrong, or nothing."""

    kind: str
    """The group it is counted in."""
    name: str
    """Of the file."""
    expected: str
    """`right`, `error` or `either`."""
    words: str
    """Part of the refusal."""
    try_it: Callable[[Path], str]
    """Writes and loads it below a folder → what is wrong."""


def cases(model, tiny: dict) -> Iterator[Case]:
    """LoRAs for `model`, layouts of the weights `tiny`, and stranger files for every loader."""
    for case in right(LAYERS):
        wanted = "right"
        yield Case(
            "LoRA kinds" if case.name in kinds(16, 16) else "LoRA spellings",
            case.name,
            wanted,
            "",
            lambda folder, case=case: _lora(model, folder, case.name, case.tensors),
        )
    for case in wrong(LAYERS):
        yield Case(
            "LoRAs broken",
            case.name,
            "error",
            case.words,
            lambda folder, case=case: _lora(model, folder, case.name, case.tensors),
        )
    for name, tensors, words in other_loras(LAYERS):
        expected = "right" if words.startswith("4 of") else "error"
        yield Case(
            "LoRAs of other models",
            name,
            expected,
            words if expected == "error" else "",
            lambda folder, name=name, tensors=tensors, words=words: _lora(
                model, folder, name, tensors, words
            ),
        )
    for case in weight_layout_cases.right(tiny):
        yield Case(
            "layouts", case.name, "right", "", lambda folder, case=case: _layout(folder, case, tiny)
        )
    for case in weight_layout_cases.wrong(tiny):
        yield Case(
            "layouts broken",
            case.name,
            "error",
            case.words,
            lambda folder, case=case: _layout(folder, case, tiny),
        )
    for case in strange_weights(tiny):
        yield Case(
            case.kind,
            f"{case.name} as {case.loader}",
            case.expected,
            case.words,
            lambda folder, case=case: _strange(model, folder, case, tiny),
        )


def _lora(model, folder: Path, name: str, tensors: dict, words: str = "") -> str:
    """Whether the layers that the report calls matched are those that ComfyUI's patches change."""
    from sama_core.comfyui.lora import load_lora

    path = folder / "style.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    patched, told = load_lora(model, str(path), 1.0)
    count = int(re.match(r"(\d+) of ", told)[1])
    if not told.isprintable() or words not in told:
        return f"told {told!r}"
    found = _patch(patched)
    if len({key.rsplit(".", 1)[0] for key in found}) != count or count != len(LAYERS):
        return f"told {told!r}, changed {sorted(found)}"
    return "" if name not in SPELLINGS else _far(found, _expect(model))


def _expect(model) -> dict:
    """The patched weights, worked out by hand."""
    tensors, state = pairs(LAYERS, SPELLINGS["comfy"]), model.model.state_dict()
    return {
        f"diffusion_model.{layer}.weight": state[f"diffusion_model.{layer}.weight"].float()
        + tensors[f"diffusion_model.{layer}.lora_B.weight"]
        @ tensors[f"diffusion_model.{layer}.lora_A.weight"]
        for layer in LAYERS
    }


def _patch(model) -> dict:
    """The weights that patches change, as core computes them."""
    import comfy.lora

    state, found = model.model.state_dict(), {}
    for key, patches in model.patches.items():
        value = comfy.lora.calculate_weight(patches, state[key].clone().float(), key)
        if not torch.equal(value, state[key].float()):
            found[key] = value
    return found


def _layout(folder: Path, case, tiny: dict) -> str:
    from sama_core.comfyui.loaders import load_diffusion_model

    path = folder / "model.safetensors"
    save_file(
        {key: value.contiguous() for key, value in case.tensors.items()},
        path,
        metadata=case.metadata,
    )
    return _same(load_diffusion_model(str(path)), tiny, packed_noise="nvfp4" in case.name)


def _same(loaded, tiny: dict, packed_noise: bool = False) -> str:
    """Whether a model holds the weights that its file stands for."""
    found = {
        name: (value.dequantize() if hasattr(value, "_qdata") else value).float()
        for name, value in loaded.model.diffusion_model.named_parameters()
    }
    if not all(value.isfinite().all() for value in found.values()):
        return "weights that are not finite"
    return "" if packed_noise else _far(found, tiny, QUANTISED_ERROR)


def _far(found: dict, wanted: dict, most: float = 1e-5) -> str:
    """The name of a tensor that is missing or lies too far from what it must be."""
    for name, value in wanted.items():
        if name not in found or (found[name] - value).norm() > most * value.norm().clamp(min=1e-9):
            return f"{name} is not as in the file"
    return ""


def _strange(model, folder: Path, case: Strange, tiny: dict) -> str:
    from sama_core.comfyui import loaders
    from sama_core.comfyui.lora import load_lora

    path = folder / case.name
    case.write(path)
    before = all_under(folder)
    load = {
        "model": loaders.load_diffusion_model,
        "text encoder": loaders.load_text_encoder,
        "vae": loaders.load_vae,
        "lora": lambda path: load_lora(model, path, 1.0),
    }[case.loader]
    try:
        loaded = load(str(path))
    finally:
        if (folder / OWNED).exists():
            raise AssertionError("a command in the file was run")
        if all_under(folder) != before:
            raise AssertionError("something was written")
    return _same(loaded, tiny) if case.loader == "model" else ""


def outcome(case: Case, folder: Path) -> dict:
    """`right`, `error` with its text, or `failure` with what is wrong."""
    from sama_core.errors import SamaError

    try:
        wrong_result = case.try_it(folder)
    except SamaError as error:
        return {"outcome": "error", "text": str(error)}
    except BaseException as error:
        return {"outcome": "failure", "text": f"{type(error).__name__}: {error}"[:2000]}
    return (
        {"outcome": "failure", "text": wrong_result}
        if wrong_result
        else {"outcome": "right", "text": ""}
    )


def main(folder: Path) -> None:
    """Try every case under `folder`, which is ComfyUI's base directory, too."""
    import_core(folder / "comfyui")
    from sama_core.comfyui import register
    from sama_core.comfyui.loaders import load_diffusion_model
    from sama_core.model.config import DitConfig

    from ..untrained import diffusion_model, write_untrained

    register.register()
    torch.set_num_threads(1)
    logging.disable()
    names = write_untrained(folder / "comfyui" / "models")
    model = load_diffusion_model(
        str(folder / "comfyui" / "models" / "diffusion_models" / names["diffusion_models"])
    )
    tiny = diffusion_model(
        torch.Generator().manual_seed(0),
        DitConfig(
            dim=64,
            num_heads=1,
            ffn_dim=96,
            num_layers=2,
            text_dim=8,
            freq_dim=16,
            in_dim=16,
            out_dim=16,
            semantic_dim=12,
            semantic_hidden=10,
        ),
    )
    (folder / "cases").mkdir()
    before = all_under(folder / "comfyui")
    for number, case in enumerate(cases(model, tiny)):
        place = folder / "cases" / str(number)
        place.mkdir()
        said = in_child(lambda case=case, place=place: outcome(case, place))
        print(
            json.dumps(
                {
                    "kind": case.kind,
                    "name": case.name,
                    "expected": case.expected,
                    "words": case.words,
                    **said,
                }
            ),
            flush=True,
        )
        shutil.rmtree(place)
    after = all_under(folder / "comfyui")
    touched = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    print(json.dumps({"end": True, "touched": touched, "left": os.listdir(folder / "cases")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
