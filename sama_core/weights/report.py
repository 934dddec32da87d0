"""How a state dict fits a model: one verdict, with every problem by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import CheckpointError, needed
from .header import list_some
from .quant_formats import SUFFIXES, is_quant_key


@dataclass(frozen=True)
class LoadReport:
    """How a state dict fits a model: names, not counts alone."""

    matched: int
    """Number of tensors that fit in name and shape."""
    missing: list[str] = field(default_factory=list)
    """Names of the model that the state dict does not have."""
    unexpected: list[str] = field(default_factory=list)
    """Names of the state dict that the model does not have."""
    shape_conflicts: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=list
    )
    """(name, shape in the file, shape in the model)"""

    @property
    def ok(self) -> bool:
        """True where every tensor fits and none is missing or unexpected."""
        return not (self.missing or self.unexpected or self.shape_conflicts)

    def summary(self) -> str:
        """One line when all is well, else every problem by name (long lists are cut at 12)."""
        if self.ok:
            return f"all {self.matched} tensors matched"
        parts = [f"{self.matched} tensors matched"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing: {list_some(self.missing)}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected: {list_some(self.unexpected)}")
        if self.shape_conflicts:
            parts.append(
                f"{len(self.shape_conflicts)} of another shape: "
                + list_some(
                    [
                        f"{name} {list(got)} instead of {list(need)}"
                        for name, got, need in self.shape_conflicts
                    ]
                )
            )
        return "; ".join(parts)

    def raise_if_bad(self, name: str = "the weights") -> None:
        """CheckpointError with the whole summary, unless everything matched."""
        if not self.ok:
            raise CheckpointError(
                needed(
                    name,
                    self.summary(),
                    "every tensor of the model, and no other",
                    "Download the file again, or choose another.",
                )
            )


def compare(
    got: Mapping[str, tuple[int, ...]], need: Mapping[str, tuple[int, ...]], quantised: bool = True
) -> LoadReport:
    """The verdict on shapes `got` for a model that needs shapes `need`.

    With `quantised`, scale tensors are accepted and weights may be packed.
    """
    conflicts = [
        (key, tuple(got[key]), tuple(need[key]))
        for key in need
        if key in got
        and tuple(got[key]) != tuple(need[key])
        and not (quantised and _is_packed(key, got))
    ]
    unexpected = [key for key in got if key not in need and not (quantised and is_quant_key(key))]
    missing = [key for key in need if key not in got]
    return LoadReport(len(need) - len(missing) - len(conflicts), missing, unexpected, conflicts)


def load_state_dict_report(model: torch.nn.Module, sd: Mapping[str, Tensor]) -> LoadReport:
    """Load `sd` into `model` and report. Nothing is loaded unless everything matches.

    Torch alone cannot apply quantisation scales, so here they count as unexpected.
    """
    report = compare(
        {key: tuple(value.shape) for key, value in sd.items()},
        {key: tuple(value.shape) for key, value in model.state_dict().items()},
        quantised=False,
    )
    if report.ok:
        model.load_state_dict(sd, strict=True)
    return report


def _is_packed(key: str, got: Mapping[str, object]) -> bool:
    """Quantised layers may store their weight packed; their scale or format entry says so."""
    layer, _, name = key.rpartition(".")
    return name == "weight" and any(f"{layer}{suffix}" in got for suffix in SUFFIXES)
