"""Load SAMA LoRA: every spelling is the same LoRA, and the report is what core patches, no more."""

import pytest
import torch

from ..harness.lora_files import RANK, SPELLINGS, LoraCase, kinds, pairs, right, wrong

LAYERS = {
    "blocks.0.self_attn.q": (256, 256),
    "blocks.0.cross_attn.o": (256, 256),
    "blocks.1.ffn.0": (512, 256),
    "blocks.1.ffn.2": (256, 512),
}
RIGHT, WRONG = (
    {case.name: case for case in right(LAYERS)},
    {case.name: case for case in wrong(LAYERS)},
)


@pytest.fixture(scope="module")
def model(comfyui, small):
    from sama_core.comfyui.loaders import load_diffusion_model

    return load_diffusion_model(str(comfyui.models("diffusion_models") / small.sama))


def apply(model, tensors: dict, strength: float = 1.0, name: str = "style.safetensors"):
    from sama_core.comfyui.lora import apply_lora

    return apply_lora(model, tensors, strength, name)


def patched(model) -> dict[str, torch.Tensor]:
    """Every weight that has patches, as core computes it."""
    import comfy.lora

    state = model.model.state_dict()
    return {
        key: comfy.lora.calculate_weight(patches, state[key].clone().float(), key)
        for key, patches in model.patches.items()
    }


def changed(model) -> set[str]:
    """The weights that core's patches really change."""
    state = model.model.state_dict()
    return {
        key for key, value in patched(model).items() if not torch.equal(value, state[key].float())
    }


# --- right files -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(model) -> dict[str, torch.Tensor]:
    """Worked out from the pairs by hand: weight + up · down."""
    tensors, state, found = pairs(LAYERS, SPELLINGS["comfy"]), model.model.state_dict(), {}
    for layer in LAYERS:
        down, up = (tensors[f"diffusion_model.{layer}.lora_{side}.weight"] for side in "AB")
        found[f"diffusion_model.{layer}.weight"] = (
            state[f"diffusion_model.{layer}.weight"].float() + up @ down
        )
    return found


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_patches_the_same_weights_alike(model, expected, spelling):
    patches, report = apply(model, RIGHT[spelling].tensors)
    assert report.summary() == "4 of 4 LoRA layers matched"
    found = patched(patches)
    assert found.keys() == expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", kinds(16, 16))
def test_every_kind_of_patch_changes_each_layer(model, kind):
    patches, report = apply(model, RIGHT[kind].tensors)
    assert report.summary() == "4 of 4 LoRA layers matched"
    part = "bias" if kind == "diff_b" else "weight"
    assert {f"diffusion_model.{layer}.{part}" for layer in LAYERS} <= changed(patches)


def test_a_dora_of_peft_is_the_same_dora(model):
    """PEFT writes one magnitude for each output as a row of numbers; core divides them by output
    norms.
    """
    case = RIGHT["dora of PEFT"].tensors
    ours = {
        key.replace("lora_magnitude_vector", "dora_scale"): value.unsqueeze(1)
        if value.ndim == 1
        else value
        for key, value in case.items()
    }
    for key, value in patched(apply(model, case)[0]).items():
        assert torch.equal(value, patched(apply(model, ours)[0])[key])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("style_high_noise.safetensors", "made for Wan 2.2's high-noise model"),
        ("Wan22-Style-LowNoise.safetensors", "made for Wan 2.2's low-noise model"),
        ("style.safetensors", ""),
    ],
)
def test_a_lora_for_wan_2_2_says_so(name, words):
    from sama_core.weights.lora_names import describe_expert

    assert (
        describe_expert(name, ["transformer.blocks.0.attn1.to_q.lora_A.weight"])[
            : len(words) or None
        ]
        == words
    )


def test_the_second_transformers_prefix_says_wan_2_2_too():
    from sama_core.weights.lora_names import describe_expert

    assert "one of Wan 2.2's two models" in describe_expert(
        "style.safetensors", RIGHT["second transformer"].tensors
    )


def test_layers_outside_the_blocks_and_biases(model):
    """Under Wan's names and diffusers', with and without a weight of their own."""
    tensors = {
        "transformer.condition_embedder.time_proj.diff_b": torch.ones(1536),
        "transformer.scale_shift_table.diff": torch.ones(1, 2, 256),
        "transformer.blocks.0.scale_shift_table.diff": torch.ones(1, 6, 256),
        "diffusion_model.blocks.0.norm3.diff": torch.ones(256),
        "lora_unet_semantic_head_proj.diff": torch.ones(48, 256),
        "transformer.blocks.1.norm2.diff": torch.ones(256),
        "diffusion_model.blocks.1.ffn.0.bias.diff": torch.ones(512),
    }
    patches, report = apply(model, tensors)
    assert report.summary() == "7 of 7 LoRA layers matched"
    assert changed(patches) == {
        f"diffusion_model.{name}"
        for name in (
            "time_projection.1.bias",
            "head.modulation",
            "blocks.0.modulation",
            "blocks.0.norm3.weight",
            "semantic_head.proj.weight",
            "blocks.1.norm3.weight",
            "blocks.1.ffn.0.bias",
        )
    }


