"""Any file of a DiT, loaded by ComfyUI and called as the core's own.

GGUF files are loaded by the pack ComfyUI-GGUF, or dequantised first.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from sama_core.convert.formats import GGUF
from sama_core.model.dit import SamaDiT

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher


class LoadedDit:
    """A DiT that ComfyUI loaded, called as the core's own is."""

    def __init__(self, patcher: "ModelPatcher"):
        import comfy.model_management

        comfy.model_management.load_models_gpu([patcher], force_full_load=True)
        self.patcher, self.model = patcher, patcher.model.diffusion_model
        self.config, self.blocks = self.model.config, self.model.blocks

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        return SamaDiT.forward(self.model, *inputs)


class Loader:
    """Any of the files → a LoadedDit.

    GGUF files are dequantised into `folder` where no `gguf_pack` is given.
    """

    def __init__(self, gguf_pack: Path | None, folder: Path):
        self.pack, self.folder = gguf_pack and import_pack(gguf_pack), folder

    def __call__(self, path: Path) -> LoadedDit:
        from sama_core.comfyui.loaders import load_diffusion_model

        if path.suffix != GGUF:
            return LoadedDit(load_diffusion_model(str(path)))
        if self.pack is None:
            return LoadedDit(load_diffusion_model(str(self._dequantise(path))))
        return LoadedDit(self._load_through_pack(path))

    def describe_gguf_reader(self) -> str:
        """What reads GGUF files, for the report."""
        return (
            "ComfyUI-GGUF's loader and layers"
            if self.pack
            else "the library's dequantisation, then core's layers"
        )

    def _load_through_pack(self, path: Path) -> "ModelPatcher":
        """What the pack's node does."""
        import comfy.sd

        weights = importlib.import_module(f"{self.pack}.loader").gguf_sd_loader(str(path))
        layers = importlib.import_module(f"{self.pack}.ops").GGMLOps()
        return comfy.sd.load_diffusion_model_state_dict(
            weights, model_options={"custom_operations": layers}
        )

    def _dequantise(self, path: Path) -> Path:
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
    """Make a folder of modules importable as a package, without running its `__init__`.

    Returns its name.
    """
    spec = importlib.util.spec_from_loader("gguf_pack", loader=None, is_package=True)
    module = importlib.util.module_from_spec(spec)
    module.__path__ = [str(folder)]
    sys.modules["gguf_pack"] = module
    return "gguf_pack"


@contextmanager
def float8_everywhere() -> Iterator[None]:
    """Make ComfyUI believe that this device multiplies float8."""
    import comfy.model_management

    before = comfy.model_management.supports_fp8_compute
    comfy.model_management.supports_fp8_compute = lambda device=None: True
    try:
        yield
    finally:
        comfy.model_management.supports_fp8_compute = before
