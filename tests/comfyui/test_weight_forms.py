"""Every node that samples × every form of the weights, with and without a LoRA, in ComfyUI's own
executor.
"""

import pytest
import torch

from ..harness.golden import distance
from .graphs import Edit, long_edit, long_graph, output, whole_edit
from .weight_forms import CORE_FORMATS, FORMS, LATER_FORMATS, known, use

LORA = "forms_lora.safetensors"
FRAMES = 13
"""Two segments of 9 frames for SAMA Long Edit."""


def sampling_nodes(edit: Edit) -> dict[str, list]:
    """One of each on the graph's parts: node id → link."""
    sigmas = edit.add("SAMASigmas", steps=2, shift=5.0, denoise=1.0)
    euler = edit.add("KSamplerSelect", sampler_name="euler")
    settings = {"steps": 2, "cfg": 2.0}
    anchor = whole_edit(edit, **settings)
    edit.nodes[anchor[0]]["class_type"] = "SAMAAnchorPreview"
    edit.nodes[anchor[0]]["inputs"] |= {"anchors": 1, "first_frame": 0}
    common = {
        "model": edit.model,
        "positive": edit.positive,
        "negative": edit.negative,
        "latent_image": edit.latent,
    }
    return {
        "SAMAEdit": whole_edit(edit, **settings),
        "SAMALongEdit": segments(edit),
        "SAMAAnchorPreview": output(anchor, 1),
        "KSampler": edit.ksampler(**settings),
        "KSamplerAdvanced": edit.add(
            "KSamplerAdvanced",
            **common,
            add_noise="enable",
            noise_seed=1,
            sampler_name="euler",
            scheduler="simple",
            start_at_step=0,
            end_at_step=2,
            return_with_leftover_noise="disable",
            **settings,
        ),
        "SamplerCustom": edit.add(
            "SamplerCustom",
            **common,
            add_noise=True,
            noise_seed=1,
            cfg=2.0,
            sampler=euler,
            sigmas=sigmas,
        ),
        "SamplerCustomAdvanced": edit.custom(sigmas, cfg=2.0),
    }


def segments(edit: Edit) -> list:
    """A SAMA Long Edit of two segments."""
    return long_edit(edit, steps=2, cfg=2.0, segment_frames=9)


def with_lora(edit: Edit) -> None:
    """Core's loader for a low-rank change of three matrices in the first block."""
    from safetensors.torch import save_file

    path, draw = edit.comfyui.models("loras") / LORA, torch.Generator().manual_seed(0)
    if not path.exists():
        tensors = {}
        for layer, rows, columns in (
            ("self_attn.q", 256, 256),
            ("cross_attn.k", 256, 256),
            ("ffn.0", 512, 256),
        ):
            name = f"diffusion_model.blocks.0.{layer}"
            tensors |= {
                f"{name}.lora_A.weight": torch.randn(2, columns, generator=draw) / 16,
                f"{name}.lora_B.weight": torch.randn(rows, 2, generator=draw) / 2,
            }
        save_file(tensors, path)
    edit.patch("LoraLoaderModelOnly", lora_name=LORA, strength_model=1.0)


def results(
    comfyui, small, form: str, nodes=sampling_nodes
) -> dict[tuple[str, bool], torch.Tensor]:
    """What every node gives for that form: (node id, with the LoRA) → frames or latent."""
    edit = long_graph(comfyui, small, FRAMES, area=16 * 16)
    use(edit, FORMS[form])
    links = {(name, False): link for name, link in nodes(edit).items()}
    with_lora(edit)
    links |= {(name, True): link for name, link in nodes(edit).items()}
    ran = comfyui.run(edit.nodes, keep=[link[0] for link in links.values()]).check()
    values = {which: ran.values[node][index] for which, (node, index) in links.items()}
    return {
        which: value["samples"] if isinstance(value, dict) else value
        for which, value in values.items()
    }


@pytest.fixture(scope="module")
def float_results(comfyui, small) -> dict:
    """The float32 model's."""
    return results(comfyui, small, "default")


@pytest.mark.parametrize("form", FORMS)
def test_every_node_samples_every_form(comfyui, small, float_results, sampled_segments, form):
    """Finite, as near to the float32 model as the form allows, and nearer to it than to the one of
    the other LoRA.

    SAMA Long Edit keeps its two segments with the LoRA and without, and a second queueing samples
    none.
    """
    from sama_core.comfyui.long_edit import segment_store

    if not known(FORMS[form]):
        pytest.skip("a later ComfyUI's format")
    segment_store().clear()
    found = results(comfyui, small, form)
    for (node, lora), values in found.items():
        assert values.isfinite().all(), node
        error, effect = (
            distance(values, float_results[node, which])[0] for which in (lora, not lora)
        )
        assert FORMS[form].least < error <= FORMS[form].limit, f"{node}, LoRA {lora}: {error}"
        assert error < effect, f"{node}, LoRA {lora}: {error}, from the other {effect}"
    assert len(sampled_segments) == 4
    again = results(comfyui, small, form, lambda edit: {"SAMALongEdit": segments(edit)})
    assert len(sampled_segments) == 4
    assert all(torch.equal(values, found[which]) for which, values in again.items())
    segment_store().clear()


def test_every_format_of_core_is_here(comfyui):
    """Another core's formats: add them to CORE_FORMATS."""
    from comfy.quant_ops import QUANT_ALGOS

    kinds = {name.split(",")[0] for name in CORE_FORMATS}
    assert kinds - LATER_FORMATS <= set(QUANT_ALGOS) <= kinds


def test_every_sampling_node_is_here(comfyui, edit):
    """Core's nodes that take a model or a guider and give a latent in the category of samplers, and
    ours.
    """
    import nodes

    found = set()
    for name, node in nodes.NODE_CLASS_MAPPINGS.items():
        kinds = node.INPUT_TYPES()
        taken = {
            str(kind[0])
            for part in ("required", "optional")
            for kind in kinds.get(part, {}).values()
        }
        samples = "GUIDER" in taken or {"MODEL", "CONDITIONING"} <= taken
        if "sampling" in node.CATEGORY and "LATENT" in node.RETURN_TYPES and samples:
            found.add(name)
    assert found == {name for name in sampling_nodes(edit) if not name.startswith("SAMA")}
