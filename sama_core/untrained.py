"""A small SAMA with random weights: every part of the real one, none of its skill.

    python -m sama_core.untrained MODELS_DIR

It lets a machine without downloads run the whole path, from the loaders to the saved video. The
pictures it makes are noise. The three files have the real files' layouts, so the ordinary loaders
take them: the DiT with all 11 SAMA tensors and head size 128, umT5 with a tokenizer inside, and
the Wan 2.1 VAE at reduced width.
"""

import io
import json
import math
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .checkpoint import model_shapes
from .config import DitConfig
from .umt5 import Umt5Sizes

AREA = 128 * 128
DIT = DitConfig(dim=256, num_heads=2, ffn_dim=512, num_layers=2, text_dim=64, freq_dim=64, in_dim=16, out_dim=16,
                semantic_dim=48, semantic_hidden=64)
TEXT = Umt5Sizes(vocab_size=352, d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2)
VAE_WIDTH = 8
FILES = {
    "diffusion_models": "sama_untrained.safetensors",
    "text_encoders": "sama_untrained_umt5.safetensors",
    "vae": "sama_untrained_vae.safetensors",
}

# Enough plain English for a 352-piece vocabulary; the tokenizer falls back to bytes for the rest.
_CORPUS = """
Replace the seal with a crab. Replace the red circle with a blue square. Remove the person on the left.
Make the circle red. Make the car green and the sky orange. Change the background to a snowy mountain.
Add a hat to the man. Add a small yellow star above the house. Turn the video into a watercolor painting.
Make it look like night. Delete the dog from the street. Swap the triangle for a pentagon, keep everything else.
Put the woman in a purple dress. Change the style to a pencil sketch. Recolour the flower from pink to white.
The quick brown fox jumps over the lazy dog. Video edit. What should change, and what should stay as it is?
"""


def write_untrained(models_dir: str | Path, seed: int = 0) -> dict[str, str]:
    """Write the three files below a ComfyUI models folder; returns file names by folder.

    Files are written under a temporary name and renamed, and hold the same tensors for the same seed.
    """
    parts = {"diffusion_models": diffusion_model, "text_encoders": text_encoder, "vae": vae}
    for folder, build in parts.items():
        generator = torch.Generator().manual_seed(seed)
        metadata = _metadata() if folder == "diffusion_models" else {"format": "pt"}
        _save(build(generator), Path(models_dir) / folder / FILES[folder], metadata)
    return dict(FILES)


def diffusion_model(generator: torch.Generator, config: DitConfig = DIT) -> dict[str, Tensor]:
    """Random float32 weights of a SAMA DiT, scaled so that activations stay near 1."""
    return {name: _random(name, shape, generator) for name, shape in model_shapes(config).items()}


def text_encoder(generator: torch.Generator, sizes: Umt5Sizes = TEXT) -> dict[str, Tensor]:
    """Random umT5 weights under ComfyUI's names, with a sentencepiece vocabulary inside."""
    weights = {name: _random(name, shape, generator) for name, shape in sizes.shapes().items()}
    return weights | {"spiece_model": torch.frombuffer(bytearray(_tokenizer(sizes.vocab_size)), dtype=torch.uint8)}


def vae(generator: torch.Generator, width: int = VAE_WIDTH) -> dict[str, Tensor]:
    """Random weights of Wan 2.1's VAE at a base width of `width` channels (96 in the real one)."""
    return {name: _random(name, shape, generator) for name, shape in vae_shapes(width).items()}


def vae_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of Wan 2.1's VAE at a base width (z 16, 1-2-4-4, two blocks a level)."""
    levels = [width, 2 * width, 4 * width, 4 * width]
    shapes: dict[str, tuple[int, ...]] = {}
    shapes |= _conv("encoder.conv1", levels[0], 3) | _conv("decoder.conv1", levels[3], 16)
    slot, channels = 0, levels[0]
    for level, out in enumerate(levels):
        for _ in range(2):
            shapes |= _residual(f"encoder.downsamples.{slot}", channels, out)
            slot, channels = slot + 1, out
        if level < 3:
            shapes |= _resample(f"encoder.downsamples.{slot}", out, out, time=level > 0, double=False)
            slot += 1
    slot = 0
    for level, out in enumerate(reversed(levels)):
        for _ in range(3):
            shapes |= _residual(f"decoder.upsamples.{slot}", channels, out)
            slot, channels = slot + 1, out
        if level < 3:
            shapes |= _resample(f"decoder.upsamples.{slot}", out, out // 2, time=level < 2, double=True)
            slot, channels = slot + 1, out // 2
    for side, inner, out in (("encoder", levels[3], 32), ("decoder", levels[3], 3)):
        shapes |= _residual(f"{side}.middle.0", inner, inner) | _residual(f"{side}.middle.2", inner, inner)
        shapes |= {f"{side}.middle.1.norm.gamma": (inner, 1, 1)}
        shapes |= _conv(f"{side}.middle.1.to_qkv", 3 * inner, inner, (1, 1))
        shapes |= _conv(f"{side}.middle.1.proj", inner, inner, (1, 1))
        last = inner if side == "encoder" else levels[0]
        shapes |= {f"{side}.head.0.gamma": (last, 1, 1, 1)} | _conv(f"{side}.head.2", out, last)
    return shapes | _conv("conv1", 32, 32, (1, 1, 1)) | _conv("conv2", 16, 16, (1, 1, 1))


def _conv(name: str, out: int, into: int, kernel: tuple[int, ...] = (3, 3, 3)) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into, *kernel), f"{name}.bias": (out,)}


def _residual(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.residual.0.gamma": (into, 1, 1, 1), f"{name}.residual.3.gamma": (out, 1, 1, 1)}
    shapes |= _conv(f"{name}.residual.2", out, into) | _conv(f"{name}.residual.6", out, out)
    return shapes | (_conv(f"{name}.shortcut", out, into, (1, 1, 1)) if into != out else {})


def _resample(name: str, into: int, out: int, time: bool, double: bool) -> dict[str, tuple[int, ...]]:
    shapes = _conv(f"{name}.resample.1", out, into, (3, 3))
    return shapes | (_conv(f"{name}.time_conv", 2 * into if double else into, into, (3, 1, 1)) if time else {})


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Norm scales near 1, biases near 0, weights with variance 1 / fan-in."""
    noise = torch.randn(shape, generator=generator)
    if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
        return 1 + 0.05 * noise
    if name.endswith("bias") or len(shape) < 2:
        return 0.05 * noise
    if name.startswith("shared"):
        return noise
    return noise / math.sqrt(math.prod(shape[1:]))


def _tokenizer(vocab_size: int) -> bytes:
    """A sentencepiece model (pad 0, end 1, unknown 2, byte fallback) of exactly `vocab_size` pieces."""
    import sentencepiece
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CORPUS.strip().splitlines()), model_writer=model, vocab_size=vocab_size,
        model_type="unigram", byte_fallback=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
        num_threads=1, hard_vocab_limit=True)
    return model.getvalue()


def _metadata() -> dict[str, str]:
    settings = {"transformer": {"num_heads": DIT.num_heads, "semantic_tokens": DIT.semantic_tokens, "area": AREA}}
    return {"format": "pt", "config": json.dumps(settings), "modelspec.title": "SAMA, small and untrained"}


def _save(weights: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file({name: value.contiguous() for name, value in weights.items()}, partial, metadata=metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    print(json.dumps(write_untrained(sys.argv[1])))
