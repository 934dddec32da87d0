"""How many of umT5's tokens a text has: counted where the tokenizer is at hand, else estimated."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ....encoders.umt5 import Tokens
from ....encoders.umt5_layout import find_tokenizer
from ....errors import SamaError

CHARACTERS = 4
"""Characters of a token of English, on average."""
Count = Callable[[str], int]


def open_counter(text_encoder: str) -> tuple[Count, str]:
    """What counts a text's tokens with its tag and its end; and "counted" or "estimated".

    Of the text encoder's file the tokenizer alone is read.
    """
    pieces = _read_pieces(Path(text_encoder)) if text_encoder else None
    if pieces is None:
        return lambda text: len(text) // CHARACTERS + 1, "estimated"
    tokens = Tokens(pieces)
    return lambda text: len(tokens.pieces.encode(text)) + 1, "counted"


def _read_pieces(path: Path) -> bytes | None:
    try:
        if path.suffix == ".pth":
            return find_tokenizer(path).numpy().tobytes()
        with safe_open(path, "pt") as file:
            return file.get_tensor("spiece_model").numpy().tobytes()
    except (OSError, SafetensorError, SamaError):
        return None
