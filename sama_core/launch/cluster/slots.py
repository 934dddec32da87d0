"""What one ComfyUI takes of a node, as `--ray-slots` says it: `gpu:1`, `cpu:4`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import needed
from ..progress import LaunchError

USUAL = "gpu:1"
RESOURCES = {"gpu": "GPU", "cpu": "CPU"}
"""Names of the option, and Ray's."""
_FORM = re.compile(r"(gpu|cpu):(\d{1,4})")


@dataclass(frozen=True)
class Slot:
    """The resource of one ComfyUI."""

    kind: str
    """`gpu` or `cpu`."""
    count: int
    """How many of them."""

    @classmethod
    def read(cls, text: str) -> "Slot":
        """Raises LaunchError for anything but the two forms."""
        found = _FORM.fullmatch(text.strip().lower())
        if not found or int(found[2]) < 1:
            fix = "Give gpu:1 for a ComfyUI on each card, cpu:4 for one on each 4 processors."
            raise LaunchError(needed("--ray-slots", text, "gpu:N or cpu:N, N from 1", fix))
        return cls(found[1], int(found[2]))

    @property
    def options(self) -> dict[str, float]:
        """As an actor of Ray asks for it. A card's ComfyUI takes no processor of its own."""
        gpu = self.kind == "gpu"
        return {"num_gpus": self.count if gpu else 0, "num_cpus": 0 if gpu else self.count}

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of the ComfyUI: as many threads as it has processors."""
        return {"OMP_NUM_THREADS": str(self.count)} if self.kind == "cpu" else {}

    def fit_into(self, nodes: Iterable[Mapping[str, Any]]) -> int:
        """How many of them the living nodes of `ray.nodes()` hold. Raises LaunchError for none."""
        name, alive = RESOURCES[self.kind], [node for node in nodes if node.get("Alive")]
        fit = sum(int(node["Resources"].get(name, 0) // self.count) for node in alive)
        if fit:
            return fit
        there = ", ".join(
            f"{sum(node['Resources'].get(ray, 0) for node in alive):g} {word}"
            for word, ray in RESOURCES.items()
        )
        raise LaunchError(
            needed(
                f"the Ray cluster of {len(alive)} nodes",
                f"{there}, on no node {self.count} {self.kind}",
                f"a node with {self.count} {self.kind} for a ComfyUI",
                "Start Ray with --num-gpus or --num-cpus there, or give other --ray-slots: "
                "cpu:4 for ComfyUIs without a card.",
            )
        )
