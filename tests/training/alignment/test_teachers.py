"""Teachers, each built from a tiny random configuration of the real model class."""

from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.errors import RuntimeSetupError, SamaError
from sama_core.training.alignment.teachers import TeacherSource, load_teacher
from sama_core.training.model_folder import mend_torchvision

mend_torchvision()
transformers = pytest.importorskip("transformers")

from sama_core.training.alignment.projector import frame_times  # noqa: E402
from sama_core.training.alignment.teachers.sam2 import Sam2Teacher  # noqa: E402
from sama_core.training.alignment.teachers.vision import (  # noqa: E402
    DinoTeacher,
    SiglipTeacher,
    VideoMaeTeacher,
    VisionTeacher,
    VJepaTeacher,
    pick_frames,
)

SMALL = {
    "hidden_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "patch_size": 16,
}


def tiny_vjepa() -> VJepaTeacher:
    config = transformers.VJEPA2Config(
        **SMALL, crop_size=64, frames_per_clip=16, tubelet_size=2, pred_hidden_size=24,
        pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    return VJepaTeacher(transformers.VJEPA2Model(config))


def tiny_videomae() -> VideoMaeTeacher:
    config = transformers.VideoMAEConfig(**SMALL, image_size=64, num_frames=8, tubelet_size=2)
    return VideoMaeTeacher(transformers.VideoMAEModel(config))


def tiny_dino() -> DinoTeacher:
    config = transformers.DINOv3ViTConfig(**SMALL, image_size=64, num_register_tokens=4)
    return DinoTeacher(transformers.DINOv3ViTModel(config))


def tiny_siglip() -> SiglipTeacher:
    config = transformers.Siglip2VisionConfig(**SMALL, num_patches=25)
    return SiglipTeacher(transformers.Siglip2VisionModel(config))


def tiny_sam2() -> Sam2Teacher:
    wide = 128
    config = transformers.Sam2VideoConfig(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model", "hidden_size": 16, "num_attention_heads": 1,
                "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [16, 32, 64, wide],
                "num_attention_heads_per_stage": [1, 1, 2, 2], "global_attention_blocks": [3],
                "window_size_per_stage": [8, 4, 14, 7], "image_size": [128, 128],
            },
            "backbone_channel_list": [wide, 64, 32, 16], "fpn_hidden_size": wide,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        prompt_encoder_config={"hidden_size": wide, "image_size": 128},
        mask_decoder_config={"hidden_size": wide, "mlp_dim": 64, "iou_head_hidden_dim": 32},
        image_size=128, memory_attention_hidden_size=wide, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64, memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=wide, memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=wide, memory_fuser_embed_dim=wide,
        memory_fuser_intermediate_dim=64, memory_fuser_num_layers=1,
    )  # fmt: skip
    return Sam2Teacher(transformers.Sam2VideoModel(config))


@pytest.fixture(scope="module", params=[tiny_vjepa, tiny_videomae, tiny_dino, tiny_siglip])
def vision(request) -> VisionTeacher:
    torch.manual_seed(0)
    return request.param()


@pytest.fixture(scope="module")
def sam2() -> Sam2Teacher:
    torch.manual_seed(0)
    return tiny_sam2()


def clip(frames=5, height=64, width=96):
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(0))


def test_the_same_clip_gives_the_same_features(vision):
    one, other = (vision.features(clip())["features"] for _ in range(2))
    assert torch.equal(one, other) and one.shape[-1] == vision.width == 48
    assert one.dtype == torch.float32 and not one.requires_grad and one.isfinite().all()
    assert not any(weight.requires_grad for weight in vision.model.parameters())


@pytest.mark.parametrize(
    ("make", "frames", "shape"),
    [
        (tiny_vjepa, 16, (8, 4, 4)),
        (tiny_vjepa, 17, (9, 4, 4)),
        (tiny_vjepa, 1, (1, 4, 4)),
        (tiny_videomae, 17, (4, 4, 4)),
        (tiny_dino, 5, (5, 4, 6)),
        (tiny_siglip, 5, (5, 4, 6)),
    ],
)
def test_slices_rows_and_columns(make, frames, shape):
    assert make().features(clip(frames))["features"].shape == (*shape, 48)


