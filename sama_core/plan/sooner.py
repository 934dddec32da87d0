"""What would make a running edit finish sooner, from the time of its steps.

Every way is to stop it and begin again with other settings, so a way is named only where the whole
new edit takes less than what is left of this one. Times follow from the work, by the measured time
of a step. Unverified: on a card, where short sequences may be slower for their work.
"""

from dataclasses import dataclass, replace

from ..geometry import LatentShape
from ..model.config import DitConfig
from ..released_files import DISTILLED_CFG, DISTILLED_STEPS, MANY_STEPS
from .planning import list_sizes
from .request import forward_flops, is_small
from .time_left import duration

LEAST_LEFT = 60
"""Below so many seconds that are left nothing is said."""
LEAST_GAIN = 0.8
"""A way takes at most this part of what is left."""
FEWEST_STEPS = 20
"""Without a step-distilled LoRA steps are halved down to so many."""
HALF = 0.5
"""Of the pixels: the smaller frames that are named."""


@dataclass(frozen=True)
class RunningEdit:
    """What is sampled, as far as its time depends on it."""

    config: DitConfig
    """Sizes of the model."""
    latent: LatentShape
    """What the model sees at once."""
    steps: int
    """Steps of each sampling."""
    cfg: float
    """Guidance strength."""
    runs: int
    """Samplings of the whole edit."""
    distilled: bool = False
    """Whether the model has a step-distilled LoRA."""

    def advise(self, a_step: float, left: float) -> str:
        """Ways to be sooner than in `left` seconds, where a step takes `a_step`; empty if none."""
        if left < LEAST_LEFT:
            return ""
        ways = [
            f"{words} ({duration(seconds)})"
            for words, seconds in self._ways(a_step)
            if seconds <= LEAST_GAIN * left
        ]
        return f"Sooner, begun anew: {'; '.join(ways)}" if ways else ""

    def _ways(self, a_step: float) -> list[tuple[str, float]]:
        """What to set, and the seconds of the whole edit then."""
        call = a_step / self._calls(self.cfg)
        ways = []
        half = self.steps // 2
        if not self.distilled and half >= FEWEST_STEPS:
            ways.append((f"{half} steps", half * a_step))
        if self.distilled and self.cfg != DISTILLED_CFG:
            ways.append((f"cfg {DISTILLED_CFG:g}", self.steps * call))
        if self._takes_lora():
            words = f"a step-distilled LoRA with {DISTILLED_STEPS} steps, cfg {DISTILLED_CFG:g}"
            ways.append((words, DISTILLED_STEPS * call))
        if smaller := self._smaller_frames():
            size, share = smaller
            ways.append((f"frames of {size[0]}x{size[1]}", self.steps * a_step * share))
        return [(words, self.runs * seconds) for words, seconds in ways]

    def _takes_lora(self) -> bool:
        return not (self.distilled or is_small(self.config) or self.steps <= MANY_STEPS)

    def _smaller_frames(self) -> tuple[tuple[int, int], float] | None:
        """Width and height with about half the pixels, and their part of the work."""
        clip = self.latent.clip()
        most = HALF * clip.width * clip.height
        found = next((size for size in list_sizes(clip) if size[0] * size[1] <= most), None)
        if found is None:
            return None
        shape = replace(clip, width=found[0], height=found[1])
        work = forward_flops(self.config, self.latent).total
        return found, forward_flops(self.config, shape.latent()).total / work

    @staticmethod
    def _calls(cfg: float) -> int:
        return 1 if cfg == 1 else 2
