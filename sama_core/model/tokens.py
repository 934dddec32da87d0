"""The token order of SAMA, drawn once.

    [ source video | semantic | target video ]     one self-attention over all N tokens
      segment 0      1          2                  row of `segment_embedding`, added before block 0
      rotary grid    zero       the source's grid

Either of the first two segments may be absent. Source: SAMA §3.1, released `model_fn_wan_video`.
"""

from dataclasses import dataclass

SOURCE, SEMANTIC, TARGET = 0, 1, 2


@dataclass(frozen=True)
class TokenLayout:
    """How many tokens each segment holds, and where it lies in the sequence."""

    source: int
    """Tokens of the source video, 0 without one."""
    semantic: int
    """Semantic tokens, 0 without them."""
    target: int
    """Tokens of the target video."""

    @classmethod
    def of(cls, video: int, source: bool, semantic: int) -> "TokenLayout":
        """The layout for videos of `video` tokens each, with a source or without."""
        return cls(video if source else 0, semantic, video)

    @property
    def semantic_slice(self) -> slice:
        """Where the semantic tokens are in the sequence."""
        return slice(self.source, self.source + self.semantic)

    @property
    def target_slice(self) -> slice:
        """Where the target's tokens are in the sequence."""
        start = self.source + self.semantic
        return slice(start, start + self.target)

    @property
    def total(self) -> int:
        """Sequence length N."""
        return self.source + self.semantic + self.target
