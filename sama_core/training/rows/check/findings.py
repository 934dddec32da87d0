"""What there is to say about rows, and the facts of them all."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

UNUSABLE, REMARK = "unusable", "remark"


@dataclass(frozen=True)
class Finding:
    """One thing about one row."""

    row: int
    """Line in the file, from 1."""
    kind: str
    """In one word, e.g. "missing"."""
    text: str
    """In one sentence."""
    level: str = REMARK
    """UNUSABLE: training leaves the row out. REMARK: it is trained on."""
    name: str = ""
    """What the row is called in its folder; "" in a file."""


@dataclass
class Report:
    """What was found in a file or a folder of rows."""

    rows: int = 0
    """Rows in it."""
    names: dict[int, str] = field(default_factory=dict)
    """What rows of a folder are called there, by number."""
    findings: list[Finding] = field(default_factory=list)
    """In the order of the rows."""
    sizes: Counter[str] = field(default_factory=Counter)
    """Clips and images by width x height, as they are shown."""
    rates: Counter[str] = field(default_factory=Counter)
    """Clips by frames per second."""
    lengths: Counter[int] = field(default_factory=Counter)
    """Clips by number of frames, those that source and target both have."""
    shapes: Counter[str] = field(default_factory=Counter)
    """Rows by the shape that they are trained in, width x height x frames."""
    tokens: str = ""
    """How instructions were measured: "counted" by the tokenizer or "estimated"."""
    sheet: str = ""
    """Path of the contact sheet."""

    @property
    def unusable(self) -> int:
        """Rows that training leaves out."""
        return len({one.row for one in self.findings if one.level == UNUSABLE})

    @property
    def usable(self) -> int:
        """Rows that are trained on."""
        return self.rows - self.unusable

    def add(self, row: int, kind: str, text: str, level: str = REMARK) -> None:
        """Add a finding."""
        self.findings.append(Finding(row, kind, text, level, self.names.get(row, "")))

    def of_row(self, row: int) -> list[Finding]:
        """What there is to say about one row."""
        return [one for one in self.findings if one.row == row]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "rows": self.rows,
            "usable": self.usable,
            "findings": [asdict(one) for one in self.findings],
            "sizes": dict(self.sizes),
            "rates": dict(self.rates),
            "lengths": {str(length): count for length, count in sorted(self.lengths.items())},
            "shapes": dict(self.shapes),
            "tokens": self.tokens,
            "sheet": self.sheet,
        }

    def as_text(self) -> str:
        """For the terminal: what is wrong, row by row, then what there is."""
        lines = [
            f"row {one.row:>4}  {one.level:<8}  {one.kind:<11}  {_say_name(one)}{one.text}"
            for one in self.findings
        ]
        lines += [""] if lines else []
        for name, found in (
            ("sizes", self.sizes),
            ("frames per second", self.rates),
            ("frames", self.lengths),
            ("trained as", self.shapes),
        ):
            if found:
                counted = ", ".join(f"{one} ({count})" for one, count in sorted(found.items()))
                lines.append(f"{name}: {counted}")
        if self.tokens == "estimated":
            lines.append("Tokens are estimated: set text_encoder=PATH to count them.")
        if self.sheet:
            lines.append(f"contact sheet: {self.sheet}")
        remarks = sum(one.level == REMARK for one in self.findings)
        lines.append(f"{self.usable} of {self.rows} rows can be trained on; remarks: {remarks}.")
        return "\n".join(lines)


def _say_name(one: Finding) -> str:
    return f"{one.name}: " if one.name else ""
