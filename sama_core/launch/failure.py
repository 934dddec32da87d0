"""Why a command could not do its work."""

from pathlib import Path

from ..errors import SamaError

LOG_LINES_SHOWN = 15


class LaunchError(SamaError):
    """A command that cannot go on; the text is one sentence: what, needed, what to do."""


def log_tail(log: Path, lines: int = LOG_LINES_SHOWN) -> str:
    """The last `lines` non-empty lines of a log file, indented; empty if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    kept = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return "\n".join(f"    {line[:300]}" for line in kept[-lines:])


def with_log(sentence: str, log: Path) -> str:
    """`sentence`, then the end of the log and where the whole log lies."""
    tail = log_tail(log)
    shown = f"\n  Last lines of the log:\n{tail}" if tail else ""
    return f"{sentence}{shown}\n  Whole log: {log}"
