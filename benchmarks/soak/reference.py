"""The edits of the cases without a server: loader, source, edit and file by direct calls.

    python -m benchmarks.soak.reference FOLDER COMFYUI

reads the cases' clips from FOLDER and writes the right results there.
"""

import sys
from pathlib import Path

from benchmarks.comfyui import start_here
from benchmarks.soak.cases import CASES, INSTRUCTION, SETTINGS, Case
from sama_core import embedded
from sama_core.clip import ClipRange


def main(folder: Path, comfyui: Path) -> None:
    """Write what is missing."""
    missing = [case for case in CASES if not case.result(folder).exists()]
    if not missing:
        return
    start_here(comfyui, cpu=True)
    import torch

    from sama_core.comfyui import loaders

    with torch.inference_mode():
        parts = (
            loaders.load_diffusion_model(str(embedded.DIT)),
            loaders.load_text_encoder(str(embedded.TEXT_ENCODER)),
            loaders.load_vae(str(embedded.VAE)),
        )
        for case in missing:
            write_result(case, folder, *parts)


def write_result(case: Case, folder: Path, model, clip, vae) -> None:
    """Edit one case and write it as Save Video would."""
    from comfy_api.latest import InputImpl

    from sama_core.comfyui.edit import EditSettings, edit_clip
    from sama_core.comfyui.model import lattice_of_model
    from sama_core.comfyui.restored_video import RestoredVideo
    from sama_core.comfyui.video import read_source

    frames, info = read_source(
        InputImpl.VideoFromFile(str(case.clip(folder))),
        None,
        24.0,
        ClipRange(0, case.frames, 1),
        model.model.area,
        lattice=lattice_of_model(model),
    )
    settings = EditSettings(INSTRUCTION, case.seed, **SETTINGS)
    edited = edit_clip(model, clip, vae, frames, settings)
    target = case.result(folder)
    partial = target.with_suffix(".part.mp4")
    RestoredVideo(edited, info, info.audio).save_to(str(partial))
    partial.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
