"""The DiT against the official code: every tensor of the dit_* golden files."""

import pytest
import torch
from torch import Tensor

from sama_core import SamaDiT
from sama_core.model.dit import sinusoidal_embedding
from sama_core.model.rotary import RotaryTable, axis_pairs

from ..harness.golden import Golden, assert_close, load_golden

GROUPS = {  # weights under a group's own name win over those it borrows
    "dit_small": ["dit_small"],
    "dit_headdim128": ["dit_headdim128"],
    "dit_semantic1152": ["dit_small", "dit_semantic1152"],
}
SMALL_AMPLITUDE = "case6_small_amplitude"


class Inputs:
    """Reads input tensors of one golden case and remembers their names."""

    def __init__(self, golden: Golden, case: str):
        self.golden, self.case, self.read = golden, case, set()

    def __call__(self, name: str) -> Tensor | None:
        key = f"{self.case}.{name}"
        if key not in self.golden:
            return None
        self.read.add(key)
        return self.golden[key]


def watch(model: SamaDiT, seen: dict[str, Tensor]) -> list:
    """Hooks that file the model's intermediate tensors in `seen` under their golden names."""

    def output(name):
        return lambda module, args, out: seen.__setitem__(name, out)

    def block_input(module, args, kwargs):
        seen.update(
            tokens_in=args[0],
            time_projection=kwargs["e"],
            rope_real=kwargs["freqs"].cos,
            rope_imag=kwargs["freqs"].sin,
        )

    return [
        model.time_embedding.register_forward_pre_hook(
            lambda module, args: seen.update(sinusoidal_embedding=args[0])
        ),
        model.time_embedding.register_forward_hook(output("time_embedding")),
        model.text_embedding.register_forward_hook(output("context_embedded")),
        model.siglip_feat_mlp.register_forward_hook(output("semantic_tokens")),
        model.blocks[0].register_forward_pre_hook(block_input, with_kwargs=True),
        *(
            block.register_forward_hook(output(f"block{i}_out"))
            for i, block in enumerate(model.blocks)
        ),
    ]


@torch.no_grad()
def reproduce(golden: Golden, model: SamaDiT) -> tuple[dict[str, Tensor], set[str]]:
    """(our tensor for every output of the group, the names of the inputs that were used)."""
    ours: dict[str, Tensor] = {}
    read: set[str] = set()
    names = golden.keys()
    for case in sorted({name.split(".")[0] for name in names} - {SMALL_AMPLITUDE}):
        inputs, call = Inputs(golden, case), 0
        while (timestep := inputs(f"t{call}.timestep")) is not None:
            inner: dict[str, Tensor] = {}
            hooks = watch(model, inner)
            video, semantic = model(
                inputs("latents"),
                timestep,
                inputs("context"),
                inputs("source_latents"),
                inputs("semantic_latents"),
            )
            for hook in hooks:
                hook.remove()
            outputs = {"video_velocity": video, "semantic_velocity": semantic}
            outputs |= {f"inter.{name}": value for name, value in inner.items()}
            # The golden file holds the intermediate tensors of some calls only.
            ours |= {
                key: value
                for name, value in outputs.items()
                if (key := f"{case}.t{call}.{name}") in golden
            }
            call += 1
        read |= inputs.read
    if f"{SMALL_AMPLITUDE}.x" in golden:
        inputs = Inputs(golden, SMALL_AMPLITUDE)
        ours |= {
            f"{SMALL_AMPLITUDE}.{name}": value
            for name, value in small_amplitude(model, inputs).items()
        }
        read |= inputs.read
    return ours, read


def small_amplitude(model: SamaDiT, inputs: Inputs) -> dict[str, Tensor]:
    """The parts of the model on inputs so small that the norms' epsilon decides."""
    freqs = RotaryTable(*(inputs(f"rope_{part}").squeeze(1).float() for part in ("real", "imag")))
    x = inputs("x")
    return {
        "block0_out": model.blocks[0](x, e=inputs("t_mod"), freqs=freqs, context=inputs("context")),
        "siglip_feat_mlp_out": model.siglip_feat_mlp(inputs("semantic_latents")),
        "semantic_head_out": model.semantic_head(x),
    }


def official_model(golden, group: str) -> SamaDiT:
    """The model with a group's weights; all sizes but the head count are inferred."""
    weights = {}
    for name in GROUPS[group]:
        weights |= golden(name).state_dict()
    return SamaDiT.from_state_dict(
        weights, num_heads=golden(group).manifest["parameters"]["config"]["num_heads"]
    )


@pytest.fixture(scope="module")
def reproduced(golden):
    """`reproduced(group)`: our outputs and the inputs read, computed once per group."""
    done = {}

    def get(group: str):
        if group not in done:
            done[group] = reproduce(golden(group), official_model(golden, group))
        return done[group]

    return get


OUTPUTS = [
    (group, name)
    for group in GROUPS
    for name in sorted(load_golden(group).keys())
    if any(part in name for part in ("_velocity", ".inter.", "_out"))
]


@pytest.mark.parametrize(
    ("group", "name"), OUTPUTS, ids=[f"{group}-{name}" for group, name in OUTPUTS]
)
def test_equals_the_official_code(golden, reproduced, group, name):
    expected = golden(group)[name]
    assert_close(reproduced(group)[0][name], expected, **golden(group).limits(name))


@pytest.mark.parametrize("group", GROUPS)
def test_no_golden_tensor_is_left_out(golden, reproduced, group):
    """Every tensor is an input that was read or an output that the test above compares."""
    compared = {name for other, name in OUTPUTS if other == group}
    outputs, inputs = reproduced(group)
    assert compared == set(outputs)
    assert compared | inputs == set(golden(group).keys())
    assert not compared & inputs


@pytest.mark.parametrize("group", GROUPS)
def test_config_is_the_one_in_the_manifest(golden, group):
    """Sizes inferred from the weights equal those the official model was built with."""
    parameters = golden(group).manifest["parameters"]["config"]
    config = official_model(golden, group).config
    for name in (
        "dim",
        "num_heads",
        "ffn_dim",
        "num_layers",
        "text_dim",
        "freq_dim",
        "head_dim",
        "in_dim",
        "out_dim",
        "eps",
    ):
        assert getattr(config, name) == parameters[name], name
    in_dim, hidden = config.semantic_dim, config.semantic_hidden
    assert (
        f"SigLIPFeatMLP(in_dim={in_dim}, out_dim={config.dim}, hidden_dim={hidden})"
        in parameters["siglip_feat_mlp"]
    )


def test_head_size_128_needs_no_head_count(golden):
    """As in every Wan model, heads are width / 128 unless something says otherwise."""
    assert SamaDiT.from_state_dict(golden("dit_headdim128").state_dict()).config.num_heads == 2


@pytest.mark.parametrize(("head_dim", "split"), [(24, (8, 8, 8)), (128, (44, 42, 42))])
def test_rotary_split_is_the_manifests(head_dim, split):
    """Channels per axis, as pairs."""
    assert tuple(2 * pairs for pairs in axis_pairs(head_dim)) == split


def test_sinusoid_is_choose_dtype_float64():
    """At t = 999.5 a float32 angle is off by 3e-5, a float64 one by nothing that float32 shows."""
    rates = 10_000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
    angle = 999.5 * rates
    exact = torch.cat([angle.cos(), angle.sin()])[None]
    assert (sinusoidal_embedding(torch.tensor([999.5]), 256) - exact).abs().max() < 1e-7
