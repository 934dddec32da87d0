"""What a server holds after an edit: memory, open files, threads, and files in its folders.

Linux only: it reads /proc.
"""

import os
from dataclasses import dataclass
from pathlib import Path

WATCHED = ("input", "output", "temp", "tmp")
"""Folders of the server's base; `tmp` is what its programs take for TMPDIR."""


@dataclass(frozen=True)
class Place:
    """A running server on this machine."""

    url: str
    """Its address."""
    pid: int
    """Its process."""
    base: Path
    """Its base directory."""

    def look(self) -> dict:
        """Bytes, counts and sizes now."""
        files = {name: list_files(self.base / name) for name in WATCHED}
        return {
            **self.memory(),
            "handles": len(os.listdir(f"/proc/{self.pid}/fd")),
            "files": {name: len(found) for name, found in files.items()},
            "bytes": sum(sum(found.values()) for found in files.values()),
        }

    def memory(self) -> dict:
        """Resident bytes: all, those that are no file's, the most so far; and threads."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return {
            "rss": int(values["VmRSS"].split()[0]) * 1024,
            "anonymous": int(values["RssAnon"].split()[0]) * 1024,
            "peak": int(values["VmHWM"].split()[0]) * 1024,
            "threads": int(values["Threads"]),
        }


def list_files(folder: Path) -> dict[str, int]:
    """Sizes of all files below a folder; a file that vanishes while they are listed is left out."""
    found = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        try:
            if path.is_file():
                found[str(path.relative_to(folder))] = path.stat().st_size
        except OSError:
            continue
    return found
