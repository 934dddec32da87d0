"""Where results lie: a folder of this machine, or one behind an fsspec URL such as s3://bucket/run.

Names are relative, with slashes. The record, the report and what is unfinished are always in a
folder here; `publish` copies the first two behind the URL.
"""

import posixpath
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ...errors import needed
from ..changed_file import State, read_state
from ..progress import LaunchError

CHUNK = 1 << 22
WHOLE_WHEN_CLOSED = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory", "oci", "r2"}
"""Protocols by which a file appears when all of it is there; elsewhere it is renamed."""


def hide_password(text: str) -> str:
    """The text as it may be shown: `sftp://me:…@host/run` for a URL with a password."""
    return re.sub(r"(?<=://)([^/:@\s]*):[^/\s]*@", r"\1:…@", text)


class Results(Protocol):
    """Files of results; safe to use from several threads."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if it is not there."""
        ...

    def is_taken(self, name: str) -> bool:
        """Whether something has this name."""
        ...

    def put(self, part: Path, name: str) -> None:
        """Makes a finished file the result `name`; it appears whole. Raises OSError."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file, if it is there. Raises OSError."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a file. Raises OSError."""
        ...

    def local(self, name: str) -> Any:
        """A context with the path of a file here. Raises OSError."""
        ...

    def publish(self) -> None:
        """Lets others see record and report. Raises OSError."""
        ...


class HereResults:
    """Results in a folder of this machine."""

    def __init__(self, out: Path):
        """`out` exists."""
        self.out = out

    def size(self, name: str) -> int | None:
        """See `Results`."""
        with suppress(OSError):
            return (self.out / name).stat().st_size
        return None

    def is_taken(self, name: str) -> bool:
        """See `Results`."""
        path = self.out / name
        return path.exists() or path.is_symlink()

    def put(self, part: Path, name: str) -> None:
        """See `Results`."""
        target = self.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)

    def remove(self, name: str) -> None:
        """See `Results`."""
        (self.out / name).unlink(missing_ok=True)

    def read(self, name: str) -> Iterator[bytes]:
        """See `Results`."""
        with (self.out / name).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See `Results`."""
        yield self.out / name

    def publish(self) -> None:
        """They are seen already."""


class UrlResults:
    """Results behind an fsspec URL."""

    def __init__(self, url: str, here: Path, published: tuple[str, ...], create: bool = True):
        """`published` are files and folders of the folder `here` that are copied behind `url`;
        those that are missing here are fetched from there. A record that is in both places gets
        the lines that another machine has added. Without `create` nothing is made behind it.

        Raises LaunchError if it cannot be reached.
        """
        self.url, self.here, self._published = url, here, published
        self._sent: dict[str, State] = {}
        self._sizes: dict[str, int] = {}
        self._folders: set[str] = set()
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(url)
            if create:
                self._files.makedirs(self._root, exist_ok=True)
            is_there = self._files.exists(self._root)
            found = self._files.find(self._root, detail=True) if is_there else {}
            for path, one in found.items():
                self._note(self._name(path), int(one["size"]))
            for name in published:
                if name in self._sizes:
                    self._fetch(name)
        except (ImportError, OSError, ValueError) as failed:
            fix = "Check it; packages such as s3fs go into .venv with pip."
            got = f"not usable ({failed})"
            text = needed(f"--out {url}", got, "an fsspec URL", fix)
            raise LaunchError(hide_password(text)) from failed
        protocols = self._files.protocol
        names = {protocols} if isinstance(protocols, str) else set(protocols)
        self._renames = not names & WHOLE_WHEN_CLOSED

    def size(self, name: str) -> int | None:
        """See `Results`. It is what was found at the start, and written since."""
        return self._sizes.get(name)

    def is_taken(self, name: str) -> bool:
        """See `Results`."""
        return name in self._sizes or name in self._folders

    def put(self, part: Path, name: str) -> None:
        """See `Results`."""
        self._copy(part, name)
        self._note(name, part.stat().st_size)

    def remove(self, name: str) -> None:
        """See `Results`."""
        if self._sizes.pop(name, None) is not None:
            self._files.rm_file(self._path(name))

    def read(self, name: str) -> Iterator[bytes]:
        """See `Results`."""
        with self._files.open(self._path(name), "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See `Results`."""
        copy = self.here / f".{uuid.uuid4().hex}{Path(name).suffix}"
        try:
            self._files.get_file(self._path(name), str(copy))
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def publish(self) -> None:
        """See `Results`. What has not changed since is not copied again."""
        for published in self._published:
            top = self.here / published
            for path in [top] if top.is_file() else list(top.rglob("*.*")):
                state = read_state(path)
                name = path.relative_to(self.here).as_posix()
                if path.is_file() and self._sent.get(name) != state:
                    self._copy(path, name)
                    self._sent[name] = state

    def _fetch(self, name: str) -> None:
        """Brings a file here; of a record that is here, only the lines that it lacks."""
        own = self.here / name
        own.parent.mkdir(parents=True, exist_ok=True)
        if not own.exists():
            self._files.get_file(self._path(name), str(own))
        elif own.suffix == ".jsonl":
            known = set(own.read_bytes().split(b"\n"))
            with self.local(name) as other:
                added = [line for line in other.read_bytes().split(b"\n") if line not in known]
            with own.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in [b"", *added] if added))

    def _note(self, name: str, size: int) -> None:
        self._sizes[name] = size
        self._folders.update(map(str, PurePosixPath(name).parents))

    def _copy(self, source: Path, name: str) -> None:
        target = self._path(name)
        folder = posixpath.dirname(target)
        self._files.makedirs(folder, exist_ok=True)
        if not self._renames:
            self._files.put_file(str(source), target)
            return
        part = f"{folder}/.{uuid.uuid4().hex}.part"
        try:
            self._files.put_file(str(source), part)
            self._files.mv(part, target)
        except BaseException:
            with suppress(OSError):
                self._files.rm_file(part)
            raise

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _name(self, path: str) -> str:
        return path.removeprefix(self._root.rstrip("/")).lstrip("/")
