"""What the outcome of every hostile file must be, whatever its kind.

A right result or one clear sentence.
"""

RAW = ("Errno", "Traceback", "avcodec", " at 0x", "Error(")
LONGEST = 5000
"""Characters of an error."""


def not_as_expected(cases: list[dict]) -> list[dict]:
    """Crashes, wrong results, raw errors, and a right or wrong outcome where the other is due."""
    return [
        case
        for case in cases
        if case["outcome"] not in ("right", "error")
        or case["expected"] not in (case["outcome"], "either")
    ]


def unclear(cases: list[dict]) -> list[dict]:
    """Errors that are not one sentence in one line: what was got, what is needed, what to do."""
    return [
        case
        for case in cases
        if case["outcome"] == "error" and not _is_clear(case["text"], case["words"])
    ]


def _is_clear(text: str, words: str) -> bool:
    return (
        words in text
        and ": got " in text
        and ", needs " in text
        and text.endswith(".")
        and text.isprintable()
        and len(text) <= LONGEST
        and not any(word in text for word in RAW)
    )
