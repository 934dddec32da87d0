"""The in-process harness itself.

Imports, runs, errors, progress, interruption, golden comparison.
"""

import importlib

import pytest
import torch
from PIL import Image

from . import golden as golden_files
from .golden import assert_close

STEPPER = "HarnessStepper"
STEPS = {"1": {"class_type": STEPPER, "inputs": {"steps": 5}}}


class Stepper:
    """Counts up with a preview at every step, and refuses to count to zero."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "count"
    CATEGORY = "harness"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"steps": ("INT", {"default": 5})}}

    def count(self, steps):
        import comfy.utils

        if steps == 0:
            raise ValueError("nothing to count")
        bar = comfy.utils.ProgressBar(steps)
        for step in range(steps):
            bar.update_absolute(step + 1, steps, ("JPEG", Image.new("RGB", (8, 8)), 512))
        return (steps,)


@pytest.fixture
def stepper(comfyui, monkeypatch):
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, STEPPER, Stepper)
    return comfyui


def test_core_graph_gives_values_and_outputs(comfyui):
    image = {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255},
    }
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}

    result = comfyui.run({"1": image, "9": save}, keep=["1"]).check()

    assert result.values["1"][0].shape == (1, 32, 64, 3)
    assert (comfyui.base / "output" / result.outputs["9"]["images"][0]["filename"]).is_file()
    assert (
        result.messages[0][0] == "execution_start" and result.messages[-1][0] == "execution_success"
    )


def test_steps_are_recorded_with_previews(stepper):
    result = stepper.run(STEPS, keep=["1"]).check()

    assert result.values == {"1": (5,)}
    assert result.progress == [(step, 5, True) for step in range(1, 6)]
    assert [picture.size for picture in result.previews] == [(8, 8)] * 5


def test_interrupt_stops_one_run_only(stepper):
    stepper.interrupt_after(2)
    stopped = stepper.run(STEPS, keep=["1"])

    assert (stopped.ok, stopped.interrupted, len(stopped.progress)) == (False, True, 2)
    stepper.run(STEPS, keep=["1"]).check()


def test_errors_are_readable(stepper):
    failed = stepper.run({"1": {"class_type": STEPPER, "inputs": {"steps": 0}}}, keep=["1"])
    invalid = stepper.run({"1": {"class_type": STEPPER, "inputs": {"steps": "many"}}}, keep=["1"])
    unknown = stepper.run({"1": {"class_type": "NoSuchNode", "inputs": {}}}, keep=["1"])

    assert (
        failed.errors == ["1 HarnessStepper: ValueError: nothing to count"]
        and "in count" in failed.traceback
    )
    assert not invalid.ok and invalid.node_errors["1"]["errors"][0]["type"] == "invalid_input_type"
    assert not unknown.ok and "NoSuchNode" in unknown.errors[0]


def test_the_library_is_one_with_the_packs(pack):
    for dotted in ("sama_core", "sama_core.errors", "sama_core.geometry"):
        module = importlib.import_module(dotted)
        assert pack.module(dotted) is module and module.__spec__.name == dotted


def test_every_node_describes_itself(comfyui, pack):
    assert pack.node_ids
    for node_id in pack.node_ids:
        assert comfyui.object_info(node_id)["name"] == node_id


def test_golden_comparison_sees_differences(golden, monkeypatch):
    monkeypatch.setattr(golden_files, "PARITY", {})
    expected = golden("dit_small")["case1.latents"]

    assert_close(expected.clone(), expected, rel_l2=0, max_abs=0)
    with pytest.raises(AssertionError, match=r"dit_small case1.latents: relative L2 1\.0\d*e-03"):
        assert_close(expected * 1.001, expected, rel_l2=1e-4)
    with pytest.raises(AssertionError, match="shape"):
        assert_close(expected[:, :1], expected, rel_l2=1)
    with pytest.raises(AssertionError):
        assert_close(torch.full_like(expected, float("nan")), expected, rel_l2=1)

    seen = golden_files.PARITY["dit_small"]
    assert seen.comparisons == 3 and seen.worst == "case1.latents"

    golden_files.add_parity(golden_files.seen_parity())
    golden_files.add_parity(
        {
            "dit_small": {"comparisons": 2, "rel_l2": 1e-9, "max_abs": 1e9, "worst": "x"},
            "vae_small": {},
        }
    )
    assert seen.comparisons == 8 and seen.max_abs == 1e9, "3, the same again, 2 of another process"
    assert golden_files.PARITY["vae_small"].comparisons == 0
