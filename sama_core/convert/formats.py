"""The formats that can be made, and which tensors of a model they touch. Standard library only."""

import re
from dataclasses import dataclass

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
