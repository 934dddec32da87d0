"""A JSONL file that grows by whole lines and is read whatever happened to its last one."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any


class JsonlFile:
    """Lines are added whole or not at all; a torn line of a killed program is left out."""

    def __init__(self, path: Path, durable: bool = True):
        """`path` need not exist; its folder must. `durable` lines are on the disk when added."""
        self.path, self._durable = path, durable
        self._lock = Lock()
        self._ends_well = False

    def read(self) -> Iterator[dict[str, Any]]:
        """The objects in the file, in order."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return
        for line in text.split(b"\n"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found

    def append(self, line: dict[str, Any]) -> None:
        """Adds a line. Raises OSError, and then nothing is added."""
        # In ASCII names that are no UTF-8 come back as they were.
        data = json.dumps(line, default=str).encode() + b"\n"
        with self._lock, self.path.open("ab", buffering=0) as file:
            size = file.tell()
            if not self._ends_well and size and not self._ends_in_newline():
                data = b"\n" + data
            try:
                while data:
                    data = data[file.write(data) :]
                if self._durable:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                self._ends_well = False
                raise
            self._ends_well = True

    def _ends_in_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
