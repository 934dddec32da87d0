"""What a description is made of: bytes, and things that are described in their turn."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import CellType
from typing import Any, Protocol


class Indescribable(Exception):
    """Something that has state which cannot be read.

    `path` says where it hangs, `what` what it is.
    """

    def __init__(self, what: str, path: str = ""):
        super().__init__(f"{path}: {what}" if path else what)
        self.what, self.path = what, path


@dataclass(frozen=True, slots=True)
class Part:
    """A thing that another is made of, and its name there."""

    name: str
    """What the whole calls it: an attribute, a key, a place."""
    value: Any
    """The thing itself."""


Piece = bytes | memoryview | Part
"""What is written of an object: bytes, or a thing that is described in its turn."""


@dataclass
class State:
    """What was met that may change as it works: cells with their contents, instances with their
    attributes.
    """

    cells: list[tuple[CellType, Any]] = field(default_factory=list)
    """(cell of a closure, its contents)"""
    instances: list[tuple[Any, dict]] = field(default_factory=list)
    """(instance, its attributes by name)"""


class Into(Protocol):
    """The description that parts are written into, as far as they ask it."""

    covered: Callable[[str | None], bool]
    """Whose code, by the module's name, the caller describes as a whole."""
    state: State
    """What was met that may change as it works."""

    def digest_alone(self, value: Any) -> bytes:
        """The key of a thing described by itself."""
        ...
