"""Sizes of a model, inferred from its shapes."""

from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from sama_core import DitConfig, SamaDiT
from sama_core.errors import CheckpointError
from sama_core.weights.checkpoint import model_shapes
from sama_core.weights.names import SAMA_KEYS

SAMA_14B = DitConfig(
    dim=5120,
    num_heads=40,
    ffn_dim=13824,
    num_layers=40,
    text_dim=4096,
    freq_dim=256,
    in_dim=16,
    out_dim=16,
    semantic_dim=1152,
    semantic_hidden=1024,
)
SMALL = DitConfig(
    dim=256,
    num_heads=2,
    ffn_dim=96,
    num_layers=3,
    text_dim=40,
    freq_dim=32,
    in_dim=12,
    out_dim=10,
    semantic_dim=24,
    semantic_hidden=20,
)


def parameters(shapes) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes)


@pytest.fixture(scope="module")
def shapes_14b():
    """All shapes of the released model; on the meta device, so without its 28 GB."""
    return model_shapes(SAMA_14B)


def test_14b_has_wans_1095_tensors_and_11(shapes_14b):
    assert len(shapes_14b) == 1106 and len(set(shapes_14b) - set(SAMA_KEYS)) == 1095


def test_14b_adds_12_million_parameters(shapes_14b):
    assert parameters(shapes_14b[key] for key in SAMA_KEYS) == 12_355_968


@pytest.mark.parametrize("config", [SMALL, SAMA_14B], ids=["small", "14b"])
def test_shapes_are_those_of_a_model_that_is_built(config):
    built = SamaDiT(config, device="meta").state_dict()
    assert list(model_shapes(config).items()) == [
        (name, tuple(value.shape)) for name, value in built.items()
    ]


def test_shapes_need_no_first_values():
    """On the meta device torch imports its symbolic mathematics to draw them: seconds."""
    called = []

    class Record(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            called.append(getattr(func, "__name__", str(func)))
            return func(*args, **(kwargs or {}))

    with Record():
        model_shapes(replace(SMALL, ffn_dim=97))
    assert called and not {"uniform_", "normal_", "fill_", "ones_", "zeros_"} & set(called)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("segment_embedding.weight", (3, 5120)),
        ("siglip_feat_mlp.norm.weight", (1152,)),
        ("siglip_feat_mlp.fc1.weight", (1024, 1152)),
        ("siglip_feat_mlp.fc2.weight", (5120, 1024)),
        ("semantic_head.norm.bias", (5120,)),
        ("semantic_head.proj.weight", (1152, 5120)),
        ("patch_embedding.weight", (5120, 16, 1, 2, 2)),
        ("time_projection.1.weight", (30720, 5120)),
        ("head.head.weight", (64, 5120)),
        ("head.modulation", (1, 2, 5120)),
        ("blocks.39.modulation", (1, 6, 5120)),
        ("blocks.39.cross_attn.norm_k.weight", (5120,)),
    ],
)
def test_14b_shapes(shapes_14b, key, shape):
    assert shapes_14b[key] == shape


@pytest.mark.parametrize("config", [SAMA_14B, SMALL], ids=["14B", "small, every size different"])
def test_sizes_come_back_from_the_shapes(config):
    assert DitConfig.from_shapes(model_shapes(config)) == config


def test_told_settings_win():
    config = DitConfig.from_shapes(model_shapes(SMALL), num_heads=8, semantic_tokens=260)
    assert (config.num_heads, config.head_dim, config.semantic_tokens) == (8, 32, 260)


@pytest.mark.parametrize("heads", [3, 256, -1])
def test_heads_that_do_not_fit_are_refused(heads):
    """3 does not divide 256; 256 heads would have one channel each, and positions rotate pairs."""
    with pytest.raises(
        CheckpointError,
        match=f"attention heads: got {heads} heads for width 256, needs a head count "
        "that divides .* Set num_heads in the loader, or in the file's metadata",
    ):
        DitConfig.from_shapes(model_shapes(SMALL), num_heads=heads)


@pytest.mark.parametrize(
    "absent",
    [
        "head.modulation",
        "blocks.0.ffn.0.bias",
        "text_embedding.0.weight",
        "semantic_head.proj.bias",
        "siglip_feat_mlp.fc1.bias",
    ],
)
def test_a_tensor_that_tells_a_size_is_named_when_absent(absent):
    shapes = model_shapes(SMALL)
    del shapes[absent]
    with pytest.raises(
        CheckpointError, match=f"got no tensor '{absent}', needs a full SAMA .* Choose sama_14b"
    ):
        DitConfig.from_shapes(shapes)


def test_flattened_weights_are_refused():
    """Packed formats keep a weight as one row of bytes."""
    with pytest.raises(
        CheckpointError, match="too few dimensions, needs the shapes of a Wan 2.1 model. .*GGUF"
    ):
        DitConfig.from_shapes(model_shapes(SMALL) | {"text_embedding.0.weight": (5120,)})


def test_packed_weights_do_not_mislead_where_a_bias_tells_the_size():
    """Four-bit files store two columns or rows in one; the biases stay whole."""
    packed = {
        key: (shape[0] // 2, *shape[1:])
        if key.endswith(("fc1.weight", "proj.weight", "ffn.0.weight"))
        else shape
        for key, shape in model_shapes(SMALL).items()
    }
    assert DitConfig.from_shapes(packed) == SMALL


@pytest.mark.parametrize(
    ("key", "shape", "size"),
    [
        ("head.modulation", (1, 2, 0), "dim 0"),
        ("head.modulation", (0, 2, 10**19), "dim 10000000000000000000"),
        ("text_embedding.0.weight", (256, 0), "text_dim 0"),
        ("text_embedding.0.weight", (0, 10**12), "text_dim 1000000000000"),
        ("patch_embedding.weight", (256, 12, 0, 2, 2), "patch 0"),
        ("head.head.bias", (3,), "out_dim 0"),
    ],
)
def test_a_size_that_no_model_has_is_named(key, shape, size):
    """An empty tensor may state any size, and takes no room in the file."""
    with pytest.raises(CheckpointError, match=f"got the size {size}, needs sizes of 1 to 1,048,5"):
        DitConfig.from_shapes({**model_shapes(SMALL), key: shape})


def test_a_block_number_without_end():
    """Python reads no number of so many digits."""
    shapes = {**model_shapes(SMALL), f"blocks.{'9' * 5000}.norm3.bias": (256,)}
    with pytest.raises(CheckpointError, match="got a block 999999999 in a file of"):
        DitConfig.from_shapes(shapes)
