"""Settings of an alignment with which no row can have features."""

from ...errors import needed
from ..alignment import AlignConfig
from ..config import TrainConfig
from ..recipe import ConfigError


def refuse_impossible(config: TrainConfig, align: AlignConfig, tracks: bool, slices: int) -> None:
    """Raises ConfigError for settings that do not fit their teacher.

    `tracks`: whether it follows a subject; `slices`: features in time that it gives clips of
    `config.frames` frames, 0 where that is not known.
    """
    if align.fusion == "separate" and not tracks:
        need, fix = "a teacher of two directions", "Use sam2, or another fusion."
        raise ConfigError(needed("align.fusion", "separate", need, fix))
    if align.saliency == "learned" and tracks:
        need = "a teacher that follows no subject"
        fix = "Use vjepa2, which it was trained on, or another saliency."
        raise ConfigError(needed("align.saliency", "learned with sam2", need, fix))
    fix = "Change it in the recipe."
    if config.frames < 2 and (tracks or align.relation == "flow"):
        need = "5 or more for an alignment of pairs of frames"
        raise ConfigError(needed("frames", config.frames, need, fix))
    if config.frames < slices:
        need = f"{slices} or more, one for each slice of the teacher's features"
        raise ConfigError(needed("frames", config.frames, need, fix))
