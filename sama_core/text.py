"""Instruction text as SAMA was trained on it: cleaned, tagged, free of prompt-weight syntax."""

import html
import re

import ftfy

from .errors import ConditioningError, needed

EDIT_TAG = "[Video edit]"
MAX_TOKENS = 512


def clean_instruction(text: str) -> str:
    """Mend broken Unicode, resolve HTML entities, collapse white space (reference tokenizer's
    cleaning).
    """
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def add_tag(cleaned: str) -> str:
    """A cleaned instruction behind the trained tag `[Video edit]`; the bare tag for empty text.

    It is not cleaned again: the reference cleans once, and a second pass can change the text.
    """
    return f"{EDIT_TAG} {cleaned}".strip()


def require_instruction(text: str) -> str:
    """The cleaned instruction. Raises ConditioningError when nothing is left of it."""
    cleaned = clean_instruction(text)
    if not cleaned:
        raise ConditioningError(
            needed(
                "instruction",
                "an empty text",
                "a sentence that says what to change",
                'Write one, for example "replace the seal with a crab".',
            )
        )
    return cleaned


def escape_weights(text: str) -> str:
    """Escape parentheses, so that ComfyUI's `(text:1.3)` prompt weighting leaves them as plain
    text.
    """
    return re.sub(r"([()])", r"\\\1", text)
