"""Which rows could not be used, and why: `bad_rows.jsonl` in the output folder, and one line of summary."""

import json
import logging
from pathlib import Path

logger = logging.getLogger(__name__)
REPORT = "bad_rows.jsonl"


class BadRows:
    """Bad rows by number. The file is begun anew by every run; damaged videos enter it when they are met."""

    def __init__(self, folder: Path, name: str, total: int, found: dict[int, str], write: bool = True):
        """`total` rows of the data file `name`, of which `found` failed the first look.

        With several processes one begins the file (`write`), and each adds what it meets.
        """
        self.path, self.name, self.total, self.reasons = folder / REPORT, name, total, dict(found)
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(_line(*entry) for entry in self.reasons.items()), encoding="utf-8")
        if write:
            self.tell()

    def __contains__(self, number: int) -> bool:
        return number in self.reasons

    def add(self, number: int, reason: str) -> None:
        """Remember, log and write a row that turned out bad."""
        if number not in self.reasons:
            self.reasons[number] = reason
            logger.warning("%s: %s", self.name, reason)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_line(number, reason))

    def tell(self) -> None:
        """Log one line of summary, if rows are left out."""
        if self.reasons:
            logger.warning("%s: %d of %d rows are left out so far, see %s", self.name, len(self.reasons), self.total,
                           self.path)


def _line(number: int, reason: str) -> str:
    return json.dumps({"row": number, "error": reason}, ensure_ascii=False) + "\n"
