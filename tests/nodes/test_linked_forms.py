"""Values in rarer forms that other packs' nodes send are taken like the usual form."""

import enum
import math
from collections import UserDict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ..comfyui.graphs import INSTRUCTION, SMALL_AREA, Edit, output
from .test_hostile_values import HarnessValue

Name = enum.Enum("Name", {"SECOND": "stretch"})
TextName = enum.Enum("TextName", {"SECOND": "stretch"}, type=str)


@pytest.fixture
def bench(comfyui, small, monkeypatch):
    """`bench(link output, name=value, …)` runs a node with values that come over links."""
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "HarnessValue", HarnessValue)
    edit = Edit(comfyui, small, area=SMALL_AREA)

    def linked(value) -> list:
        HarnessValue.values.append(value)
        return edit.add("HarnessValue", number=len(HarnessValue.values) - 1)

    def run(node_id, number=0, given=None, **inputs):
        return edit.values(
            output(
                edit.add(
                    node_id,
                    **inputs,
                    **{name: linked(value) for name, value in (given or {}).items()},
                ),
                number,
            )
        )

    run.edit, run.linked = edit, linked
    return run


@pytest.mark.parametrize(
    "four",
    [
        4.0,
        True + 3,
        np.int64(4),
        np.uint8(4),
        np.float32(4),
        torch.tensor(4),
        torch.tensor([4.0]),
        np.array(4),
        Decimal(4),
        Fraction(4),
        "4",
        " 4.0 ",
    ],
)
def test_numbers(bench, four):
    """NumPy's narrow ones too, of which -4 is another number."""
    usual = bench("SAMASigmas", steps=4, shift=4.0, denoise=1.0)
    assert torch.equal(
        bench("SAMASigmas", given={"steps": four, "shift": four}, denoise=1.0), usual
    )


@pytest.mark.parametrize("one", [1 + 2**-52, np.nextafter(np.float32(1), np.float32(2)), 1 + 1e-7])
def test_a_limit_that_was_reckoned_with(bench, one):
    usual = bench("SAMASigmas", steps=4, shift=5.0, denoise=1.0)
    assert torch.equal(bench("SAMASigmas", given={"denoise": one}, steps=4, shift=5.0), usual)
    lowest = bench("SAMASigmas", steps=4, shift=0.01, denoise=1.0)
    assert torch.equal(
        bench("SAMASigmas", given={"shift": np.float32(0.01)}, steps=4, denoise=1.0), lowest
    )


@pytest.mark.parametrize("more", [1.001, 2])
def test_beyond_a_limit_stays_beyond(bench, more):
    with pytest.raises(AssertionError, match="denoise: got .*, needs a number from 0.01 to 1"):
        bench("SAMASigmas", given={"denoise": more}, steps=4, shift=5.0)


@pytest.mark.parametrize("off", [False, 0, 0.0, np.bool_(False), torch.tensor(False), np.array(0)])
def test_switches(bench, off):
    inputs = {"clip": bench.edit.clip, "instruction": INSTRUCTION}
    usual = bench("SAMAInstruction", edit_tag=False, **inputs)
    assert torch.equal(
        bench("SAMAInstruction", given={"edit_tag": off}, **inputs)[0][0], usual[0][0]
    )


@pytest.mark.parametrize(
    "name", [np.str_("stretch"), Path("stretch"), Name.SECOND, TextName.SECOND]
)
def test_names(bench, name):
    """Of an enum, whose text in Python is its class and member, only the value counts."""
    images = torch.rand(5, 48, 64, 3)
    inputs = {"frames": 5, "start": 0, "stride": 1, "area": SMALL_AREA, "fps": 24.0}
    usual = bench("SAMASourceVideo", fit="stretch", given={"images": images}, **inputs)
    assert torch.equal(
        bench("SAMASourceVideo", given={"images": images, "fit": name}, **inputs), usual
    )


def test_a_sampler_by_a_member_of_an_enum(bench):
    name = enum.Enum("Sampler", {"EULER": "euler"}, type=str).EULER
    edit = bench.edit
    inputs = {
        "model": edit.model,
        "clip": edit.clip,
        "vae": edit.vae,
        "frames": edit.source,
        "seed": 1,
        "steps": 1,
        "cfg": 1.0,
        "shift": 5.0,
        "instruction": INSTRUCTION,
        "edit_tag": True,
        "tiling": "automatic",
    }
    usual = bench("SAMAEdit", sampler_name="euler", **inputs)
    assert torch.equal(bench("SAMAEdit", given={"sampler_name": name}, **inputs), usual)


def test_a_file_name_of_another_system(comfyui, bench, small):
    folder = comfyui.models("loras") / "of_another"
    folder.mkdir(exist_ok=True)
    from safetensors.torch import save_file

    save_file(
        {
            f"diffusion_model.blocks.0.self_attn.q.lora_{side}.weight": torch.zeros(shape)
            for side, shape in (("A", (4, 256)), ("B", (256, 4)))
        },
        folder / "system.safetensors",
    )
    report = bench(
        "SAMALoadLora",
        1,
        given={"lora_name": "of_another\\system.safetensors"},
        model=bench.edit.model,
        strength=1.0,
    )
    assert "1 of 1" in report


