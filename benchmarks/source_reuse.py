"""What reusing the source's keys and values for some steps would save and cost, beside core's EasyCache. Approximate.

    full step      rows  source | semantic | target      every block keeps its source keys and values
    reusing step   rows           semantic | target      they attend to their own keys and to the kept ones

    .venv/bin/python benchmarks/source_reuse.py --n 32 --json benchmarks/results/source_reuse.json

The source is clean: only its modulation and its view of the target change from step to step. Columns as in
`step_saving.py`, of the embedded model; `work` is the attention and matrix products of all calls over the full
sampling's, where a reusing call has half the rows and so costs half. How near a real call comes to that half is timed
alone, on random weights, by tokens (`one call`). Found no better than EasyCache, so the pack has no node for it.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import step_saving  # noqa: E402
import torch  # noqa: E402
from step_saving import FULL, Setting, easycache  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.shapes.report import write_json  # noqa: E402
from sama_core.errors import SamaError  # noqa: E402
from sama_core.model.config import DitConfig  # noqa: E402
from sama_core.model.dit import SamaDiT  # noqa: E402
from tests.harness.untrained import diffusion_model  # noqa: E402

OVERRIDE = "optimized_attention_override"
EVERY, SIGMA_MOVES = (2, 3, 4), (0.035, 0.06, 0.1)
CACHES = (0.02, 0.05, 0.1)
CALLS = ((5, 16, 16), (9, 32, 32), (13, 48, 48))
"""Latent frames, height and width whose calls are timed."""

Reuses = Callable[[int, float, float], bool]
"""(number of the step, its sigma, sigma of the last full step) → whether the step reuses."""


class SourceReuse:
    """One sampling of one conditioning: counts its steps and keeps the last full one's source keys and values."""

    def __init__(self, config: DitConfig, reuses: Reuses):
        self.reuses, self.semantic, self.last = (
            reuses,
            config.semantic_tokens,
            config.num_layers - 1,
        )
        self.calls, self.full_calls = 0, 0
        self.source, self.reusing, self.full_sigma = 0, False, math.inf
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def begin(self, x: Tensor, options: dict) -> None:
        """Before block 0 of a call."""
        sigma = float(options["sigmas"][0])
        self.source = x.shape[1] - self.semantic - math.prod(options["grid_sizes"])
        self.reusing = bool(self.kept) and self.reuses(self.calls, sigma, self.full_sigma)
        self.calls += 1
        if not self.reusing:
            self.full_calls, self.full_sigma = self.full_calls + 1, sigma

    def block(self, index: int) -> Callable:
        """A replacement of block `index`, as Wan publishes that patch point."""

        def replacement(args: dict, extra: dict) -> dict:
            if index == 0:
                self.begin(args["img"], args["transformer_options"])
            args = {
                **args,
                "transformer_options": {
                    **args["transformer_options"],
                    OVERRIDE: self._attention(index),
                },
            }
            if self.reusing:
                args["pe"] = type(args["pe"])(*(rows[self.source :] for rows in args["pe"]))
                args["img"] = args["img"][:, self.source :] if index == 0 else args["img"]
            x = extra["original_block"](args)["img"]
            if self.reusing and index == self.last:  # neither head reads the source's rows
                x = torch.cat([x.new_zeros(x.shape[0], self.source, x.shape[2]), x], dim=1)
            return {"img": x}

        return replacement

    def _attention(self, index: int) -> Callable:
        """Keeps, or adds, the source's keys and values in a block's first attention; the second is to the text."""
        first = True

        def override(
            attention: Callable, q: Tensor, k: Tensor, v: Tensor, *args, **kwargs
        ) -> Tensor:
            nonlocal first
            if first:
                first = False
                if self.reusing:
                    k, v = (
                        torch.cat(pair, dim=1)
                        for pair in zip(self.kept[index], (k, v), strict=True)
                    )
                else:
                    self.kept[index] = k[:, : self.source].clone(), v[:, : self.source].clone()
            return attention(q, k, v, *args, **kwargs)

        return override


