"""The embedded model's vocabulary: sentencepiece, trained on every wording of its world, and texts as token rows."""

import io
import string
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import SamaError, needed
from ..text import EDIT_TAG, clean_instruction, tagged
from .data import vocabulary as words
from .pretext import PRETEXTS
from .umt5_encoder import END, PAD

PIECES = 512
"""At most; 256 of them are the bytes that unknown characters fall back to."""
_MARKS = (".", ",", "!", "?", "'", "-")
_LETTERS = string.ascii_lowercase + string.digits


def train_vocabulary() -> bytes:
    """A sentencepiece model (pad 0, end 1, unknown 2, byte fallback, upper case folded): the same bytes every time.

    Every word of the world and of the tags is one piece; any other text is spelt.
    """
    import sentencepiece
    model, whole = io.BytesIO(), [f"▁{word}" for word in sorted({*words(), *_tag_words()})]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*words(), *_tag_words(), *_LETTERS]), model_writer=model, vocab_size=PIECES,
        model_type="unigram", normalization_rule_name="nmt_nfkc_cf", byte_fallback=True, pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, user_defined_symbols=[*whole, *_MARKS], minloglevel=2, num_threads=1, hard_vocab_limit=False)
    return model.getvalue()


def _tag_words() -> list[str]:
    """The tags' words with the marks that touch them: "[video", "edit]", …"""
    tags = [EDIT_TAG, *(pretext.tag for pretext in PRETEXTS.values())]
    return " ".join(tags).lower().split()


class Tokens:
    """Instructions to token ids with one sentencepiece model."""

    def __init__(self, spiece_model: bytes):
        import sentencepiece
        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=spiece_model)

    def instructions(self, texts: Sequence[str], length: int) -> Tensor:
        """(B, length) ids of `[Video edit] <instruction>`, as the nodes encode them."""
        return self.rows([tagged(clean_instruction(text)) for text in texts], length)

    def rows(self, texts: Sequence[str], length: int) -> Tensor:
        """(B, length) ids of texts as they are, then the end token and at least one padding row.

        Raises SamaError for a text that does not fit.
        """
        ids = torch.full((len(texts), length), PAD)
        for row, text in enumerate(texts):
            pieces = [*self.pieces.encode(text), END]
            if len(pieces) >= length:
                raise SamaError(needed("text_length", length, f"more than the {len(pieces)} tokens of {text!r}",
                                       "Raise text_length in the recipe."))
            ids[row, :len(pieces)] = torch.tensor(pieces)
        return ids
