"""The small untrained SAMA: real layouts, complete files, the same weights for the same seed."""

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file

from sama_core import SamaDiT
from sama_core.encoders.umt5_layout import Umt5Sizes, comfy_name
from sama_core.encoders.vae_layout import vae_shapes
from sama_core.model.config import DitConfig
from sama_core.weights.checkpoint import model_shapes, non_finite, plan_checkpoint
from sama_core.weights.header import read_header
from tests.harness import untrained

DIT, TEXT, VAE = "diffusion_models", "text_encoders", "vae"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A models folder with the three files."""
    folder = tmp_path_factory.mktemp("models")
    names = untrained.write_untrained(folder)
    return {kind: folder / kind / name for kind, name in names.items()}


def test_exactly_three_files_are_left(written):
    assert set(written) == {DIT, TEXT, VAE}
    for path in written.values():
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_dit_file_is_a_whole_sama(written):
    plan = plan_checkpoint(written[DIT])
    assert plan.files[0].kind == "full" and plan.config == untrained.DIT
    assert plan.config.head_dim == 128 and plan.config.semantic_tokens == 65
    assert plan.report.matched == len(model_shapes(untrained.DIT))
    assert "untrained" in plan.metadata["modelspec.title"]


@pytest.mark.parametrize("kind", [DIT, TEXT, VAE])
def test_files_hold_finite_float32_weights(written, kind):
    weights = load_file(written[kind])
    assert non_finite(weights) == []
    assert {value.dtype for name, value in weights.items() if name != "spiece_model"} == {
        torch.float32
    }


def test_same_seed_same_tensors(written, tmp_path):
    again, other = (untrained.write_untrained(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    for kind, path in written.items():
        weights = load_file(path)
        same, different = (
            load_file(tmp_path / "0" / kind / again[kind]),
            load_file(tmp_path / "1" / kind / other[kind]),
        )
        assert same.keys() == weights.keys() == different.keys()
        assert all(torch.equal(same[name], value) for name, value in weights.items())
        assert not any(
            torch.equal(different[name], value)
            for name, value in weights.items()
            if name != "spiece_model"
        )


def test_velocities_have_the_size_of_noise(written):
    """Activations near 1 keep half precision and samplers out of trouble."""
    model = SamaDiT.from_state_dict(load_file(written[DIT]))
    generator = torch.Generator().manual_seed(2)
    video, semantic = (
        torch.randn(shape, generator=generator) for shape in ((1, 16, 2, 4, 6), (1, 65, 48))
    )
    with torch.no_grad():
        velocities = model(
            video,
            torch.tensor([500.0]),
            torch.randn(1, 7, 64, generator=generator),
            video,
            semantic,
        )
    for velocity in velocities:
        assert 0.3 < velocity.std() < 3


def test_dit_names_are_the_official_ones(golden):
    """`model_shapes` of the golden config is the official state dict: same names, same shapes."""
    shapes = {name: tuple(value.shape) for name, value in golden("dit_small").state_dict().items()}
    assert model_shapes(DitConfig.from_shapes(shapes, num_heads=4)) == shapes


def test_vae_names_are_the_official_ones(golden):
    """The golden VAE is four channels wide."""
    weights = golden("vae_small").state_dict()
    shapes = {name.removeprefix("model."): tuple(value.shape) for name, value in weights.items()}
    assert vae_shapes(4) == shapes


def test_real_vae_has_127_million_parameters():
    """Wan 2.1's VAE file: 194 tensors, 126,892,531 parameters."""
    shapes = vae_shapes(96)
    assert len(shapes) == 194
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 126_892_531


def test_text_encoder_names_are_the_official_ones(golden, written):
    """The golden encoder has one block more than the untrained one."""
    official = {
        comfy_name(name)
        for name in golden("t5_small").state_dict()
        if not name.startswith("blocks.2")
    }
    assert set(read_header(written[TEXT]).shapes) == official | {"spiece_model"}
    assert Umt5Sizes.from_state_dict(load_file(written[TEXT]), "umt5") == untrained.TEXT


def test_tokenizer_reads_any_text(written):
    """Special ids as umT5's, pieces for English, bytes for the rest."""
    model = bytes(load_file(written[TEXT])["spiece_model"].numpy())
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert tokenizer.vocab_size() == untrained.TEXT.vocab_size
    assert (tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.unk_id(), tokenizer.bos_id()) == (
        0,
        1,
        2,
        -1,
    )
    for text in ("Replace the seal with a crab.", "把海豹换成螃蟹", "naïve 🦀"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("Replace the seal with a crab.")) < len(
        "Replace the seal with a crab."
    )


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(weights, path, metadata):
        path.write_bytes(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr("sama_core.weights.write.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        untrained.write_untrained(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
