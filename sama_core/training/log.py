"""What a run leaves to read: a line of JSON per logged step, and a picture of the losses."""

import json
from pathlib import Path
from typing import Any


class TrainLog:
    """`log.jsonl` and `loss.png` in the output folder. After a resume, lines beyond the checkpoint are dropped."""

    def __init__(self, folder: Path, from_step: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.picture = folder / "log.jsonl", folder / "loss.png"
        kept = [line for line in self.lines() if line["step"] < from_step]
        partial = self.path.with_suffix(".part")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(self.path)

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines; one cut off by a kill is left out."""
        return self.read(self.path) if self.path.exists() else []

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        """All whole lines of a log."""
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def write(self, **values: Any) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def plot(self) -> None:
        """Draw every loss of the log against the step."""
        from matplotlib.figure import Figure
        lines = self.lines()
        names = [name for name in ("total", "flow", "semantic") if any(line.get(name, 0) > 0 for line in lines)]
        if not names:
            return
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        for name in names:
            points = [(line["step"], line[name]) for line in lines if line.get(name, 0) > 0]
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.legend()
        figure.savefig(self.picture, dpi=120, format="png")
