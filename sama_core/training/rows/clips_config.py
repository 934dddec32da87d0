"""Settings of how the rows' clips are read, and of what is kept of them on disk."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ...geometry import WAN_21
from ..recipe import check_types, refuse_bad, settings_of

RATES = ("refuse", "resample", "frames")


@dataclass(frozen=True)
class ClipsConfig:
    """The `[clips]` table of a recipe. A recipe without it reads as version 0.1.0 did: one size,
    the first frames, pairs frame by frame whatever their rates, nothing kept on disk.
    """

    buckets: bool = False
    """Every clip and image in the size of its own shape, of about `width` x `height` pixels; a
    batch holds one size. False: all are cropped to `width` x `height`."""
    lengths: tuple[int, ...] = ()
    """Frame counts beside `frames`, each 4k+1, e.g. [17, 33]: a clip is trained on with the longest
    that it has. Empty: `frames` alone; shorter clips are left out."""
    windows: int = 1
    """Places where the window of a longer clip may begin, evenly spread, drawn anew for each
    sample: 1 is the first frame, 0 any frame. Source and target have the same window."""
    rates: str = "refuse"
    """A pair whose clips have different frame rates: "refuse" leaves it out by name, "resample"
    reads both in the slower rate, "frames" pairs frame by frame. Without `[clips]` it is "frames",
    with a warning."""
    fps: float = 0.0
    """All clips are resampled to this rate, the nearest frame at each time; 0 keeps their own."""
    workers: int = 2
    """Threads that read the next samples while a step is computed; 0 reads when asked."""
    cache: bool = True
    """Keep latents, texts and semantic tokens on disk. What is kept is equal bit for bit to what
    would be made again. A stage-0 clip's perturbed source is drawn anew each time and not kept."""
    cache_folder: str = ""
    """Where they are kept; empty: the folder `cache` in the output folder. Runs may share one: a
    file's name says clips, window, size and encoder."""
    cache_gb: float = 50.0
    """Gigabytes from which on nothing more is kept; what is missing is made when it is needed."""

    def __post_init__(self) -> None:
        check_types(self, "clips")
        lengths = self.lengths
        shown = list(lengths) if isinstance(lengths, tuple) else repr(lengths)
        good = isinstance(lengths, tuple) and all(map(_is_length, lengths))
        refuse_bad(
            [
                (good, "clips.lengths", shown, f"numbers of {WAN_21.frame_rule}, in a list"),
                (0 <= self.windows <= 1000, "clips.windows", self.windows, "0 to 1000"),
                (self.rates in RATES, "clips.rates", repr(self.rates), " or ".join(RATES)),
                (0 <= self.fps < math.inf, "clips.fps", self.fps, "0 or more"),
                (self.workers >= 0, "clips.workers", self.workers, "0 or more"),
                (self.cache_gb > 0, "clips.cache_gb", self.cache_gb, "more than 0"),
            ]
        )

    def list_changes(self) -> list[str]:
        """Settings that read other frames than the first ones in the one size."""
        changes = {
            "buckets": self.buckets,
            "lengths": bool(self.lengths),
            "windows": self.windows != 1,
            'rates "resample"': self.rates == "resample",
            "fps": self.fps > 0,
        }
        return [name for name, changed in changes.items() if changed]

    @classmethod
    def of_table(cls, values: Mapping[str, Any], name: str) -> Self:
        """The settings of a TOML table. ConfigError names an unknown key."""
        return settings_of(cls, dict(values), name)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and WAN_21.takes_count(value)


BEFORE = ClipsConfig(rates="frames", workers=0, cache=False)
"""How rows are read without a table `[clips]`."""
