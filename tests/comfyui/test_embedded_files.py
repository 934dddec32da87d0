"""SAMA-Shapes' files in ComfyUI's own lists: found and loaded from the pack, and nothing is ever
written there.
"""

import shutil
from pathlib import Path

import pytest
import torch

from sama_core import embedded

from .graphs import Graph, whole_edit

FILES = {
    "diffusion_models": "sama_shapes.safetensors",
    "text_encoders": "sama_shapes_umt5.safetensors",
    "vae": "sama_shapes_vae.safetensors",
}


@pytest.fixture
def shapes(edit):
    """A graph that edits 5 frames of 64x64 with SAMA-Shapes."""
    return edit.use_shapes()


def pack_folder(kind: str) -> Path:
    return embedded.FOLDER / kind


def listing() -> dict[str, tuple[int, int]]:
    """Every file below the pack's model folders, its size and time."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for kind in FILES
        for path in pack_folder(kind).rglob("*")
    }


def test_the_files_are_the_three_of_the_pack():
    assert {file.parent.name: file.name for file in embedded.FILES} == FILES
    assert sum(file.stat().st_size for file in embedded.FILES) <= 24_000_000


def test_folders_are_added_once_and_last(comfyui):
    import folder_paths

    from sama_core.comfyui.register import offer_embedded

    before = {kind: folder_paths.get_folder_paths(kind) for kind in FILES}
    offer_embedded()
    offer_embedded()
    for kind, folders in before.items():
        assert folder_paths.get_folder_paths(kind) == folders
        assert folders.count(str(pack_folder(kind))) == 1 and folders[-1] == str(pack_folder(kind))
        # What others download or save by default goes here.
        assert Path(folders[0]).is_relative_to(comfyui.base)


@pytest.mark.parametrize(
    ("node", "field", "folder"),
    [
        ("SAMALoadModel", "model_name", "diffusion_models"),
        ("UNETLoader", "unet_name", "diffusion_models"),
        ("SAMALoadTextEncoder", "text_encoder_name", "text_encoders"),
        ("CLIPLoader", "clip_name", "text_encoders"),
        ("SAMALoadVAE", "vae_name", "vae"),
        ("VAELoader", "vae_name", "vae"),
    ],
)
def test_every_loader_lists_them(comfyui, node, field, folder):
    kind, *options = comfyui.object_info(node)["input"]["required"][field]
    assert FILES[folder] in (kind if isinstance(kind, list) else options[0]["options"])


def test_an_edit_with_the_packs_own_files(shapes):
    """The area is the model's own, 64x64; weights come from the pack's folder."""
    link = whole_edit(shapes, cfg=1.0)
    result = shapes.comfyui.run(shapes.nodes, keep=[shapes.source[0], link[0]]).check()
    frames = result.values[link[0]][0]
    assert result.values[shapes.source[0]][0].shape[1:3] == torch.Size([64, 64])
    assert frames.shape == (5, 64, 64, 3) and frames.isfinite().all()


def test_the_circle_turns_red(shapes):
    """The README's edit: `run.py edit` on the pack's clip, at its settings."""
    from sama_core.shapes.demo_clip import demo_scene
    from sama_core.shapes.world.scene import centres

    shutil.copy(embedded.CLIP, shapes.comfyui.base / "input" / embedded.CLIP.name)
    video = shapes.add("LoadVideo", file=embedded.CLIP.name)
    shapes.nodes[shapes.source[0]]["inputs"] |= {"video": video, "frames": 0}
    link = whole_edit(
        shapes, instruction="make the circle red", steps=embedded.STEPS, cfg=embedded.CFG
    )
    frames = shapes.values(link)
    assert frames.shape == (17, 64, 64, 3)
    for circle, frame in zip(centres(demo_scene(), 17, 64, 64)[0, 0] * 64, frames, strict=True):
        red, green, blue = around(frame, circle)
        assert red > green + 0.3 and red > blue + 0.3, "the circle is red"
        red, green, blue = around(frame, ((circle + 32) % 64).clamp(2, 61))
        assert green > red + 0.05, "the background is still mint"


def around(frame: torch.Tensor, place: torch.Tensor) -> list[float]:
    """Mean colour of 5x5 pixels around (x, y) in pixels."""
    x, y = place.int().tolist()
    return frame[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1)).tolist()


def test_stock_loaders_read_model_and_vae(shapes):
    """The same edit, bit for bit."""
    ours = shapes.sample(cfg=1.0)["video"]
    stock = shapes.add("UNETLoader", unet_name=FILES["diffusion_models"], weight_dtype="default")
    shapes.model = shapes.add("SAMAPrepareModel", model=stock)
    shapes.nodes[shapes.conditioning[0]]["inputs"]["vae"] = shapes.add(
        "VAELoader", vae_name=FILES["vae"]
    )
    assert torch.equal(shapes.sample(cfg=1.0)["video"], ours)


def test_the_stock_text_encoder_loader_cannot_and_says_so(comfyui):
    """Core knows umT5-xxl alone; the README and the help page say which loader to take."""
    graph = Graph()
    clip = graph.add("CLIPLoader", clip_name=FILES["text_encoders"], type="wan")
    assert not comfyui.run(graph.nodes, keep=[clip[0]]).ok


def test_a_file_of_that_name_in_comfyuis_own_folder_is_taken_first(comfyui):
    import folder_paths

    assert folder_paths.get_full_path("vae", FILES["vae"]) == str(pack_folder("vae") / FILES["vae"])
    own = comfyui.models("vae") / FILES["vae"]
    own.write_bytes(b"mine")
    try:
        assert folder_paths.get_full_path("vae", FILES["vae"]) == str(own)
    finally:
        own.unlink()


def test_saving_never_writes_into_the_pack(shapes):
    """Even under the files' own names."""
    before = listing()
    shapes.add("ModelSave", model=shapes.model, filename_prefix="sama_shapes")
    shapes.add("VAESave", vae=shapes.vae, filename_prefix="sama_shapes_vae")
    shapes.add("CLIPSave", clip=shapes.clip, filename_prefix="sama_shapes_umt5")
    shapes.comfyui.run(shapes.nodes).check()
    assert listing() == before
    saved = [
        path.name for path in (shapes.comfyui.base / "output").rglob("sama_shapes*.safetensors")
    ]
    assert len(saved) >= 3
