"""What drafts and the full edit cost, as lines of text: by the plan before, measured after."""

import logging
from statistics import mean

from ..geometry import LatentShape
from ..plan.planning import Plan
from ..plan.summary import span
from .plan import plan_of_loaded, ram_of_weights, this_machine

log = logging.getLogger(__name__)


class DraftCosts:
    """Plans of one draft and of the full edit, and the seconds that drafts took."""

    def __init__(self, one: Plan | None, full: Plan | None, count: int, kept: int):
        """`count` drafts are on the sheet, `kept` of them need not be drawn."""
        self.one, self.full, self.count, self.kept = one, full, count, kept
        self.seconds: list[float] = []

    @classmethod
    def plan(
        cls, patcher, clip: LatentShape, steps: int, cfg: float, count: int, kept: int
    ) -> "DraftCosts":
        """For the full edit of a clip; a plan that cannot be made has no line."""
        single = LatentShape(1, clip.height, clip.width, clip.lattice)
        try:
            machine = this_machine(ram_of_weights(patcher.model.dit_config, patcher))
            one, full = (
                plan_of_loaded(patcher, latent, steps, cfg, machine) for latent in (single, clip)
            )
        except Exception:
            log.warning("SAMA: what drafts cost could not be planned.", exc_info=True)
            return cls(None, None, count, kept)
        return cls(one, full, count, kept)

    def lines(self) -> list[str]:
        """What is known now: of the drafts, then of the full edit."""
        return [self._drafts(), *([self._full_edit()] if self.full else [])]

    def _drafts(self) -> str:
        new, done = self.count - self.kept, len(self.seconds)
        text = f"{self.count} {'draft' if self.count == 1 else 'drafts'}"
        if self.kept:
            text += f", {self.kept} of them kept from before"
        if not new:
            return f"{text}: nothing to draw."
        if planned := self._estimate(new):
            text += f", estimated at {planned}"
        if not done:
            return f"{text}."
        took = f"{_short(sum(self.seconds))}, {_short(mean(self.seconds))} each"
        if done == new:
            return f"{text}: took {took}."
        return f"{text}: {done} of {new} drawn in {took}; {_short(self.estimate_rest(new))} left."

    def estimate_rest(self, new: int) -> float:
        """Seconds for the rest of `new` drafts; the first one also loads the model."""
        usual = self.seconds[1:] or self.seconds
        return (new - len(self.seconds)) * mean(usual)

    def _estimate(self, new: int) -> str:
        seconds = self.one and self.one.seconds
        if not self.one or not seconds:
            return ""
        calls = self.one.request.steps * new
        return span(seconds.low * calls, seconds.high * calls)

    def _full_edit(self) -> str:
        full, one = self.full, self.one
        assert full is not None and one is not None
        clip, steps, cfg = full.request.clip, full.request.steps, full.request.cfg
        text = (
            f"The full edit, {clip.frames} frames of {clip.width}x{clip.height}, "
            f"{steps} steps, cfg {cfg:g}: "
        )
        times = full.flops.total / one.flops.total
        if full.seconds:
            planned = span(full.seconds.low * steps, full.seconds.high * steps)
            text += f"{planned} of sampling by the plan, the work of {times:.0f} drafts."
        else:
            text += f"the work of {times:.0f} drafts; the plan does not know this device's speed"
            usual = self.seconds[1:] or self.seconds
            text += f", by these drafts about {_short(times * mean(usual))}." if usual else "."
        return text if full.fits else f"{text} By the plan it does not fit into memory: SAMA Plan."


def _short(seconds: float) -> str:
    """A duration, in the unit that suits it."""
    return span(seconds, seconds).removeprefix("about ")
