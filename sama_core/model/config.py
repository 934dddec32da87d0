"""Model sizes of a SAMA diffusion transformer, inferred from its weights."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import CheckpointError, needed
from ..geometry import WAN_21, Lattice, lattice_of

WAN_HEAD_SIZE = 128
"""Head size of every Wan model."""
DEFAULT_SEMANTIC_TOKENS = 65
"""Semantic tokens of a clip in the released model: 64 local and 1 global. No tensor states it."""
LARGEST_SIZE = 1 << 20
"""No size of a model is larger: beyond it tensors have more bytes than can be counted."""
BLOCK = r"blocks\.\d+"
"""Pattern of the name of a transformer block, as modules and tensors begin with it."""


@dataclass(frozen=True)
class DitConfig:
    """Sizes of one SAMA DiT. The 14B model's values are given with each field."""

    dim: int
    """Model width D (5120)."""
    num_heads: int
    """Attention heads (40); `dim / num_heads` is the head size, 128 for every Wan model."""
    ffn_dim: int
    """Hidden width of the feed-forward layers (13824)."""
    num_layers: int
    """Transformer blocks (40)."""
    text_dim: int
    """Width of the text embeddings (4096, umT5-xxl)."""
    freq_dim: int
    """Width of the sinusoidal timestep embedding (256)."""
    in_dim: int
    """Latent channels going in (16)."""
    out_dim: int
    """Latent channels coming out (16)."""
    semantic_dim: int
    """Width E of the semantic tokens (1152, SigLIP so400m)."""
    semantic_hidden: int
    """Hidden width of the semantic projector (1024)."""
    semantic_tokens: int = DEFAULT_SEMANTIC_TOKENS
    """Semantic tokens S per clip (65 = 64 local + 1 global)."""
    patch: tuple[int, int, int] = WAN_21.patch
    """Latent frames, rows and columns to a token (1, 2, 2)."""
    eps: float = 1e-6
    """Epsilon of every LayerNorm and RMSNorm."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON has lists
        if self.num_heads < 1 or self.dim % self.num_heads or self.head_dim % 2:
            raise CheckpointError(
                needed(
                    "attention heads",
                    f"{self.num_heads} heads for width {self.dim}",
                    "a head count that divides the width into even head sizes",
                    "Set num_heads in the loader, or in the file's metadata: config = "
                    '{"transformer": {"num_heads": …}}.',
                )
            )

    @property
    def lattice(self) -> Lattice:
        """How this model divides a clip, see `geometry.lattice_of`."""
        return lattice_of(self.in_dim, self.patch)

    @property
    def head_dim(self) -> int:
        """Head size K."""
        return self.dim // self.num_heads

    @classmethod
    def from_shapes(
        cls,
        shapes: Mapping[str, tuple[int, ...]],
        num_heads: int | None = None,
        semantic_tokens: int | None = None,
        name: str = "weights",
    ) -> "DitConfig":
        """Sizes from a state dict's shapes, under Wan's own names, without a prefix.

        `num_heads` is `dim / 128`, as in every Wan model, unless given. A size that both a bias
        and a weight state is read from the bias, because quantised formats may pack weights.
        Raises CheckpointError, which names the file `name`, if a tensor that states a size is
        absent, or states one that no model has.
        """
        try:
            dim, patch = shapes["head.modulation"][-1], _read_patch(shapes)
            sizes = {
                "dim": dim,
                "ffn_dim": shapes["blocks.0.ffn.0.bias"][0],
                "num_layers": _count_blocks(shapes, name),
                "text_dim": shapes["text_embedding.0.weight"][1],
                "freq_dim": shapes["time_embedding.0.weight"][1],
                "in_dim": shapes["patch_embedding.weight"][1],
                "out_dim": shapes["head.head.bias"][0] // max(1, math.prod(patch)),
                "semantic_dim": shapes["semantic_head.proj.bias"][0],
                "semantic_hidden": shapes["siglip_feat_mlp.fc1.bias"][0],
                "semantic_tokens": semantic_tokens or DEFAULT_SEMANTIC_TOKENS,
            }
        except KeyError as missing:
            raise CheckpointError(
                needed(
                    name,
                    f"no tensor {missing}",
                    "a full SAMA diffusion model",
                    "Choose sama_14b_ema.safetensors, or base Wan shards with a SAMA delta file.",
                )
            ) from missing
        except IndexError as flat:
            raise CheckpointError(
                needed(
                    name,
                    "a tensor with too few dimensions",
                    "the shapes of a Wan 2.1 model",
                    "Download the file again; packed formats (GGUF, nf4) need their own loader.",
                )
            ) from flat
        _refuse_absurd({**sizes, "patch": math.prod(patch)}, name)
        return cls(num_heads=num_heads or max(1, dim // WAN_HEAD_SIZE), patch=patch, **sizes)


def _refuse_absurd(sizes: Mapping[str, int], name: str) -> None:
    """CheckpointError for a size that no model has."""
    absurd = [f"{size} {value}" for size, value in sizes.items() if not 1 <= value <= LARGEST_SIZE]
    if absurd:
        raise CheckpointError(
            needed(
                name,
                f"the size {absurd[0]}",
                f"sizes of 1 to {LARGEST_SIZE:,}",
                "The file is damaged or no model: download it again.",
            )
        )


def _count_blocks(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    """Transformer blocks. Raises CheckpointError for more blocks than tensors."""
    # Of a number without end the beginning tells enough: Python reads no more than 4300 digits.
    blocks = [name.split(".")[1][:9] for name in shapes if re.match(rf"{BLOCK}\.", name)]
    layers = 1 + max(map(int, blocks), default=-1)
    if layers > len(shapes):
        raise CheckpointError(
            needed(
                name,
                f"a block {layers - 1} in a file of {len(shapes)} tensors",
                "a SAMA diffusion model",
                "Download the file again.",
            )
        )
    return layers


def _read_patch(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int]:
    """The patch of the embedding's kernel, or Wan 2.1's where a format flattens the kernel."""
    match shapes["patch_embedding.weight"]:
        case (_, _, frames, rows, columns):
            return frames, rows, columns
        case _:
            return WAN_21.patch
