"""Golden tensors of the official SAMA code.

Loading, comparing, and the parity table at the end of a run.
"""

import json
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import torch
from safetensors.torch import load_file

GOLDEN_DIR = Path(__file__).resolve().parents[1] / "golden"
WEIGHTS = "weights."


@dataclass
class Parity:
    """Worst figures seen for one golden file."""

    comparisons: int = 0
    """How many."""
    rel_l2: float = 0.0
    """The largest relative L2."""
    max_abs: float = 0.0
    """The largest absolute difference."""
    worst: str = "-"
    """Key of the largest relative L2."""

    def record(self, key: str, rel_l2: float, max_abs: float) -> None:
        """Add one comparison."""
        self.add(Parity(1, rel_l2, max_abs, key))

    def add(self, other: "Parity") -> None:
        """Add the figures of other comparisons."""
        self.comparisons += other.comparisons
        self.max_abs = max(self.max_abs, other.max_abs)
        if not other.rel_l2 <= self.rel_l2:  # also true for nan
            self.rel_l2, self.worst = other.rel_l2, other.worst


PARITY: dict[str, Parity] = {}


@dataclass
class Golden:
    """One golden group: `golden["case1.latents"]` is a tensor, `golden.manifest` the JSON beside
    it.

    Tensors remember where they come from, so `assert_close` files its figures under this group.
    """

    name: str
    """Of the group's files."""
    manifest: dict
    """The JSON beside the tensors."""
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """By key."""

    def __getitem__(self, key: str) -> torch.Tensor:
        tensor = self.tensors[key]
        tensor.golden_source = (self.name, key)
        return tensor

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def keys(self, prefix: str = "") -> list[str]:
        """Names of the tensors under `prefix`, weights left out unless the prefix asks for them."""
        return [
            k
            for k in self.tensors
            if k.startswith(prefix) and (prefix or not k.startswith(WEIGHTS))
        ]

    def limits(self, name: str) -> dict[str, float]:
        """The manifest's `suggested_tolerance` for tensor `name`: the longest pattern that matches
        it, as assert_close's arguments; "exact" is a distance of zero."""
        tolerances = {
            pattern: value
            for key, value in self.manifest["suggested_tolerance"].items()
            for pattern in key.split(", ")
            if fnmatch(name, pattern) or fnmatch(name, f"*.{pattern}")
        }
        assert tolerances, f"the manifest of {self.name} suggests no tolerance for {name}"
        value = tolerances[max(tolerances, key=len)]
        return (
            {"max_abs": 0.0}
            if value == "exact"
            else {key: value[key] for key in ("rel_l2", "max_abs")}
        )

    def state_dict(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """New float32 copies of the weights under `weights.<prefix>`, by their official names."""
        start = WEIGHTS + prefix
        return {
            key[len(start) :]: value.to(torch.float32, copy=True)
            for key, value in self.tensors.items()
            if key.startswith(start)
        }


def load_golden(name: str) -> Golden:
    """Read `tests/golden/<name>.json` and, where there is one, `<name>.safetensors`."""
    manifest = json.loads((GOLDEN_DIR / f"{name}.json").read_text(encoding="utf-8"))
    tensors = GOLDEN_DIR / f"{name}.safetensors"
    return Golden(name, manifest, load_file(tensors) if tensors.is_file() else {})


def distance(actual: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """(relative L2, largest absolute difference), computed in float64. Needs equal shapes."""
    if actual.numel() == 0:
        return 0.0, 0.0
    wide = torch.complex128 if actual.is_complex() or expected.is_complex() else torch.float64
    actual, expected = actual.detach().cpu().to(wide), expected.detach().cpu().to(wide)
    difference = actual - expected
    norm = expected.norm().item()
    return difference.norm().item() / (norm or 1.0), difference.abs().max().item()


def assert_close(
    actual: torch.Tensor,
    expected: torch.Tensor,
    *,
    rel_l2: float | None = None,
    max_abs: float | None = None,
    source: tuple[str, str] | None = None,
) -> None:
    """Assert equal shapes and a distance within the given limits (at least one); NaN always fails.

    source: (golden file, tensor) to record under; by default the one `expected` was read from.
    An all-zero `expected` makes `rel_l2` the plain L2 norm of `actual`.
    """
    assert rel_l2 is not None or max_abs is not None, "assert_close needs rel_l2= or max_abs="
    assert actual.shape == expected.shape, (
        f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    )
    got_l2, got_abs = distance(actual, expected)
    file, key = source or getattr(expected, "golden_source", (None, "tensor"))
    if file:
        PARITY.setdefault(file, Parity()).record(key, got_l2, got_abs)
    within = (rel_l2 is None or got_l2 <= rel_l2) and (max_abs is None or got_abs <= max_abs)
    assert within, (
        f"{file or 'not golden'} {key}: relative L2 {got_l2:.3e} (limit {rel_l2}), "
        f"max abs {got_abs:.3e} (limit {max_abs})"
    )


def seen_parity() -> dict[str, dict]:
    """What this process compared, as plain values for `add_parity` in another."""
    return {name: asdict(seen) for name, seen in PARITY.items()}


def add_parity(seen: dict[str, dict]) -> None:
    """Add the figures of another process."""
    for name, figures in seen.items():
        PARITY.setdefault(name, Parity()).add(Parity(**figures))


def parity_table() -> list[str]:
    """Lines of the table pytest prints at the end; empty when nothing was compared."""
    if not PARITY:
        return []
    rows = [("golden file", "compared", "worst rel L2", "worst abs", "worst tensor")]
    for name, seen in sorted(PARITY.items()):
        rows.append(
            (name, str(seen.comparisons), f"{seen.rel_l2:.2e}", f"{seen.max_abs:.2e}", seen.worst)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
