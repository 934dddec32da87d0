"""GGUF files in ComfyUI as ComfyUI-GGUF loads them: packed tensors that are unpacked in each
layer's forward pass.

That pack is on no package registry, so this stands for it: the same attributes on the tensors
(`tensor_type`, `tensor_shape`, `patches`, a `shape` that is the unpacked one while the data are
packed bytes, `clone` and `detach` that give the tensor itself), layers without a weight until they
are loaded, a state dict of empty meta tensors, and a model patcher that hangs LoRAs on the packed
tensors. Set SAMA_GGUF_PACK to a folder of the real pack to test with that.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import torch


def load_gguf(path: Path):
    """A ModelPatcher of a GGUF file, through the real pack if SAMA_GGUF_PACK names its folder."""
    import comfy.sd

    real = os.environ.get("SAMA_GGUF_PACK")
    if real:
        _import_pack(Path(real))
        weights = importlib.import_module("gguf_pack.loader").gguf_sd_loader(str(path))
        operations = importlib.import_module("gguf_pack.ops").GGMLOps()
        patcher_class = importlib.import_module("gguf_pack.nodes").GGUFModelPatcher
    else:
        weights, operations, patcher_class = _packed_tensors(path), _operations(), _patcher_class()
    model = comfy.sd.load_diffusion_model_state_dict(
        weights, model_options={"custom_operations": operations}
    )
    return patcher_class.clone(model)


def _import_pack(folder: Path) -> None:
    """The pack as a package that is not run: its `__init__` wants to be a custom node."""
    if "gguf_pack" not in sys.modules:
        spec = importlib.util.spec_from_loader("gguf_pack", loader=None, is_package=True)
        module = importlib.util.module_from_spec(spec)
        module.__path__ = [str(folder)]
        sys.modules["gguf_pack"] = module


class PackedTensor(torch.Tensor):
    """Raw GGUF bytes (or plain float32/float16 values) that report the unpacked shape."""

    def __new__(cls, data, tensor_type=None, tensor_shape=None, patches=()):
        return torch.Tensor._make_subclass(cls, data)

    def __init__(self, data, tensor_type=None, tensor_shape=None, patches=()):
        super().__init__()
        self.tensor_type, self.tensor_shape, self.patches = tensor_type, tensor_shape, list(patches)

    @property
    def shape(self):
        """The unpacked shape."""
        return getattr(self, "tensor_shape", None) or self.size()

    def to(self, *args, **kwargs):
        """Moved, with its attributes."""
        return PackedTensor(
            super().to(*args, **kwargs),
            self.tensor_type,
            self.tensor_shape,
            getattr(self, "patches", ()),
        )

    def clone(self, *args, **kwargs):
        """Itself, as in that pack."""
        return self

    def detach(self, *args, **kwargs):
        """Itself, as in that pack."""
        return self


def is_packed(tensor) -> bool:
    """Whether it must be unpacked before use."""
    import gguf

    plain = (None, gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
    return getattr(tensor, "tensor_type", None) not in plain


def _packed_tensors(path: Path) -> dict[str, PackedTensor]:
    import gguf

    reader, tensors = gguf.GGUFReader(path), {}
    for tensor in reader.tensors:
        field = reader.get_field(f"comfy.gguf.orig_shape.{tensor.name}")
        shape = torch.Size(
            field.contents() if field else [int(size) for size in reversed(tensor.shape)]
        )
        data = torch.from_numpy(tensor.data.copy())
        if tensor.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            data = data.reshape(shape)
        tensors[tensor.name] = PackedTensor(data, tensor.tensor_type, shape)
        if len(shape) <= 1 and is_packed(tensors[tensor.name]):
            tensors[tensor.name] = _unpack(tensors[tensor.name], torch.float32)
    return tensors


def _unpack(tensor, dtype: torch.dtype) -> torch.Tensor:
    import gguf

    raw = tensor.as_subclass(torch.Tensor)
    if not is_packed(tensor):
        return raw.to(dtype)
    values = gguf.quants.dequantize(raw.numpy(), tensor.tensor_type)
    return torch.from_numpy(values.copy()).reshape(tensor.tensor_shape).to(dtype)


def _note_empty(layer: torch.nn.Module, destination: dict, prefix: str) -> None:
    """Puts empty tensors of the layer's shapes into a state dict."""
    for name in ("weight", "bias"):
        if getattr(layer, name) is not None:
            destination[prefix + name] = torch.zeros_like(getattr(layer, name), device="meta")


def _operations():
    """Layers that hold packed tensors; all but Linear are core's own."""
    import comfy.lora
    import comfy.ops

    class Linear(comfy.ops.manual_cast.Linear):
        comfy_cast_weights = True

        def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
            torch.nn.Module.__init__(self)
            self.in_features, self.out_features, self.weight, self.bias = (
                in_features,
                out_features,
                None,
                None,
            )

        def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
            for name in ("weight", "bias"):
                if f"{prefix}{name}" in state_dict:
                    held = torch.nn.Parameter(state_dict[f"{prefix}{name}"], requires_grad=False)
                    setattr(self, name, held)

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            if is_packed(self.weight):
                _note_empty(self, destination, prefix)
            else:
                super()._save_to_state_dict(destination, prefix, keep_vars)

        def forward_comfy_cast_weights(self, input, *args, **kwargs):
            weight = _unpack(self.weight, input.dtype)
            for patches, key in getattr(self.weight, "patches", ()):
                weight = comfy.lora.calculate_weight(patches, weight, key)
            bias = None if self.bias is None else _unpack(self.bias, input.dtype)
            return torch.nn.functional.linear(input, weight, bias)

    class Operations(comfy.ops.manual_cast):
        pass

    Operations.Linear = Linear
    return Operations()


def _patcher_class():
    import comfy.model_patcher
    import comfy.utils

    class Patcher(comfy.model_patcher.ModelPatcher):
        """LoRAs stay beside packed weights; plain ones are core's to patch."""

        def patch_weight_to_device(self, key, device_to=None, inplace_update=False, **kwargs):
            weight = comfy.utils.get_attr(self.model, key)
            if key not in self.patches or not is_packed(weight):
                return super().patch_weight_to_device(key, device_to, inplace_update, **kwargs)
            patched = weight.to(device_to)
            patched.patches = [(self.patches[key], key)]
            return comfy.utils.set_attr_param(self.model, key, patched)

        def unpatch_model(self, device_to=None, unpatch_weights=True):
            if unpatch_weights:
                for weight in filter(is_packed, self.model.parameters()):
                    weight.patches = []
            return super().unpatch_model(device_to=device_to, unpatch_weights=unpatch_weights)

        def load(self, *args, force_patch_weights=False, **kwargs):
            return super().load(*args, force_patch_weights=True, **kwargs)

        def clone(self, *args, **kwargs):
            own, self.__class__ = self.__class__, Patcher
            try:
                copy = super().clone(*args, **kwargs)
            finally:
                self.__class__ = own
            copy.__class__ = Patcher
            return copy

    return Patcher
