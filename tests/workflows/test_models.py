"""Every loader of a file from the hub says where it is, as the frontend's list of missing files
wants it: `properties.models`, from a host and with an ending for which it offers a download.
"""

import pytest

from sama_core import embedded
from sama_core.released_files import COMPANIONS, MODEL_FILES

from ..harness.standing_in import small_graph
from .shipped import NAMES, api_graph, shipped

HUB = "https://huggingface.co/"
FROM_THE_HUB = {
    "sama_14b_ema.safetensors": (
        "diffusion_models",
        HUB + "syxbb/SAMA-14B/resolve/main/sama_14b_ema.safetensors",
    ),
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": (
        "text_encoders",
        HUB + "Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/text_encoders/"
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    ),
    "wan_2.1_vae.safetensors": (
        "vae",
        HUB + "Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/vae/"
        "wan_2.1_vae.safetensors",
    ),
    "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors": (
        "loras",
        HUB + "Kijai/WanVideo_comfy/resolve/main/Lightx2v/"
        "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors",
    ),
    "sam3.1_multiplex_fp16.safetensors": (
        "checkpoints",
        HUB + "Comfy-Org/sam3.1/resolve/main/checkpoints/sam3.1_multiplex_fp16.safetensors",
    ),
}
IN_THE_PACK = {file.name for file in (*embedded.FILES, embedded.ANCHOR_LORA)}


@pytest.mark.parametrize("name", NAMES)
def test_every_loader_says_where_its_file_is(name):
    for node in shipped(name)["nodes"]:
        files = [
            value
            for value in node.get("widgets_values") or ()
            if isinstance(value, str)
            and value.endswith(".safetensors")
            and value not in IN_THE_PACK
        ]
        wanted = [
            {"name": file, "url": FROM_THE_HUB[file][1], "directory": FROM_THE_HUB[file][0]}
            for file in files
        ]
        assert node["properties"].get("models", []) == wanted, node["type"]


def test_the_files_are_those_that_the_code_names():
    known = {file.filename: (file.folder, file.url) for file in (*MODEL_FILES, *COMPANIONS)}
    assert FROM_THE_HUB.items() <= known.items()


def test_the_workflows_for_sama_14b_are_those_for_sama_shapes_with_other_files():
    """So what these show in a run holds for those too."""
    assert small_graph(api_graph("sama_14b_edit")) == api_graph("simple_edit")
    assert small_graph(api_graph("sama_14b_drafts")) == api_graph("drafts_first")
    words, box = small_graph(api_graph("region_by_words")), api_graph("region_edit")
    assert words["6"] == box["6"]
    assert words.keys() == box.keys() - {"14"}, "the scores are left out"
