"""Every example workflow, opened in the real frontend, queued from there, and run to its end."""

import json
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
CLIP = "clip.mp4"
LORA = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
STEPS = 2


def test_four_workflows_with_thumbnails():
    assert [path.stem for path in WORKFLOWS] == ["anchor_preview", "few_step_edit", "native_edit", "simple_edit"]
    for path in WORKFLOWS:
        with Image.open(path.with_suffix(".jpg")) as picture:
            assert picture.format == "JPEG"
            assert 600 <= picture.width <= 1280


@pytest.fixture(scope="module")
def stocked(comfy_server) -> dict[str, str]:
    """The server's folders filled with small models and a clip; what each name in the workflows becomes."""
    from sama_core.clip import moving_shapes, write_clip
    from sama_core.untrained import DIT, write_untrained

    models = comfy_server.base / "models"
    names = write_untrained(models)
    (models / "loras").mkdir(exist_ok=True)
    lora = {"diffusion_model.blocks.0.ffn.0.lora_A.weight": torch.full((4, DIT.dim), 0.01),
            "diffusion_model.blocks.0.ffn.0.lora_B.weight": torch.full((DIT.ffn_dim, 4), 0.01)}
    save_file(lora, models / "loras" / LORA)
    write_clip(comfy_server.base / "input" / CLIP, moving_shapes(9, 98, 130), Fraction(12))
    return {"sama_14b_ema.safetensors": names["diffusion_models"],
            "umt5_xxl_fp8_e4m3fn_scaled.safetensors": names["text_encoders"], "wan_2.1_vae.safetensors": names["vae"]}


def adapted(workflow: dict, names: dict[str, str], steps: int) -> dict:
    """The workflow on the small models, with `steps` steps."""
    for node in workflow["nodes"]:
        values = node.get("widgets_values") or []
        for index, value in enumerate(values):
            if isinstance(value, str) and value in names:
                values[index] = names[value]
            elif node["type"] in ("SAMAEdit", "SAMAAnchorPreview", "KSampler") and value == steps and index > 1:
                values[index] = STEPS
    return workflow


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_runs_from_the_canvas(canvas, comfy_server, stocked, path):
    """Opened as shipped it is the graph of its API file; on the small models it finishes without an error."""
    shipped = json.loads(path.read_text(encoding="utf-8"))
    api = json.loads((path.parent / "api" / path.name).read_text(encoding="utf-8"))
    canvas.open_workflow(shipped)
    opened = {key: (node["class_type"], node["inputs"]) for key, node in canvas.prompt().items()}
    for key, node in api.items():
        kind, inputs = opened[key]
        assert kind == node["class_type"]
        assert {name: inputs.get(name) for name in node["inputs"]} == node["inputs"]

    steps = next(node["inputs"]["steps"] for node in api.values() if "steps" in node["inputs"])
    canvas.open_workflow(adapted(shipped, stocked, steps))
    assert {node["inputs"]["steps"] for node in canvas.prompt().values() if "steps" in node["inputs"]} == {STEPS}
    entry = canvas.queue_and_wait(timeout=180)
    assert entry["status"]["status_str"] == "success"
    assert canvas.errors == []
    check_output(entry, comfy_server.base)


def check_output(entry: dict, base: Path) -> None:
    """A playable video like the clip, or for the preview a sheet of three columns in the node."""
    pictures = [picture for output in entry["outputs"].values() for picture in output.get("images", [])]
    assert len(pictures) == 1
    folder = base / pictures[0]["type"] / pictures[0]["subfolder"]
    if pictures[0]["filename"].endswith(".png"):
        with Image.open(folder / pictures[0]["filename"]) as sheet:
            # 9 frames of 98x130 in the small model's bucket of 96x160: three columns, two rows, gaps of 8.
            assert sheet.size == (3 * 96 + 16, 2 * 160 + 8)
        return
    with av.open(str(folder / pictures[0]["filename"])) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (98, 130, 12)
        assert sum(1 for _ in video.decode(stream)) == 9
