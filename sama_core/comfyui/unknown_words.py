"""Words of an instruction that SAMA-Shapes does not know, for the node that encodes it.

umT5-xxl knows every language. SAMA-Shapes' own text encoder knows the words of its world, and
spells any other one in characters that mean nothing to the model.
"""

import functools

from safetensors import safe_open

from .. import embedded
from ..shapes.world import known_words, unknown_words

MOST, LONGEST = 12, 30
"""Words that are named, and characters of a word."""


def remark_on_words(clip, instruction: str) -> str:
    """Which words the text encoder (CLIP) does not know, and what it knows; empty if it knows all.

    Empty for every encoder but SAMA-Shapes', which is told by its vocabulary.
    """
    if _vocabulary_of(clip) != _vocabulary_of_sama_shapes():
        return ""
    unknown = unknown_words(instruction)
    if not unknown:
        return ""
    named = [word if len(word) <= LONGEST else f"{word[:LONGEST]}…" for word in unknown[:MOST]]
    return (
        "SAMA: SAMA-Shapes does not know: "
        f"{', '.join(named)}{' …' if len(unknown) > MOST else ''}. It knows {known_words()}."
    )


def _vocabulary_of(clip) -> bytes | None:
    """The sentencepiece model of Wan's tokenizer; None for other tokenizers."""
    umt5 = getattr(getattr(clip, "tokenizer", None), "clip_umt5xxl", None)
    pieces = getattr(getattr(umt5, "tokenizer", None), "tokenizer", None)
    return pieces.serialized_model_proto() if hasattr(pieces, "serialized_model_proto") else None


@functools.cache
def _vocabulary_of_sama_shapes() -> bytes:
    with safe_open(embedded.TEXT_ENCODER, "pt") as file:
        return file.get_tensor("spiece_model").numpy().tobytes()
