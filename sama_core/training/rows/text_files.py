"""Text as Windows' programs save it: UTF-8, or UTF-16 and UTF-32 that begin with their mark."""

import codecs

UTF_8 = "utf-8-sig"
"""With a mark or none."""
_MARKS = (  # UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(text: bytes) -> str:
    """The encoding that a file's first bytes name; UTF_8 where none does."""
    return next((name for mark, name in _MARKS if text.startswith(mark)), UTF_8)


def to_utf8(text: bytes) -> bytes:
    """A file's bytes as UTF-8; those of one without a wide mark as they are.

    Nothing of a file that is only a mark. Raises UnicodeError for a wide one that is damaged.
    """
    encoding = encoding_of(text)
    if encoding != UTF_8:
        return text.decode(encoding).encode()
    return b"" if text == codecs.BOM_UTF8 else text