# --- wrong files -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_core_cannot_apply_is_refused_by_name(model, case: LoraCase, caplog):
    from sama_core.errors import CheckpointError

    with pytest.raises(CheckpointError) as caught:
        apply(model, case.tensors)
    message = str(caught.value)
    assert (
        case.words in message
        and message.startswith("style.safetensors: got ")
        and ", needs " in message
    )
    assert not [record for record in caplog.records if record.levelname == "ERROR"], (
        "core's own words are kept quiet"
    )


def half_wrong() -> dict[str, tuple[dict, str]]:
    whole, wide = pairs(LAYERS, SPELLINGS["comfy"]), kinds(512, 512)
    return {
        "one layer wider": (
            {
                **whole,
                **{
                    f"diffusion_model.blocks.1.self_attn.k.{part}": value
                    for part, value in wide["lokr"].items()
                },
            },
            "of another size: diffusion_model.blocks.1.self_attn.k",
        ),
        "one half missing": (
            {**whole, "diffusion_model.blocks.1.self_attn.k.lora_A.weight": torch.ones(RANK, 256)},
            "a part is missing or unknown: diffusion_model.blocks.1.self_attn.k",
        ),
        "one layer unknown": (
            {**whole, "transformer.blocks.99.attn1.to_q.lora_A.weight": torch.ones(RANK, 256)},
            "not in this model: transformer.blocks.99.attn1.to_q",
        ),
        "a scale of another trainer": (
            {**whole, "diffusion_model.blocks.0.self_attn.q.lora_A.scale": torch.ones(1)},
            "in part, without: diffusion_model.blocks.0.self_attn.q (lora_A.scale)",
        ),
        "a bias of another size": (
            {**whole, "diffusion_model.blocks.0.self_attn.q.diff_b": torch.ones(9)},
            "in part, without: diffusion_model.blocks.0.self_attn.q (diff_b)",
        ),
        "two kinds for one weight": (
            {**whole, "diffusion_model.blocks.0.self_attn.q.diff": torch.ones(256, 256)},
            "blocks.0.self_attn.q (lora_A.weight, lora_B.weight)",
        ),
        "a bias by two names": (
            {
                **whole,
                "diffusion_model.blocks.0.self_attn.q.diff_b": torch.ones(256),
                "diffusion_model.blocks.0.self_attn.q.bias.diff": torch.ones(256),
            },
            "twice in the file: diffusion_model.blocks.0.self_attn.q.bias",
        ),
    }


@pytest.mark.parametrize(("tensors", "words"), half_wrong().values(), ids=half_wrong())
def test_what_fits_is_applied_and_the_rest_named(model, tensors, words):
    """The report's numbers are core's: every layer called matched is changed, and no other."""
    patches, report = apply(model, tensors)
    assert words in report.summary()
    really = changed(patches)
    assert {f"{layer}.weight" for layer in report.matched} <= really
    assert (
        not {
            f"{layer}.weight"
            for layer in (*report.misshapen, *report.incomplete, *report.unmatched)
        }
        & really
    )


def test_one_lora_under_two_names_is_one_lora(model):
    one, two = (pairs(LAYERS, SPELLINGS[name]) for name in ("comfy", "diffusers"))
    assert apply(model, one | two)[1].summary() == "4 of 4 LoRA layers matched"


def test_the_model_given_stays_as_it_was(model):
    apply(model, RIGHT["comfy"].tensors)
    assert not model.patches


def test_a_quantised_model_is_judged_by_its_true_sizes(comfyui, small, model, expected):
    """Core's own quantised weights: the LoRA lies over what they stand for."""
    from safetensors.torch import load_file, save_file

    from sama_core.comfyui.loaders import load_diffusion_model

    from ..harness.weight_layouts import comfy_quant

    folder = comfyui.models("diffusion_models")
    save_file(comfy_quant(load_file(folder / small.sama)), folder / "for_lora.safetensors")
    quantised = load_diffusion_model(str(folder / "for_lora.safetensors"))
    for case in (RIGHT["diffusers"], RIGHT["lokr"], RIGHT["diff_b"]):
        assert apply(quantised, case.tensors)[1].summary() == "4 of 4 LoRA layers matched"