class ReuseSetting(Setting):
    """A setting that also counts which of its calls were full ones."""

    def __init__(self, name: str, steps: int, reuses: Reuses, **values: float):
        super().__init__(name, steps, self._patch, values)
        self.reuses, self.work = reuses, []
        self.run: SourceReuse | None = None

    def _patch(self, model):
        self._count()
        self.run = SourceReuse(model.model.dit_config, self.reuses)
        model = model.clone()
        for index in range(self.run.last + 1):
            model.set_model_patch_replace(self.run.block(index), "dit", "double_block", index)
        return model

    def _count(self) -> None:
        if self.run is not None and self.run.calls:
            self.work.append((self.run.full_calls + self.run.calls) / (2 * self.run.calls))

    def row(self) -> dict:
        self._count()
        self.run = None
        return {**super().row(), "work": sum(self.work) / len(self.work)}


def every(number: int, steps: int) -> ReuseSetting:
    """The source computed at every `number`-th step only."""
    return ReuseSetting(
        f"source at every {number}. step", steps, lambda step, *_: step % number > 0, every=number
    )


def while_near(moved: float, steps: int) -> ReuseSetting:
    """The source computed anew when sigma has moved by more than `moved`."""
    return ReuseSetting(
        f"source anew per {moved:g} of sigma",
        steps,
        lambda _, sigma, full: abs(sigma - full) <= moved,
        sigma=moved,
    )


def all_settings(steps: int) -> list[Setting]:
    """Full sampling, every way of reusing, EasyCache, and fewer steps."""
    return [
        Setting(FULL, steps),
        *(every(number, steps) for number in EVERY),
        *(while_near(moved, steps) for moved in SIGMA_MOVES),
        *(easycache(threshold, 0.15, 0.95, steps) for threshold in CACHES),
        Setting("10 steps", 10),
    ]


@torch.no_grad()
def one_call(grid: tuple[int, int, int], width: int = 384, turns: int = 3) -> dict:
    """Fastest seconds of a full call and of one that reuses, for two random blocks and a latent (T, H, W).

    Both calls have the same inputs, so that the kept keys are right: `distance` between their results is rounding.
    """
    from comfy.ldm.modules.attention import optimized_attention

    config = DitConfig(
        dim=width,
        num_heads=width // 128,
        ffn_dim=width * 27 // 10,
        num_layers=2,
        text_dim=64,
        freq_dim=64,
        in_dim=16,
        out_dim=16,
        semantic_dim=64,
        semantic_hidden=64,
    )
    generator = torch.Generator().manual_seed(0)
    model = SamaDiT(config, attention=optimized_attention, dtype=torch.float32)
    model.load_state_dict(diffusion_model(generator, config))
    run = SourceReuse(config, lambda step, *_: step % 2 == 1)
    blocks = {("double_block", index): run.block(index) for index in range(config.num_layers)}
    options = {"patches_replace": {"dit": blocks}, "sigmas": torch.tensor([0.5])}
    video, text, semantic = (
        torch.randn(1, *shape, generator=generator)
        for shape in (
            (16, *grid),
            (512, config.text_dim),
            (config.semantic_tokens, config.semantic_dim),
        )
    )
    arguments = (video, torch.tensor([500.0]), text, video.flip(-1), semantic)
    best, given = {"full": math.inf, "reusing": math.inf}, {}
    for _ in range(turns):
        for name in best:
            started = time.perf_counter()
            given[name] = torch.cat([part.flatten() for part in model(*arguments, dict(options))])
            best[name] = min(best[name], time.perf_counter() - started)
    tokens = 2 * math.prod(grid) // 4 + config.semantic_tokens
    return {
        "tokens": tokens,
        "width": width,
        "blocks": config.num_layers,
        "seconds": best,
        "distance": ((given["reusing"] - given["full"]).norm() / given["full"].norm()).item(),
        "ratio": best["reusing"] / best["full"],
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = step_saving.parser().parse_args(arguments)
    settings = all_settings(options.steps)
    try:
        found = step_saving.run(options, settings)
    except SamaError as error:
        print(error, file=sys.stderr)
        return 2
    found["one_call"] = [one_call(grid) for grid in CALLS]
    if options.json:
        write_json(options.json, found)
    for call in found["one_call"]:
        print(
            f"one call, {call['tokens']} tokens: a reusing one takes {call['ratio']:.0%} of a full one"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
