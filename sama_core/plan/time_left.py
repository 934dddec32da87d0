"""How long an edit still takes, from the steps that are done.

The first step of a sampling also moves weights and compiles kernels, so it is slower. It counts
only while nothing else is known, and as a bound from above.
"""

from collections.abc import Callable


class StepClock:
    """Times the sampling steps of one edit, which may have several runs, such as segments.

    A step is everything between two calls of the sampler: with guidance it holds two calls of the
    model, and its time is theirs together.
    """

    def __init__(self, now: Callable[[], float], steps: int, runs: int = 1):
        """`now()` gives seconds. Planned are `runs` samplings of `steps` steps."""
        self.now, self.steps, self.runs = now, steps, runs
        self.between = 0.0
        """Seconds between the samplings, such as for encoding a segment's source; the last ones."""
        self.a_step = self.left = 0.0
        """Seconds of a step, and those that are left, as known after the last step."""
        self._begun = 0
        self._last = now()
        self._timed_steps, self._timed_seconds = 0, 0.0

    def begin(self) -> None:
        """A sampling starts now."""
        self._begun += 1
        self._last = self.now()

    def skip(self) -> None:
        """A planned sampling need not be done."""
        self._begun += 1

    def step(self, done: int, total: int) -> str:
        """Step `done` of `total` is done → such as "8.1 s a step, about 5 min 8 s left"."""
        now = self.now()
        took, self._last = now - self._last, now
        if done > 1:
            self._timed_steps += 1
            self._timed_seconds += took
        waiting = max(0, self.runs - self._begun)
        steps = total - done + waiting * self.steps
        known = self._timed_steps > 0
        a_step = self.a_step = self._timed_seconds / self._timed_steps if known else took
        left = self.left = steps * a_step + waiting * self.between
        each = f"{short_seconds(a_step)} {'a step' if known else 'for the first'}"
        if steps == 0:
            return each
        return f"{each}, {'about' if known else 'at most'} {duration(left)} left"


def short_seconds(seconds: float) -> str:
    """Seconds with what matters of them: "0.35 s", "8.1 s", "123 s"."""
    digits = 2 if seconds < 1 else 1 if seconds < 100 else 0
    return f"{seconds:.{digits}f} s"


def duration(seconds: float) -> str:
    """A time to wait for, in its two largest units: "41 s", "5 min 8 s", "2 h 5 min"."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"
