"""What is made of a model: the formats, which of its tensors they quantise, and the file's name.

Imports no torch.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConversionError, needed
from ..weights.names import BLOCK_LAYERS

SAFETENSORS, GGUF = ".safetensors", ".gguf"
_MATRIX = re.compile(BLOCK_LAYERS + r"\.weight")


@dataclass(frozen=True)
class Format:
    """One form of the result."""

    name: str
    """As the command line and the node call it."""
    suffix: str
    """SAFETENSORS or GGUF."""
    tag: str
    """What is put behind the source's name."""
    says: str
    """What it is, in a few words for the artist."""

    @property
    def ggml(self) -> str:
        """The GGUF quantisation's own name, such as Q8_0."""
        return self.tag


def _gguf(ggml: str, says: str) -> Format:
    return Format(f"gguf_{ggml.lower()}", GGUF, ggml, says)


_ALL = (
    Format(
        "fp8_scaled",
        SAFETENSORS,
        "fp8_scaled",
        "float8 weights with a scale each, computed in 16 bit; the form "
        "of ComfyUI's repackaged models",
    ),
    Format("fp8", SAFETENSORS, "fp8", "the same numbers in ComfyUI's current quantised form"),
    Format(
        "fp8_fast",
        SAFETENSORS,
        "fp8_fast",
        "as fp8, and multiplied in float8 on cards that can; less exact",
    ),
    _gguf("Q8_0", "8.5 bits a weight"),
    _gguf("Q5_1", "6 bits a weight"),
    _gguf("Q5_0", "5.5 bits a weight"),
    _gguf("Q4_1", "5 bits a weight"),
    _gguf("Q4_0", "4.5 bits a weight"),
    _gguf("BF16", "16 bits a weight, bfloat16"),
    _gguf("F16", "16 bits a weight, float16"),
)
FORMATS = {made.name: made for made in _ALL}
"""What is offered."""

NEAREST = {"Q6_K": "gguf_q8_0", "Q5_K": "gguf_q5_1", "Q4_K": "gguf_q4_1"}
"""K-quants by name, and what to take while the library `gguf` cannot write them."""


def format_named(name: str) -> Format:
    """The format called `name`. Raises ConversionError for an unknown one.

    The K-quants are known but not offered: whether the installed library writes them shows when it
    is asked.
    """
    k_quant = name.upper().removeprefix("GGUF_")
    if name.lower().startswith("gguf_") and k_quant in NEAREST:
        return _gguf(k_quant, "K-quant")
    if name not in FORMATS:
        raise ConversionError(
            needed("format", name, f"one of {', '.join(FORMATS)}", "Choose one of these.")
        )
    return FORMATS[name]


def is_matrix(name: str) -> bool:
    """True for the weights that are quantised: the blocks' attention and feed-forward matrices.

    Embeddings, time and text projections, norms, modulation, biases, both heads and SAMA's own
    modules are not.
    """
    return _MATRIX.fullmatch(name) is not None


# --- the file -----------------------------------------------------------------------------------

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\xb9\xb2\xb3])\s*(\..*)?", re.IGNORECASE
)
"""What Windows takes for a device, whatever stands behind a dot."""
_LONGEST = 200
"""Bytes: file systems take 255, and unfinished files have longer names."""


def partial_files(target: Path) -> tuple[Path, Path]:
    """(the file so far, the checksums of its pieces), beside the target and in no list of
    ComfyUI's.
    """
    return target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.pieces")


def default_name(source: str | Path, made: Format) -> str:
    """`sama_14b_ema.safetensors` as Q8_0 → `sama_14b_ema_Q8_0.gguf`."""
    return f"{Path(source).stem}_{made.tag}{made.suffix}"


def checked_name(name: str, made: Format) -> str:
    """A plain file name with the format's suffix. Raises ConversionError for a path, `..`, a
    device's name, characters that cannot be seen, or another suffix."""
    name = name.strip()
    if (
        not name
        or name.startswith(".")
        or ".." in name
        or _FORBIDDEN.search(name)
        or _DEVICE.fullmatch(name)
        or not name.isprintable()
        or len(name.encode()) > _LONGEST
    ):
        raise ConversionError(
            needed(
                "file name",
                ascii(name[:60]),
                f"a plain name such as sama{made.suffix}",
                'Folders, .., names of devices and the characters < > : " / \\ | ? * cannot be '
                "in it.",
            )
        )
    if not Path(name).suffix or Path(name).suffix.lower() not in (".safetensors", ".sft", ".gguf"):
        return name + made.suffix
    if Path(name).suffix.lower() != made.suffix:
        raise ConversionError(
            needed(
                "file name",
                name,
                f"the ending {made.suffix} for {made.name}",
                "Change the ending, or leave it out.",
            )
        )
    return name


def check_folder(folder: Path) -> None:
    """Raises ConversionError unless files can be made in `folder`."""
    if not folder.is_dir():
        raise ConversionError(
            needed(str(folder), "no such folder", "a folder for the result", "Make it first.")
        )
    if not os.access(folder, os.W_OK):
        raise ConversionError(
            needed(
                str(folder),
                "a folder that may not be written",
                "a writable folder",
                "Change its rights, or give another place for the result.",
            )
        )