@pytest.mark.parametrize(
    "form", [torch.Tensor.bool, torch.Tensor.long, torch.Tensor.half, torch.Tensor.byte]
)
def test_masks(bench, form):
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:20, 8:20] = 1
    inputs = {"frames": bench.edit.source, "grow": 0, "feather": 0}
    usual = bench("SAMARegionMask", given={"mask": mask}, **inputs)
    assert torch.equal(bench("SAMARegionMask", given={"mask": form(mask)}, **inputs), usual)


def test_grey_images(bench):
    grey = torch.rand(5, 32, 32, 1)
    inputs = {"frames": 5, "start": 0, "stride": 1, "area": SMALL_AREA, "fps": 24.0}
    usual = bench("SAMASourceVideo", given={"images": grey.expand(-1, -1, -1, 3).clone()}, **inputs)
    assert torch.equal(bench("SAMASourceVideo", given={"images": grey}, **inputs), usual)


@pytest.mark.parametrize("rate", [np.int64(48000), 48000.0, torch.tensor(48000)])
@pytest.mark.parametrize("form", [dict, UserDict])
def test_sample_rates(bench, rate, form):
    sound = form(waveform=torch.rand(1, 2, 9600), sample_rate=rate)
    video = bench(
        "SAMAFinishVideo",
        given={"audio": sound},
        frames=bench.edit.source,
        clip_info=output(bench.edit.source, 1),
    )
    assert type(video.audio["sample_rate"]) is int and video.audio["sample_rate"] == 48000
    video.get_stream_source()


def conditioned(bench, **given):
    edit = bench.edit
    prompts = edit.add("SAMAInstruction", clip=edit.clip, instruction=INSTRUCTION, edit_tag=True)
    links = {
        "positive": prompts,
        "negative": output(prompts, 1),
        **{name: bench.linked(value) for name, value in given.items()},
    }
    both = edit.add(
        "SAMAEditConditioning", vae=edit.vae, frames=edit.source, tiling="automatic", **links
    )
    edit.positive, edit.negative, edit.latent = both, output(both, 1), output(both, 2)
    return edit


@pytest.mark.parametrize(
    "form",
    [
        tuple,
        lambda pairs: [tuple(pair) for pair in pairs],
        lambda pairs: [[tokens, UserDict(more)] for tokens, more in pairs],
    ],
)
def test_conditioning(bench, form):
    usual = bench("SAMAInstruction", clip=bench.edit.clip, instruction=INSTRUCTION, edit_tag=True)
    expected = conditioned(bench, positive=usual).sample(steps=1)["video"]
    assert torch.equal(conditioned(bench, positive=form(usual)).sample(steps=1)["video"], expected)


def test_no_negative_is_right_at_cfg_1_alone(bench):
    usual = conditioned(bench).sample(steps=1, cfg=1.0)["video"]
    assert torch.equal(conditioned(bench, negative=[]).sample(steps=1, cfg=1.0)["video"], usual)
    with pytest.raises(
        AssertionError, match="negative conditioning: got an empty one at cfg 5, needs encoded text"
    ):
        conditioned(bench, negative=[]).sample(steps=1)


def test_a_guider_with_a_strength_for_each_step(bench, monkeypatch):
    """As other packs' schedulers of guidance keep it."""
    import comfy.samplers
    import nodes

    class Scheduled(comfy.samplers.CFGGuider):
        def predict_noise(self, *args, **kwargs):
            strengths, self.cfg = self.cfg, self.cfg[0]
            try:
                return super().predict_noise(*args, **kwargs)
            finally:
                self.cfg = strengths

    class HarnessGuider:
        RETURN_TYPES, FUNCTION, CATEGORY = ("GUIDER",), "give", "harness"

        @classmethod
        def INPUT_TYPES(cls):
            return {
                "required": {
                    "model": ("MODEL",),
                    "positive": ("CONDITIONING",),
                    "negative": ("CONDITIONING",),
                }
            }

        def give(self, model, positive, negative):
            guider = Scheduled(model)
            guider.set_conds(positive, negative)
            guider.set_cfg([5.0, 5.0])
            return (guider,)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "HarnessGuider", HarnessGuider)
    edit = bench.edit
    sigmas = edit.add("SAMASigmas", steps=2, shift=5.0, denoise=1.0)
    usual = edit.values(edit.custom(sigmas))["samples"]
    guider = edit.add(
        "HarnessGuider", model=edit.model, positive=edit.positive, negative=edit.negative
    )
    found = edit.values(
        edit.add(
            "SamplerCustomAdvanced",
            noise=edit.add("RandomNoise", noise_seed=1),
            guider=guider,
            sampler=edit.add("KSamplerSelect", sampler_name="euler"),
            sigmas=sigmas,
            latent_image=edit.latent,
        )
    )["samples"]
    assert torch.equal(
        found.tensors[0] if found.is_nested else found,
        usual.tensors[0] if usual.is_nested else usual,
    )


def test_values_in_the_order_of_the_node(comfyui):
    """As a pack that builds on a node of ours may call it."""
    node = comfyui.node_class("SAMASigmas")
    assert torch.equal(
        node.execute(4, 5.0, 1.0)[0], node.execute(steps=4, shift=5.0, denoise=1.0)[0]
    )
    assert torch.equal(node.execute(4, shift=5.0, denoise=1.0)[0], node.execute(4, 5.0, 1.0)[0])
    with pytest.raises(Exception, match="steps: got nan, needs a whole number"):
        node.execute(math.nan, 5.0, 1.0)
