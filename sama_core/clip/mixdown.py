"""The sound a result can carry: as it is where a file takes it, else a stereo mix of it, else none."""

import torch

from .info import ClipInfo
from .sound import LAYOUTS, is_copied


def fitting_sound(info: ClipInfo, audio: dict | None) -> tuple[dict | None, str | None]:
    """ComfyUI AUDIO → (AUDIO that a video file takes, or None; what the artist should know, or None).

    AAC has no layout for some channel counts, 7 among them. A copied track keeps all of its channels. What is no
    AUDIO at all is left out: by the time it is seen, the edit is made, and must not be lost to it.
    """
    if audio is None:
        return None, None
    wrong = _why_not_sound(audio)
    if wrong:
        return None, f"The sound is left out, because it has {wrong}. The video is silent."
    audio = {**audio, "sample_rate": int(audio["sample_rate"])}
    channels = audio["waveform"].shape[1]
    if channels in LAYOUTS or is_copied(info, audio):
        return audio, None
    return _in_stereo(audio), (f"The sound has {channels} channels, which no video file takes: the result gets a "
                               "stereo mix of it.")


def _why_not_sound(audio: dict) -> str | None:
    """What keeps `audio` from being ComfyUI AUDIO: float (batch, channels, samples) and a rate."""
    if not hasattr(audio, "get"):
        return f"the form {type(audio).__name__}"
    waveform, rate = audio.get("waveform"), audio.get("sample_rate")
    if not isinstance(waveform, torch.Tensor):
        return "no waveform"
    if waveform.dim() != 3 or not waveform.shape[0] or not waveform.shape[1]:
        return f"the shape {tuple(waveform.shape)} instead of (1, channels, samples)"
    try:
        return None if int(rate) >= 1 else f"the sample rate {rate}"
    except (TypeError, ValueError, OverflowError):
        return f"the sample rate {rate}"


def _in_stereo(audio: dict) -> dict:
    """Left and right lead every usual order of three and more channels; all others are heard in the middle."""
    waveform = audio["waveform"].float()
    middle = waveform[:, 2:].mean(dim=1, keepdim=True)
    return {**audio, "waveform": (waveform[:, :2] + middle) / 2}
