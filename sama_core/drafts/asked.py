"""What drafts are asked for: lists of instructions, seeds and frames, as an artist types them."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InputError, needed
from ..text import clean_instruction

MOST_SEEDS, MOST_DRAFTS = 64, 512
"""Seeds of one sheet, and drafts of one sheet."""
HIGHEST_SEED = 0xFFFFFFFFFFFFFFFF
_SIGN = r"(?:[-–~－～]|\.\.)"
_RANGE = re.compile(rf"(\d{{1,20}})(?:{_SIGN}(\d{{1,20}}))?")
_COMMAS = re.compile(r"[,;，、\s]+")


@dataclass(frozen=True)
class Draft:
    """One frame, edited by itself."""

    instruction: str
    """What to change, cleaned."""
    frame: int
    """Counted from 0."""
    seed: int
    """Of all noise."""

    @property
    def pick(self) -> str:
        """How the node names its choice: a seed and an instruction, whatever the frame."""
        return f"{self.seed}: {self.instruction}"


@dataclass(frozen=True)
class Asked:
    """All drafts of a sheet."""

    instructions: tuple[str, ...]
    """Without empty or repeated ones."""
    seeds: tuple[int, ...]
    """In the order given."""
    frames: tuple[int, ...]
    """In the order given."""
    remarks: tuple[str, ...] = ()
    """What was left out of the lists."""

    @property
    def drafts(self) -> list[Draft]:
        """In the order of the sheet: by instruction, then frame, then seed."""
        return [
            Draft(*each) for each in itertools.product(self.instructions, self.frames, self.seeds)
        ]

    def find(self, pick: str) -> tuple[Draft, str]:
        """The picked draft of the first frame, and a remark where there is no such pick.

        Without a pick, and with one that is not on the sheet any more, it is the first draft.
        """
        first, chosen = self.drafts[0], _squeeze(pick)
        named = f"seed {first.seed}, “{first.instruction}”"
        if not chosen:
            return first, f"Nothing is picked: the outputs are the first draft's, {named}."
        found = next((draft for draft in self.drafts if _squeeze(draft.pick) == chosen), None)
        if found is None:
            return first, (
                f"The pick “{chosen}” is not on this sheet: the outputs are the first draft's, "
                f"{named}."
            )
        return found, ""


def ask(instructions: str, seeds: str, frames: str, count: int | None = None) -> Asked:
    """Read the three lists: a line per instruction, numbers and ranges such as "1, 5, 7-9".

    `count` is the clip's number of frames, None while it is not known. Raises InputError for what
    is no such list, for a frame that the clip does not have, and for more than a sheet holds.
    """
    lines, remarks = _read_instructions(instructions)
    numbers, twice = read_numbers("seeds", seeds, HIGHEST_SEED, MOST_SEEDS)
    last = 10**9 if count is None else count - 1
    wanted, again = read_numbers("anchor_frames", frames, last, MOST_DRAFTS)
    if twice:
        remarks.append(f"Seeds that are given twice count once: {_list_all(twice)}.")
    if again:
        remarks.append(f"Frames that are given twice count once: {_list_all(again)}.")
    asked = Asked(tuple(lines), tuple(numbers), tuple(wanted), tuple(remarks))
    total = len(lines) * len(numbers) * len(wanted)
    if total > MOST_DRAFTS:
        got = f"{len(lines)} instructions x {len(numbers)} seeds x {len(wanted)} frames = {total}"
        raise InputError(needed("drafts", got, f"at most {MOST_DRAFTS}", "Shorten one of them."))
    return asked


def read_numbers(what: str, text: str, highest: int, most: int) -> tuple[list[int], list[int]]:
    """The numbers of a list such as "1, 5, 7-9", each once, and those that it has twice.

    Raises InputError for any other text, an empty list, a number above `highest`, or more than
    `most` numbers.
    """
    found: dict[int, int] = {}
    fix = "Write numbers and ranges, separated by commas."
    # Spaces around a range's sign belong to it.
    joined = re.sub(rf"\s*({_SIGN})\s*", r"\1", text.strip())
    for part in filter(None, _COMMAS.split(joined)):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise InputError(needed(what, _quote(part), "a list such as 1, 5, 7-9", fix))
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(
                needed(what, _quote(part), f"a range that goes up, {last}-{first}", fix)
            )
        if last > highest:
            raise InputError(needed(what, last, f"numbers of 0 to {highest}", "Choose others."))
        if last - first >= most:
            raise _too_many(what, last - first + 1, most)
        for number in range(first, last + 1):
            found[number] = found.get(number, 0) + 1
    if not found:
        raise InputError(needed(what, "an empty list", "a list such as 1, 5, 7-9", fix))
    if len(found) > most:
        raise _too_many(what, len(found), most)
    return list(found), [number for number, times in found.items() if times > 1]


def _quote(text: str) -> str:
    """The beginning of a text, for an error."""
    shown = "".join(
        sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text[:40]
    )
    return f"“{shown}{'…' if len(text) > 40 else ''}”"


def _too_many(what: str, got: int, most: int) -> InputError:
    return InputError(needed(what, f"{got} numbers", f"at most {most}", "Shorten the list."))


def _read_instructions(text: str) -> tuple[list[str], list[str]]:
    """One a line, each once, and remarks on what was left out."""
    lines = [clean_instruction(line) for line in text.strip().splitlines()]
    kept = list(dict.fromkeys(filter(None, lines)))
    if not kept:
        raise InputError(
            needed(
                "instructions",
                "no line with a word",
                "one or more lines",
                'Write an instruction a line, for example "replace the seal with a crab".',
            )
        )
    empty, twice = lines.count(""), [line for line in kept if lines.count(line) > 1]
    remarks = []
    if empty:
        remarks.append(
            "An empty line was left out." if empty == 1 else f"{empty} empty lines were left out."
        )
    if twice:
        remarks.append(f"Lines that are given twice count once: {_list_all(twice)}.")
    return kept, remarks


def _list_all(things: Iterable[object]) -> str:
    return ", ".join(f"“{thing}”" if isinstance(thing, str) else str(thing) for thing in things)


def _squeeze(text: str) -> str:
    return " ".join(text.split())