def test_vjepa_sees_its_square_and_doubles_the_first_frame_of_an_odd_clip():
    teacher = tiny_vjepa()
    odd = clip(5, 64, 64)
    doubled = torch.cat([odd[:1], odd])
    assert torch.equal(teacher.features(odd)["features"], teacher.features(doubled)["features"])
    video = teacher.model.config.crop_size
    assert teacher.features(clip(4, 64, 96))["features"].shape[1:3] == (video // 16,) * 2


def test_frames_of_videomae_are_where_its_slices_stand():
    """In clips of all lengths; with as many slices as latent frames too, 8 of 29 frames."""
    for count, slices in ((8, 4), (16, 8), (32, 16)):
        for clip in range(slices + (1 - slices) % 4, 98, 4):
            picked = pick_frames(clip, count, 2)
            assert picked.min() == 0 and picked.max() < clip
            times = picked.view(slices, 2).double().mean(1)
            assert times.tolist() == frame_times(slices, clip).tolist(), (clip, count)
    assert pick_frames(29, 16, 2).tolist()[:8] == [0, 0, 2, 3, 6, 7, 10, 11]


def test_tokens_lie_in_time_then_in_rows(vision):
    """A change in one corner of one frame changes the features there most."""
    still = torch.full((8, 64, 64, 3), 0.5)
    moved = still.clone()
    moved[-1, -16:, :16] = 1.0
    change = (vision.features(moved)["features"] - vision.features(still)["features"]).norm(dim=-1)
    time, row, column = torch.unravel_index(change.argmax(), change.shape)
    assert (time, row, column) == (len(change) - 1, change.shape[1] - 1, 0)


def test_siglip_patches_are_as_its_own_image_processor_makes_them():
    from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

    teacher, seen = tiny_siglip(), {}
    teacher.model.register_forward_pre_hook(
        lambda module, args, given: seen.update(given), with_kwargs=True
    )
    frames = clip(1, 64, 96)
    teacher.features(frames)
    picture = ((frames[0] - 0.5) / 0.5).movedim(-1, 0)
    expected = convert_image_to_patches(picture, 16)[None]
    assert torch.allclose(seen["pixel_values"], expected, atol=1e-6)


# --- SAM 2 ----------------------------------------------------------------------------------------


def subject(frames=4, height=96, width=128):
    masks = torch.zeros(frames, height, width)
    for frame in range(frames):
        masks[frame, 20:60, 20 + 10 * frame : 60 + 10 * frame] = 1
    return masks


def test_sam2_gives_a_feature_for_each_frame_in_both_directions(sam2):
    frames = clip(4, 96, 128)
    one, other = (sam2.features(frames, subject()) for _ in range(2))
    for name in ("forward", "backward"):
        assert one[name].shape == (4, 8, 8, sam2.width) and torch.equal(one[name], other[name])
        assert one[name].isfinite().all() and not one[name].is_inference()
    assert not torch.equal(one["forward"], one["backward"])


def test_sam2s_backward_features_are_those_of_the_turned_clip(sam2):
    frames, masks = clip(4, 96, 128), subject()
    there = sam2.features(frames, masks)
    turned = sam2.features(frames.flip(0), masks.flip(0))
    assert torch.equal(there["backward"], turned["forward"].flip(0))
    assert torch.equal(there["forward"], turned["backward"].flip(0))


def test_sam2s_features_remember_the_prompt(sam2):
    """Behind the prompted frame they depend on the mask; on it they are the picture's alone."""
    frames = clip(4, 96, 128)
    other = subject().flip(-1)
    one, two = (sam2.features(frames, masks)["forward"] for masks in (subject(), other))
    assert torch.equal(one[0], two[0]) and not torch.equal(one[1], two[1])


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (None, "masks of the subject: got none"),
        (torch.ones(3, 96, 128), r"got shape \(3, 96, 128\), needs \(4, 96, 128\)"),
        (torch.zeros(4, 96, 128), "empty one on the first frame"),
        (torch.cat([torch.ones(3, 96, 128), torch.zeros(1, 96, 128)]), "on the last frame"),
    ],
)
def test_sam2_needs_a_subject(sam2, prompt, words):
    with pytest.raises(SamaError, match=words):
        sam2.features(clip(4, 96, 128), prompt)


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (torch.rand(5, 64, 96), "frames: got shape"),
        (torch.rand(0, 64, 96, 3), "1 frames or more"),
        (torch.full((2, 64, 96, 3), torch.nan), "no numbers"),
    ],
)
def test_other_frames_are_refused(vision, frames, words):
    with pytest.raises(SamaError, match=words):
        vision.features(frames)


@pytest.mark.parametrize("name", ["vjepa3:x", "dinov3", "dinov3:", "", "sam2"])
def test_unknown_teachers_are_named(name):
    with pytest.raises(RuntimeSetupError, match="vjepa2:FOLDER, videomae:FOLDER, dinov3:FOLDER"):
        load_teacher(name)


@pytest.mark.parametrize("kind", ["vjepa2", "sam2"])
def test_a_folder_that_is_no_model(kind, tmp_path):
    with pytest.raises(RuntimeSetupError, match="does not load as"):
        load_teacher(f"{kind}:{tmp_path}")


