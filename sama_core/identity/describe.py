"""One walk over a graph of objects, written into a digest.

Every object is opened once; met again, it is written as the number of its first visit, so cycles
end and random identities (UUIDs, sentinels) count by their order alone. The stack of open objects
is a list: depth is not limited.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .kinds import parts_of, plain_bytes
from .parts import Indescribable, Part, Piece, State

_TOKEN, _AGAIN, _OPEN, _CLOSE = b"\0", b"\1", b"\2", b"\3"


@dataclass
class _Visit:
    name: str
    parts: Iterator[Piece]


class Description:
    """The digest of everything given to `add`, in that order.

    `special(value)` gives the parts of objects that the caller knows better than `kinds.parts_of`,
    else None. `covered(module name)` tells whose code the caller describes as a whole: of it only
    plain globals are read.
    """

    def __init__(self, special=lambda value: None, covered=lambda module: False):
        self.special, self.covered, self.state = special, covered, State()
        self._digest = hashlib.blake2b(digest_size=20)
        self._seen: dict[int, tuple[int, Any]] = {}

    @property
    def key(self) -> str:
        """40 hexadecimal digits."""
        return self._digest.hexdigest()

    def add(self, value: Any, name: str = "") -> "Description":
        """Write one more thing.

        Raises Indescribable with the path to what cannot be described, for whatever reason.
        """
        stack = [_Visit(name, iter([Part("", value)]))]
        try:
            while stack:
                part = next(stack[-1].parts, None)
                if part is None:
                    stack.pop()
                    self._digest.update(_CLOSE)
                elif isinstance(part, Part):
                    self._open(part, stack)
                else:
                    self._write(_TOKEN, part)
        except Indescribable as error:
            raise Indescribable(
                error.what, "".join(visit.name for visit in stack) + error.path
            ) from None
        except (
            Exception
        ) as error:  # of other people's objects: whatever they raise when they are looked at
            raise Indescribable(
                f"it cannot be read ({type(error).__name__}: {error})",
                "".join(visit.name for visit in stack),
            ) from error
        return self

    def digest_alone(self, value: Any) -> bytes:
        """The key of a thing described by itself, in bytes."""
        return Description().add(value).key.encode()

    def _open(self, part: Part, stack: list[_Visit]) -> None:
        plain = plain_bytes(part.value)
        if plain is not None:
            self._write(_TOKEN, plain)
            return
        seen = self._seen.get(id(part.value))
        if seen is not None:
            self._write(_AGAIN, seen[0].to_bytes(8, "little"))
            return
        # The object is kept with its number: an id may be given again once its object is gone.
        self._seen[id(part.value)] = len(self._seen), part.value
        visit = _Visit(part.name, iter(()))
        stack.append(visit)
        self._digest.update(_OPEN)
        parts: Iterable[Piece] | None = self.special(part.value)
        visit.parts = iter(parts_of(part.value, self) if parts is None else parts)

    def _write(self, mark: bytes, piece) -> None:
        self._digest.update(mark)
        self._digest.update(len(piece).to_bytes(8, "little"))
        self._digest.update(piece)
