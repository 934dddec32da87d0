"""The denoising loop and sigmas against the official pipeline: every tensor of sampling_small."""

import pytest
import torch
from torch import Tensor

from sama_core import SamaDiT
from sama_core.errors import ConditioningError
from sama_core.model import dit
from sama_core.model.schedule import denoise, flow_sigmas, round_timestep

from ..harness.golden import assert_close, load_golden

GROUP = "sampling_small"
INPUTS = {
    "initial_noise",
    "initial_semantic_noise",
    "source_latents",
    "context_positive",
    "context_negative",
}
OUTPUTS = sorted(set(load_golden(GROUP).keys()) - INPUTS)
STEPS = 6


class Recorder:
    """Stands in for the model in `denoise` and keeps what goes in and out of every call."""

    def __init__(self, model):
        self.model, self.calls = model, []

    def __call__(self, latents, timestep, context, source_latents, semantic_latents):
        velocities = self.model(latents, timestep, context, source_latents, semantic_latents)
        self.calls.append(
            {
                "latents": latents,
                "semantic_latents": semantic_latents,
                "timestep": timestep,
                "context": context,
                "velocities": velocities,
            }
        )
        return velocities


def loop_tensors(
    golden, model, dtype=torch.float32, **options
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Golden names of the loop's states and velocities → ours, and the timesteps that were used."""
    start = {name: golden(GROUP)[name].to(dtype) for name in INPUTS}
    model = Recorder(model)
    final = denoise(
        model,
        start["initial_noise"],
        start["initial_semantic_noise"],
        start["context_positive"],
        start["context_negative"],
        start["source_latents"],
        flow_sigmas(STEPS),
        **options,
    )
    positive, negative = model.calls[::2], model.calls[1::2]
    assert all(call["context"] is start["context_positive"] for call in positive)
    states = [(call["latents"], call["semantic_latents"]) for call in positive[1:]] + [final]
    out = {}
    for step, (video, semantic) in enumerate(states, start=1):
        out |= {f"latents_after_step{step}": video, f"semantic_latents_after_step{step}": semantic}
    for step in (1, STEPS):
        for sign, calls in (("positive", positive), ("negative", negative)):
            video, semantic = calls[step - 1]["velocities"]
            out |= {
                f"step{step}.video_velocity_{sign}": video,
                f"step{step}.semantic_velocity_{sign}": semantic,
            }
    return out, [call["timestep"] for call in positive]


def schedule_tensors(steps: int, shift: float) -> dict[str, Tensor]:
    """Sigmas, and the timesteps `denoise` gives the model, exact and rounded."""

    def timesteps(bf16_timestep: bool) -> Tensor:
        model = Recorder(lambda latents, *_: (torch.zeros_like(latents), None))
        denoise(
            model,
            torch.zeros(1),
            None,
            None,
            None,
            None,
            flow_sigmas(steps, shift),
            cfg=1.0,
            bf16_timestep=bf16_timestep,
        )
        return torch.cat([call["timestep"] for call in model.calls])

    return {
        "sigmas": flow_sigmas(steps, shift)[:-1],
        "timesteps": timesteps(False),
        "timesteps_bf16": timesteps(True),
    }


@pytest.fixture(scope="module")
def model(golden) -> SamaDiT:
    return SamaDiT.from_state_dict(golden("dit_small").state_dict(), num_heads=4)


@pytest.fixture(scope="module")
def reproduced(golden, model) -> dict[str, Tensor]:
    """Every output of the group, as we compute it."""
    ours: dict[str, Tensor] = {}

    def add(variant: str, tensors: dict[str, Tensor]) -> None:
        ours.update(
            {
                key: value
                for name, value in tensors.items()
                if (key := f"{variant}.{name}") in golden(GROUP)
            }
        )

    add("timestep_f32", loop_tensors(golden, model, bf16_timestep=False)[0])
    add("timestep_bf16_value", loop_tensors(golden, model)[0])

    exact = dit.sinusoidal_embedding
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # the official sinusoid is returned in the timestep's dtype
        patch.setattr(
            dit, "sinusoidal_embedding", lambda timestep, width: exact(timestep, width).bfloat16()
        )
        add("timestep_bf16", loop_tensors(golden, model)[0])

    half = SamaDiT.from_state_dict(
        {name: value.bfloat16() for name, value in golden("dit_small").state_dict().items()},
        num_heads=4,
    )
    add("all_bf16", loop_tensors(golden, half, torch.bfloat16)[0])

    start = golden(GROUP)
    video, semantic = denoise(
        model,
        start["initial_noise"],
        start["initial_semantic_noise"],
        start["context_positive"],
        None,
        start["source_latents"],
        flow_sigmas(3),
        cfg=1.0,
        bf16_timestep=False,
    )
    add("cfg1_3steps", {"final_latents": video, "final_semantic_latents": semantic})

    for name, facts in start.manifest["parameters"]["schedules"].items():
        add(name, schedule_tensors(facts["steps"], facts["shift"]))
    return ours


@pytest.mark.parametrize("name", OUTPUTS)
def test_equals_the_official_pipeline(golden, reproduced, name):
    expected = golden(GROUP)[name]
    # The weak bfloat16 reference gets its own line in the parity table and hides no other figure.
    row = f"{GROUP}, all bf16" if name.startswith("all_bf16") else GROUP
    assert_close(
        reproduced[name].float(), expected, **golden(GROUP).limits(name), source=(row, name)
    )


def test_no_golden_tensor_is_left_out(reproduced):
    assert set(reproduced) == set(OUTPUTS)


def test_the_bf16_run_stays_in_bf16(reproduced):
    """As in the official pipeline, where the zero-dimensional float32 step promotes no state."""
    assert {value.dtype for name, value in reproduced.items() if name.startswith("all_bf16")} == {
        torch.bfloat16
    }


@pytest.mark.parametrize("variant", ["timestep_f32", "timestep_bf16_value"])
def test_model_is_given_the_official_timesteps(golden, model, variant):
    seen = loop_tensors(golden, model, bf16_timestep=variant == "timestep_bf16_value")[1]
    assert {(value.shape, value.dtype) for value in seen} == {(torch.Size([1]), torch.float32)}
    expected = golden(GROUP).manifest["parameters"][variant]["timesteps_seen_by_model"]
    schedule = golden(GROUP).limits("schedule.*.timesteps")
    assert_close(torch.cat(seen), torch.tensor(expected), **schedule)


@pytest.mark.parametrize("step", [1, STEPS])
def test_both_contexts_in_one_batch_equal_two_calls(golden, model, step):
    """`cfg_merge` of the official pipeline: everything but the context is repeated."""
    start = golden(GROUP)
    video, semantic = (
        (start["initial_noise"], start["initial_semantic_noise"])
        if step == 1
        else (
            start[f"timestep_f32.{stream}_after_step{step - 1}"]
            for stream in ("latents", "semantic_latents")
        )
    )
    timestep = 1000 * flow_sigmas(STEPS)[step - 1].reshape(1)
    with torch.no_grad():
        merged = model(
            video.repeat(2, 1, 1, 1, 1),
            timestep,
            torch.cat([start["context_positive"], start["context_negative"]]),
            start["source_latents"].repeat(2, 1, 1, 1, 1),
            semantic.repeat(2, 1, 1),
        )
    for stream, velocities in zip(("video", "semantic"), merged, strict=True):
        for sign, velocity in zip(("positive", "negative"), velocities.split(1), strict=True):
            name = f"timestep_f32.step{step}.{stream}_velocity_{sign}"
            assert_close(velocity, start[name], **start.limits(name))


def test_sigmas_of_the_release():
    """Its 50 steps at shift 5, to the digits the method sheet gives."""
    sigmas = flow_sigmas(50)
    assert sigmas.shape == (51,) and sigmas.dtype == torch.float32
    assert [round(value, 5) for value in sigmas[[0, 1, 2, -2, -1]].tolist()] == [
        1.0,
        0.99593,
        0.99174,
        0.09259,
        0.0,
    ]


def test_no_shift_is_linear():
    assert flow_sigmas(4, shift=1.0).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_timestep_is_rounded_to_bf16_in_its_own_dtype():
    rounded = round_timestep(torch.tensor([995.93, 991.74, 987.40, 500.0]))
    assert rounded.tolist() == [996.0, 992.0, 988.0, 500.0] and rounded.dtype == torch.float32


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_without_semantics_only_the_video_moves(golden, model, cfg):
    """One step from σ 1 to 0 is noise minus velocity, guided by hand."""
    start, one = golden(GROUP), torch.tensor([1.0, 0.0])
    noise, contexts = start["initial_noise"], (start["context_positive"], start["context_negative"])
    video, semantic = denoise(model, noise, None, *contexts, None, one, cfg=cfg)
    with torch.no_grad():
        toward, away = (model(noise, torch.tensor([1000.0]), context)[0] for context in contexts)
    assert semantic is None
    torch.testing.assert_close(video, noise - (away + cfg * (toward - away)), rtol=0, atol=2e-5)


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(steps):
    with pytest.raises(ConditioningError, match=f"steps: got {steps}, needs at least 1. Use 50"):
        flow_sigmas(steps)
