"""The table of model files, and which files an edit takes."""

import pytest

from sama_core.launch.model_choice import Trio, choose_trio, state, table, to_download
from sama_core.launch.progress import LaunchError
from sama_core.released_files import MODEL_FILES, ModelFile

SAMA, FP8, FP16, VAE = MODEL_FILES
SHAPES = ("sama_shapes.safetensors", "sama_shapes_umt5.safetensors", "sama_shapes_vae.safetensors")
SMALL = (
    ModelFile("model", "a.bin", "diffusion_models", "who/a", "a.bin", 3, "0" * 64),
    ModelFile("text", "b8.bin", "text_encoders", "who/b", "sub/b8.bin", 4, "0" * 64),
    ModelFile("text", "b16.bin", "text_encoders", "who/b", "sub/b16.bin", 8, "0" * 64),
)


def test_the_table_says_what_the_readme_says():
    assert [(file.filename, file.folder, file.size) for file in MODEL_FILES] == [
        ("sama_14b_ema.safetensors", "diffusion_models", 28_601_809_776),
        ("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders", 6_735_906_897),
        ("umt5_xxl_fp16.safetensors", "text_encoders", 11_366_399_385),
        ("wan_2.1_vae.safetensors", "vae", 253_815_318),
    ]
    assert SAMA.sha256 == "a3bf2bef8366573e04798b9454fabef7aeb2cfd514952a477a09572903e22e98"
    assert all(len(file.sha256) == 64 for file in MODEL_FILES)


def test_sama_14b_comes_first():
    trio = choose_trio(
        [SHAPES[0], "video/sama_14b_ema.safetensors", "wan.safetensors"],
        ["umt5_xxl_fp8_e4m3fn_scaled.safetensors", "umt5_xxl_fp16.safetensors", SHAPES[1]],
        [SHAPES[2], "wan_2.1_vae.safetensors"],
    )
    assert trio == Trio(
        "video/sama_14b_ema.safetensors", "umt5_xxl_fp16.safetensors", "wan_2.1_vae.safetensors"
    )
    assert not trio.small


def test_similar_names_are_taken():
    trio = choose_trio(
        ["SAMA-14B-Q4.safetensors"],
        ["umt5-xxl-enc-bf16.safetensors"],
        ["Wan2_1_VAE_bf16.safetensors"],
    )
    assert trio == Trio(
        "SAMA-14B-Q4.safetensors", "umt5-xxl-enc-bf16.safetensors", "Wan2_1_VAE_bf16.safetensors"
    )


@pytest.mark.parametrize(
    "stranger",
    ["wan2.1_t2v_14B.safetensors", "sama_untrained.safetensors", "SAMA_Shapes_v0.safetensors"],
)
def test_without_sama_14b_shapes_is_taken_whole(stranger):
    trio = choose_trio(
        [stranger, f"mine\\{SHAPES[0]}"], [FP16.filename, SHAPES[1]], [VAE.filename, SHAPES[2]]
    )
    assert (trio.diffusion_model, trio.text_encoder, trio.vae) == (
        f"mine\\{SHAPES[0]}",
        *SHAPES[1:],
    ) and trio.small
    assert trio.notice() == (
        "No SAMA-14B here: editing with SAMA-Shapes, the small model inside the pack. It knows "
        "coloured shapes only. "
        "`python3 run.py models` shows what to download for real videos."
    )


def test_half_of_sama_14b_is_shapes_and_names_what_is_missing():
    trio = choose_trio([SAMA.filename, SHAPES[0]], [SHAPES[1]], [VAE.filename, SHAPES[2]])
    assert trio.diffusion_model == SHAPES[0] and trio.lacking == (FP8.where(),)
    assert trio.notice().startswith(
        "SAMA-14B lacks umt5_xxl_fp8_e4m3fn_scaled.safetensors in models/text_encoders, from "
        "Comfy-Org/Wan_2.1_ComfyUI_repackaged "
        "(split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors): "
        "editing with SAMA-Shapes"
    )


@pytest.mark.parametrize("listed", [([], [], []), ([SHAPES[0]], [SHAPES[1]], [])])
def test_nothing_whole_names_everything(listed):
    with pytest.raises(LaunchError, match="sama_14b_ema.*umt5_xxl.*wan_2.1_vae.*models --download"):
        choose_trio(*listed)


def test_states(tmp_path):
    whole, half, wrong = SMALL
    for file in SMALL:
        file.place(tmp_path).parent.mkdir(exist_ok=True)
    whole.place(tmp_path).write_bytes(b"abc")
    (half.place(tmp_path).parent / "b8.bin.0123456789ab.part").write_bytes(b"ab")
    wrong.place(tmp_path).write_bytes(b"x")
    assert [state(file, [tmp_path]) for file in SMALL] == [
        "present",
        "50% downloaded",
        "wrong size: 1 bytes",
    ]
    assert state(whole, [tmp_path / "elsewhere", tmp_path]) == "present"
    assert state(whole, []) == "missing"


def test_one_file_for_each_purpose_is_downloaded(tmp_path):
    assert [file.filename for file in to_download([tmp_path], SMALL)] == ["a.bin", "b8.bin"]
    SMALL[2].place(tmp_path).parent.mkdir(parents=True)
    SMALL[2].place(tmp_path).write_bytes(b"12345678")
    assert [file.filename for file in to_download([tmp_path], SMALL)] == ["a.bin"]


def test_the_printed_table_has_a_line_for_each_file(tmp_path):
    lines = table([tmp_path]).splitlines()
    assert len(lines) == 1 + len(MODEL_FILES)
    assert lines[1].split() == [
        "SAMA",
        "model",
        SAMA.filename,
        "missing",
        "28.60",
        "models/diffusion_models",
        "syxbb/SAMA-14B/sama_14b_ema.safetensors",
    ]
