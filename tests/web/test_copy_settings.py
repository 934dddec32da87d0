"""Which LoRAs on the canvas count as step-distilled, where a plan's choice is copied."""

import json

import pytest

from ..harness.page_scripts import run_script

LIGHTX2V = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
STYLE = "my_style_2000steps.safetensors"


@pytest.mark.parametrize("distilled", [False, True])
def test_a_choice_with_a_step_lora_asks_for_one_beside_any_other(tmp_path, distilled):
    """A LoRA for a style makes no edit in few steps."""
    told = run_script(
        tmp_path,
        f"""
const lora = makeNode(2, "SAMALoadLora", [
    {{ name: "lora_name", value: {json.dumps(LIGHTX2V if distilled else STYLE)} }},
]);
const edit = makeNode(1, "SAMAEdit", [{{ name: "steps", value: 0 }}, {{ name: "cfg", value: -1 }}]);
edit.inputs = [{{ name: "model", type: "MODEL" }}];
edit.getInputNode = () => lora;
open(new Graph("one", edit, lora));
const {{ copySettings }} = await load("plan/copy_settings.js");
const said = (choice) => copySettings(edit, {{ steps: 6, cfg: 1, segments: 1, ...choice }})
    .map((line) => line.split(" ").slice(0, 3).join(" ")).slice(2);
told = [said({{ lora: true }}), said({{ lora: false }})];
""",
    )
    with_lora, without = [], ["Bypass SAMALoadLora (2):"]
    assert told == ([with_lora, without] if distilled else [["Now connect Load"], []])
