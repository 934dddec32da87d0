"""SAMA: instruction-guided video editing on a Wan 2.1 diffusion transformer.

Everything here except `sama_core.comfyui` imports without ComfyUI, and `sama_core.launch` without
torch; hence the public names are resolved on first use.

Shape legend, used throughout:
    B batch · T latent frames · H, W latent height and width · C latent channels (16)
    S semantic tokens (65) · E semantic width (1152) · L text tokens (512)
    N sequence length = source + semantic + target tokens · D model width · K head size
"""

from importlib import import_module

_PUBLIC = {
    "SamaDiT": ".model.dit",
    "DitConfig": ".model.config",
    "LoadReport": ".weights.report",
    "load_state_dict_report": ".weights.report",
    "flow_sigmas": ".model.schedule",
    "denoise": ".model.schedule",
    "choose_bucket": ".geometry",
    "pad_frame_count": ".geometry",
    "clean_instruction": ".text",
}

__all__ = list(_PUBLIC)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name], __name__), name)