def test_another_kind_of_model_is_refused(tmp_path):
    """transformers loads it all the same, with most weights drawn at random."""
    tiny_dino().model.save_pretrained(tmp_path / "mine")
    name = f"vjepa2:{tmp_path / 'mine'}"
    words = f'config.json names a dinov3_vit model.*Set it to "dinov3:{tmp_path / "mine"}"'
    for use in (load_teacher, lambda name: TeacherSource.of(name).width):
        with pytest.raises(RuntimeSetupError, match=words):
            use(name)


def test_files_without_the_models_weights_are_refused(tmp_path):
    tiny_dino().model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({f"other.{name}": one for name, one in load_file(path).items()}, path)
    with pytest.raises(RuntimeSetupError, match=r"does not load as .*the files lack \d+ weights"):
        load_teacher(f"dinov3:{tmp_path}")


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"", lambda _: bytes(999)])
def test_damaged_weights_are_told_in_a_line(damage, tmp_path):
    tiny_dino().model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RuntimeSetupError, match="does not load as DINOv3ViTModel") as caught:
        load_teacher(f"dinov3:{tmp_path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["vjepa2", "videomae", "dinov3", "siglip2", "sam2"])
def test_no_network_is_asked_for_a_folder_that_is_typed_wrong(kind, tmp_path, monkeypatch):
    """A relative one looks like a hub's name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket", None)
    words = (
        rf"align\.teacher: got teachers/{kind}-mine, .*no such folder.*hf download \S+/{kind}-mine"
    )
    with pytest.raises(RuntimeSetupError, match=words):
        load_teacher(f"{kind}:teachers/{kind}-mine")


def test_a_hubs_name_is_what_was_downloaded_before(tmp_path, monkeypatch):
    from huggingface_hub import constants

    kept = tmp_path / "models--me--tiny"
    tiny_dino().model.save_pretrained(kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket", None)
    source = TeacherSource.of("dinov3:me/tiny")
    assert source.key == "dinov3:me/tiny@abc" and source.width == 48
    assert source.load().key == source.key


@pytest.mark.parametrize(("kind", "make"), [("dinov3", tiny_dino), ("sam2", tiny_sam2)])
def test_teachers_come_from_folders(kind, make, tmp_path):
    torch.manual_seed(0)
    given = make()
    given.model.save_pretrained(tmp_path / "teacher")
    loaded = load_teacher(f"{kind}:{tmp_path / 'teacher'}")
    frames, masks = clip(3, 96, 128), subject(3)
    one, other = given.features(frames, masks), loaded.features(frames, masks)
    # Kernels may add in another order where weights lie otherwise in memory.
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    source = TeacherSource.of(f"{kind}:{tmp_path / 'teacher'}")
    assert loaded.key == source.key and source.key.startswith(f"{kind}:")
    assert loaded.width == source.width == given.width
    assert source.count_slices(3) == len(next(iter(one.values()))) == 3


def test_a_teachers_weights_are_read_once_for_its_key(tmp_path, monkeypatch):
    """SAMA Teacher Features asks for it with every clip of a graph."""
    from sama_core.training.alignment.teachers import base

    read, real = [], base.digest_file
    monkeypatch.setattr(base, "digest_file", lambda path: read.append(path.name) or real(path))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    keys = [TeacherSource.of(f"dinov3:{tmp_path}").key for _ in range(3)]
    assert len(set(keys)) == 1 and read == ["model.safetensors"]
    weights.write_bytes(b"three")
    assert TeacherSource.of(f"dinov3:{tmp_path}").key != keys[0]


def test_a_teachers_key_is_of_its_weights_and_not_of_their_place(tmp_path):
    torch.manual_seed(0)
    for name in ("one", "other"):
        tiny_dino().model.save_pretrained(tmp_path / name)
    copytree(tmp_path / "one", tmp_path / "copy")
    one, other, copy = (
        TeacherSource.of(f"dinov3:{tmp_path / name}").key for name in ("one", "other", "copy")
    )
    assert one == copy != other


@pytest.mark.parametrize(
    ("make", "frames", "slices"), [(tiny_vjepa, 17, 9), (tiny_videomae, 17, 4), (tiny_sam2, 5, 5)]
)
def test_slices_are_known_without_weights(make, frames, slices, tmp_path):
    teacher = make()
    teacher.model.config.save_pretrained(tmp_path)
    source = TeacherSource.of(f"{teacher.kind}:{tmp_path}")
    assert (source.count_slices(frames), source.width) == (slices, teacher.width)
