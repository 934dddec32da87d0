"""Weight files stranger than layouts: broken headers, other formats under a wrong name, pickles
with powers, and LoRAs of other models. Each case writes its file, and says which loader gets it and
what must come of it.
"""

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..lora_files import RANK, SPELLINGS, pairs

LOADERS = ("model", "lora", "text encoder", "vae")
PLAIN = {"blocks.0.a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
LARGEST_HEADER = 90_000_000


class Strange(NamedTuple):
    """One file for one loader."""

    kind: str
    """The group it is counted in."""
    name: str
    """Of the file."""
    loader: str
    """What must read it."""
    write: Callable[[Path], object]
    """Writes it to a path."""
    expected: str = "error"
    """`right`, `error` or `either`."""
    words: str = ""
    """Part of the refusal."""


def strange_weights(weights: dict[str, Tensor]) -> Iterator[Strange]:
    """Every case; `weights` are those of a right small model."""
    yield from _for_every_loader("broken headers", _headers())
    yield from _for_every_loader("large headers", _large_headers(), ("model", "vae"))
    yield from _for_every_loader("other files by that name", _others())
    yield from _for_every_loader("pickles", _pickles(), ("lora", "text encoder", "vae"))
    yield from _models(weights)


def _for_every_loader(
    kind: str, cases: dict[str, Callable], loaders: tuple = LOADERS
) -> Iterator[Strange]:
    for name, write in cases.items():
        for loader in loaders:
            yield Strange(kind, name, loader, write)


def raw(header: object, data: bytes = b"", pad: int = 0) -> bytes:
    """A safetensors file of this header, as text or as what is written as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) + pad) + text + b" " * pad + data


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _one(**changes) -> bytes:
    return raw({"blocks.0.a": {**PLAIN["blocks.0.a"], **changes}}, bytes(8))


def _headers() -> dict[str, Callable]:
    """Headers that nobody writes by honest means."""
    twice = (
        b'{"blocks.0.a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"blocks.0.a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'
    )
    named = {
        name: {"dtype": "U8", "shape": [1], "data_offsets": [place, place + 1]}
        for place, name in enumerate(
            (
                "blocks.0.\x1b[31mred",
                "blocks.0.two\nlines",
                "../../etc/passwd",
                "blocks.0.\u202egpm",
                "",
                "x" * 100_000,
                "\0",
                "\ud800",
            )
        )
    }
    odd = {
        "a list": b"[]",
        "a number": b"7",
        "null": b"null",
        "empty": b"{}",
        "nested": b"[" * 100_000,
        "nested names": b'{"a":' * 50_000,
        "not UTF-8": b'{"\xff\xfe":1}',
        "entries of text": b'{"a":"b"}',
        "tensor twice": twice,
        "no end": b'{"a":',
    }
    return {
        f"{name}.safetensors": _bytes(data)
        for name, data in {
            **{name: raw(text, bytes(16)) for name, text in odd.items()},
            "overlapping": raw(
                {**PLAIN, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12)
            ),
            "two at one place": raw({**PLAIN, "b": PLAIN["blocks.0.a"]}, bytes(8)),
            "beyond the file": _one(shape=[1 << 40], data_offsets=[0, 1 << 42]),
            "negative place": _one(data_offsets=[-8, 0]),
            "backwards": _one(data_offsets=[8, 0]),
            "places of text": _one(data_offsets=["0", "8"]),
            "one place": _one(data_offsets=[0]),
            "places of fractions": _one(data_offsets=[0.0, 8.0]),
            "endless place": _one(data_offsets=[0, 2**70]),
            "negative sides": _one(shape=[-1, -2]),
            "fractional sides": _one(shape=[2.0]),
            "sides of text": _one(shape=["2"]),
            "nested sides": _one(shape=[[2]]),
            "no sides": _one(shape=None),
            "sides of text and an odd type": _one(dtype="X", shape=["2"]),
            "odd nested": _one(dtype="X", shape=[[2]]),
            "endless side": _one(shape=[2**70]),
            "a true side": _one(shape=[True, 2]),
            "an unknown type": _one(dtype="BF16_BE"),
            "a type of lists": _one(dtype=["F32"]),
            "big-endian": raw(PLAIN, bytes(8)).replace(b"F32", b">f4"),
            "big-endian length": struct.pack(">Q", 70) + raw(PLAIN, bytes(8))[8:],
            "metadata of lists": raw({**PLAIN, "__metadata__": ["a"]}, bytes(8)),
            "metadata a number": raw({**PLAIN, "__metadata__": 7}, bytes(8)),
            "metadata of numbers": raw(
                {**PLAIN, "__metadata__": {"config": 7, "_quantization_metadata": 7}}, bytes(8)
            ),
            "metadata within metadata": raw(
                {**PLAIN, "__metadata__": {"config": {"transformer": []}}}, bytes(8)
            ),
            "names": raw(named, bytes(len(named))),
        }.items()
    }


def _large_headers() -> dict[str, Callable]:
    many = {
        f"t{number}": {"dtype": "U8", "shape": [1], "data_offsets": [number, number + 1]}
        for number in range(100_000)
    }
    return {
        "100,000 tensors.safetensors": _bytes(raw(many, bytes(100_000))),
        "90 MB.safetensors": lambda path: path.write_bytes(raw(PLAIN, bytes(8), LARGEST_HEADER)),
    }


def _others() -> dict[str, Callable]:
    """What lies under a weight file's name without being one."""
    gguf = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + bytes(200)

    def sparse(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(1 << 40)

    return {
        "gguf.safetensors": _bytes(gguf),
        "nothing.safetensors": _bytes(b""),
        "letter.safetensors": _bytes(b"a"),
        "page.safetensors": _bytes(b"<!DOCTYPE html><html>404</html>" * 9),
        "pointer.safetensors": _bytes(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        "sparse.safetensors": sparse,
        "folder.safetensors": Path.mkdir,
        "pipe.safetensors": os.mkfifo,
        "zero.safetensors": lambda path: path.symlink_to("/dev/zero"),
        "loop.safetensors": lambda path: path.symlink_to(path.name),
        "pickle.safetensors": lambda path: torch.save({"blocks.0.a": torch.zeros(2)}, path),
        "two\nlines\x1b[31m.safetensors": _bytes(b"x"),
        "safetensors.gguf": _bytes(raw(PLAIN, bytes(8))),
        "gguf.gguf": _bytes(gguf),
    }


class _Harm:
    """Runs a command when it is unpickled by a reader that lets it."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


OWNED = "owned"
"""A file of this name beside a pickle: its command has run."""


def _pickles() -> dict[str, Callable]:
    def harm(path: Path, whole: Callable = lambda harm: harm) -> None:
        torch.save(whole(_Harm(path.parent / OWNED)), path)

    def old(path: Path) -> None:
        path.write_bytes(pickle.dumps(_Harm(path.parent / OWNED)))

    def saved(content: object) -> Callable[[Path], None]:
        return lambda path: torch.save(content, path)

    half = torch.zeros(4)
    return {
        "harm.pth": harm,
        "old harm.pth": old,
        "harm.ckpt": harm,
        "harm.bin": harm,
        "harm beside weights.pt": lambda path: harm(
            path, lambda harm: {"shared.weight": half, "x": harm}
        ),
        "a list.pth": saved([half]),
        "a number.pth": saved(7),
        "nothing.pth": saved({}),
        "numbered.pth": saved({1: half}),
        "within.pth": saved({"state_dict": {"a": half}}),
        "deeper.pth": saved({"a": {"b": half}}),
        "a parameter.pth": saved({"a": torch.nn.Parameter(half)}),
        "a huge view.pth": saved({"a": half[:1].expand(1 << 20, 1 << 20)}),
        "sparse numbers.pth": saved({"shared.weight": torch.eye(4).to_sparse()}),
        "complex.pth": saved({"shared.weight": torch.zeros(4, 4, dtype=torch.complex64)}),
        "no values.pth": saved({"shared.weight": torch.zeros(4, 4, device="meta")}),
        "cut.pth": lambda path: (
            torch.save({"a": torch.zeros(999)}, path),
            path.write_bytes(path.read_bytes()[:900]),
        ),
        "empty.pth": _bytes(b""),
        "text.pth": _bytes(b"hello"),
        "header.pth": _bytes(raw(PLAIN, bytes(8))),
    }


def _models(weights: dict[str, Tensor]) -> Iterator[Strange]:
    """A right model with settings that nobody has, or under odd names."""

    def saved(metadata: dict[str, str], tensors: dict | None = None) -> Callable[[Path], None]:
        return lambda path: save_file(
            weights if tensors is None else tensors, path, metadata=metadata
        )

    settings = {
        "many heads": '{"transformer": {"num_heads": 999999999}}',
        "half heads": '{"transformer": {"num_heads": 0.5}}',
        "no heads": '{"transformer": {"num_heads": -1}}',
        "an endless count": '{"transformer": {"semantic_tokens": 1e999}}',
        "a list": '{"transformer": [1]}',
        "nothing": "",
        "nested": "[" * 100_000,
        "a bomb": '{"a":' * 50_000,
        "no JSON": "num_heads=3",
    }
    for name, config in settings.items():
        expected = "error" if name == "many heads" else "right"
        yield Strange(
            "odd settings", f"{name}.safetensors", "model", saved({"config": config}), expected
        )
    yield Strange(
        "odd settings",
        "a big number.safetensors",
        "model",
        saved({"config": '{"transformer": {"num_heads": 1' + "0" * 5000 + "}}"}),
        "right",
    )
    yield Strange(
        "odd settings",
        "nested marks.safetensors",
        "model",
        saved({"_quantization_metadata": "[" * 100_000}),
    )
    yield Strange(
        "odd settings", "shorter.safetensors", "model", saved({}, dict(list(weights.items())[:9]))
    )
    yield Strange(
        "odd settings",
        "longer names.safetensors",
        "model",
        saved({}, weights | {"x" * 100_000: torch.zeros(1), "blocks.0.\x1b[2J\n": torch.zeros(1)}),
        words="2 unexpected",
    )


# --- LoRAs of other models ---------------------------------------------------------------------

_FLUX = ("double_blocks.0.img_attn.qkv", "double_blocks.0.txt_mlp.0", "single_blocks.0.linear1")
_SDXL = (
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
    "lora_te1_text_model_encoder_layers_0_mlp_fc1",
)
_HUNYUAN = (
    "double_blocks.0.img_attn_qkv",
    "double_blocks.0.img_mlp.fc1",
    "single_blocks.0.linear1",
)


def other_loras(shapes: dict[str, tuple[int, int]]) -> Iterator[tuple[str, dict[str, Tensor], str]]:
    """(name, tensors, part of what is said) of LoRAs for other models.

    Those that fit in part are applied in part.
    """
    spelling = SPELLINGS["comfy"]
    for name, layers in (("Flux", _FLUX), ("SDXL", _SDXL), ("Hunyuan", _HUNYUAN)):
        for prefix in ("", "diffusion_model.", "transformer."):
            tensors = {
                f"{prefix}{layer}.lora_{side}.weight": torch.ones(
                    *((RANK, 8) if side == "A" else (8, RANK))
                )
                for layer in layers
                for side in "AB"
            }
            yield f"{name} {prefix}", tensors, "not in this model"
    image = {f"blocks.0.cross_attn.{part}": (256, 256) for part in ("k_img", "v_img")}
    own = pairs(shapes, spelling)
    yield "Wan I2V", own | pairs(image, spelling), "4 of 6 LoRA layers matched; not in this model: "
    yield (
        "VACE",
        own | pairs({"vace_blocks.0.self_attn.q": (256, 256)}, spelling),
        "4 of 5 LoRA layers matched",
    )
    yield "VACE alone", pairs({"vace_blocks.0.self_attn.q": (256, 256)}, spelling), "0 of 1"
    small = {layer: (out * 3 // 4, into * 3 // 4) for layer, (out, into) in shapes.items()}
    yield "Wan 1.3B", pairs(small, spelling), "of another size"
    yield "Wan 14B's later blocks", pairs({"blocks.39.self_attn.q": (256, 256)}, spelling), "0 of 1"
    yield (
        "a whole model",
        {f"{layer}.weight": torch.ones(size) for layer, size in shapes.items()},
        "0 of",
    )
    yield "nothing", {}, "0 of 0"
    yield (
        "odd names",
        own | {"blocks.0.\x1b[31mred\n.lora_A.weight": torch.ones(4)},
        "4 of 5 LoRA layers matched",
    )
