"""What of a batch is done: a JSONL file in the output folder, a line for each event.

    {"event": "writing", "key": …, "target": …, "files": [path, …]}        these files are ours
    {"event": "done", "key": …, "target": …, "files": {path: bytes}, …}     they are whole
    {"event": "measured", "key": …, "scores": {…}}                          of an edit that is done

Paths are relative to the output folder. A result counts while its files are there in their size.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .jsonl_file import JsonlFile
from .result_folder import Results

WRITING, DONE, MEASURED = "writing", "done", "measured"


@dataclass(frozen=True)
class Result:
    """One edit that is done."""

    key: str
    """What it is known by."""
    target: str
    """The place that its row asked for."""
    files: dict[str, int]
    """Its files, relative to the output folder, and their bytes."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Seconds, stages, server, time; `copied` where it is a copy."""

    @property
    def first(self) -> str:
        """The first of its files."""
        return next(iter(self.files))


class Ledger:
    """The record of one output folder."""

    def __init__(self, there: Results, path: Path):
        """`path` is the file, of the results `there`."""
        self._there, self._file = there, JsonlFile(path)
        self.scores: dict[str, dict] = {}
        """What was measured, by key."""
        self._results: dict[str, dict[str, Result]] = {}
        self._unfinished: set[str] = set()
        for line in self._file.read():
            self._take(line)

    def results(self, key: str) -> list[Result]:
        """The results of an edit whose files are there."""
        return [result for result in self._results.get(key, {}).values() if self._is_there(result)]

    def is_unfinished(self, path: str) -> bool:
        """Whether a file was begun by this batch and is not known to be whole."""
        return path in self._unfinished

    def note_writing(self, key: str, target: str, files: list[str]) -> None:
        """Notes that these files are about to appear. Raises OSError if the disk is full."""
        self._add({"event": WRITING, "key": key, "target": target, "files": files})

    def note_done(self, result: Result) -> None:
        """Notes that a result is whole. Raises OSError if the disk is full."""
        self._add(
            {
                "event": DONE,
                "key": result.key,
                "target": result.target,
                "files": result.files,
                **result.facts,
            }
        )

    def note_scores(self, key: str, scores: dict) -> None:
        """Notes what was measured. Raises OSError if the disk is full."""
        self._add({"event": MEASURED, "key": key, "scores": scores})

    def _add(self, line: dict) -> None:
        self._file.append(line)
        self._take(line)

    def _take(self, line: dict) -> None:
        event, key = line.get("event"), line.get("key", "")
        files = line.get("files") or {}
        if event == WRITING:
            self._unfinished.update(files)
        elif event == DONE and isinstance(files, dict) and files:
            self._unfinished.difference_update(files)
            known = ("event", "key", "target", "files")
            facts = {name: value for name, value in line.items() if name not in known}
            result = Result(key, line.get("target", ""), files, facts)
            self._results.setdefault(key, {})[result.target] = result
        elif event == MEASURED and isinstance(line.get("scores"), dict):
            self.scores[key] = line["scores"]

    def _is_there(self, result: Result) -> bool:
        return all(self._there.size(path) == size for path, size in result.files.items())
