"""Step-distilled LoRAs: recognised by name, remembered on the model, and told when cfg or steps do
not go with them.
"""

import json

import pytest
import torch
from safetensors.torch import save_file

from ..harness.page_scripts import run_script
from .graphs import output, whole_edit

LIGHTX2V = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
ACCVID = "Wan21_AccVid_T2V_14B_lora_rank32_fp16.safetensors"
GUIDES_TWICE = "cfg 5 guides a second time and doubles the time of each step: set cfg to 1"
NAMES = {
    LIGHTX2V: "lightx2v",
    "Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors": "lightx2v",
    "wan2.1_t2v_14b_lora_rank64_lightx2v_4step.safetensors": "lightx2v",
    "Wan14B_Self-Forcing_lora.safetensors": "lightx2v",
    "Wan21_CausVid_14B_T2V_lora_rank32_v2.safetensors": "CausVid",
    ACCVID: "AccVid",
    "Wan2.1_T2V_14B_FusionX_LoRA.safetensors": "FusionX",
    "folder/wan_DMD2.safetensors": "step-distilled",
    "wan-lightning-8steps.safetensors": "step-distilled",
    "wan_4-step.safetensors": "step-distilled",
    "Wan21_T2V_14B_MoviiGen_lora_rank32_fp16.safetensors": None,
    "my_style_2000steps.safetensors": None,
    "style_v2-step00000500.safetensors": None,
    "mylora_epoch3_step4000.safetensors": None,
    "oil_paint_v1_step_1500.safetensors": None,
    "admdx.safetensors": None,
    "seal.safetensors": None,
}


@pytest.fixture
def lora(comfyui):
    """`lora(name, **metadata)` writes a LoRA that fits the small model under that name."""

    def write(name: str, **metadata: str) -> str:
        tensors = {
            "blocks.0.self_attn.q.lora_A.weight": torch.full((4, 256), 0.01),
            "blocks.0.self_attn.q.lora_B.weight": torch.full((256, 4), 0.01),
        }
        save_file(tensors, comfyui.models("loras") / name, metadata=metadata or None)
        return name

    return write


def with_lora(edit, file: str, strength: float = 1.0):
    """The graph with Load SAMA LoRA on its model; returns the report's link."""
    edit.patch("SAMALoadLora", lora_name=file, strength=strength)
    return output(edit.model, 1)


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.endswith(".distilled")]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_released_files(comfyui, name):
    from sama_core.comfyui.distilled import recognise

    family = recognise(name)
    assert (family and family.title) == NAMES[name]


def test_the_page_knows_those_with_few_steps_by_the_same_names(tmp_path):
    """Of AccVid only the guidance is distilled: it takes the steps that a plan has."""
    told = run_script(
        tmp_path,
        f"""
const {{ DISTILLED }} = await load("plan/copy_settings.js");
told = {json.dumps(list(NAMES))}.filter((name) => DISTILLED.test(name));
""",
    )
    assert told == [name for name, title in NAMES.items() if title not in (None, "AccVid")]


def test_titles_in_the_metadata_count_and_descriptions_do_not(comfyui):
    from sama_core.comfyui.distilled import recognise

    assert recognise("a.safetensors", {"ss_output_name": "wan_causvid"}).title == "CausVid"
    assert recognise("a.safetensors", {"modelspec.title": "FusioniX"}).title == "FusionX"
    assert recognise("a.safetensors", {"modelspec.description": "goes well with lightx2v"}) is None


def test_the_report_says_what_to_set(edit, lora):
    assert edit.values(with_lora(edit, lora(LIGHTX2V))) == (
        "1 of 1 LoRA layers matched; a distilled LoRA (lightx2v): sample with cfg 1 and 4 to 8 "
        "steps"
    )


def test_only_the_guidance_of_accvid_is_distilled(edit, lora):
    assert edit.values(with_lora(edit, lora(ACCVID))) == (
        "1 of 1 LoRA layers matched; a distilled LoRA (AccVid): sample with cfg 1 and the steps as "
        "without it"
    )


def test_cfg_above_1_is_told_with_core_ksampler(edit, lora, caplog):
    """Behind other model nodes too: clones remember."""
    with_lora(edit, lora(LIGHTX2V))
    edit.patch("ModelSamplingSD3", shift=5.0).patch("SAMAPrepareModel").sample(cfg=5.0)
    assert warnings_of(caplog) == [f"SAMA: {LIGHTX2V} has the guidance inside, and {GUIDES_TWICE}."]


def test_cfg_above_1_is_told_with_a_guider(edit, lora, caplog):
    with_lora(edit, lora(LIGHTX2V))
    edit.values(edit.custom(edit.add("SAMASigmas", steps=2, shift=5.0, denoise=1.0), cfg=5.0))
    assert [GUIDES_TWICE in line for line in warnings_of(caplog)] == [True]


def test_cfg_above_1_is_told_with_the_edit_node(edit, lora, caplog):
    with_lora(edit, lora(LIGHTX2V))
    edit.values(whole_edit(edit))
    assert [GUIDES_TWICE in line for line in warnings_of(caplog)] == [True]


def test_many_steps_are_mentioned(edit, lora, caplog):
    with_lora(edit, lora(LIGHTX2V))
    edit.sample(cfg=1.0, steps=13)
    assert warnings_of(caplog) == [
        f"SAMA: {LIGHTX2V} is made for 4 to 8 steps: 13 only take longer."
    ]


def test_settings_that_go_together_are_not_mentioned(edit, lora, caplog):
    """12 steps at cfg 1; and many with a LoRA of which only the guidance is distilled."""
    plain = edit.model
    with_lora(edit, lora(LIGHTX2V))
    edit.sample(cfg=1.0, steps=12)
    edit.model = plain
    with_lora(edit, lora(ACCVID))
    edit.sample(cfg=1.0, steps=13)
    assert warnings_of(caplog) == []


def test_no_distilled_lora_no_word(edit, lora, caplog):
    """Few steps with guidance are no error, and neither is a LoRA at strength 0 or below."""
    edit.sample(cfg=5.0, steps=2)
    with_lora(edit, lora("seal.safetensors"))
    with_lora(edit, lora(LIGHTX2V), strength=0.0)
    with_lora(edit, lora(LIGHTX2V), strength=-1.0)
    edit.sample(cfg=5.0, steps=13)
    assert warnings_of(caplog) == []


def test_the_model_plugged_in_knows_nothing_of_the_lora(edit, lora, caplog):
    """The graph's other branch, without the LoRA, is sampled at cfg 5 as before."""
    plain = edit.model
    report = with_lora(edit, lora(LIGHTX2V))
    sampled = edit.ksampler(model=plain)
    edit.comfyui.run(edit.nodes, keep=[report[0], sampled[0]]).check()
    assert warnings_of(caplog) == []


def test_core_lora_loader_leaves_no_name(edit, lora, caplog):
    """A known gap, in the help page: core keeps only the tensors, so there is nothing to tell it
    by.
    """
    name = lora("lightx2v_for_core.safetensors")
    path = edit.comfyui.models("loras") / name
    tensors = {
        key.replace("blocks", "diffusion_model.blocks"): value
        for key, value in {
            "blocks.0.self_attn.q.lora_A.weight": torch.full((4, 256), 0.01),
            "blocks.0.self_attn.q.lora_B.weight": torch.full((256, 4), 0.01),
        }.items()
    }
    save_file(tensors, path)
    edit.patch("LoraLoaderModelOnly", lora_name=name, strength_model=1.0).sample(cfg=5.0)
    assert warnings_of(caplog) == []
