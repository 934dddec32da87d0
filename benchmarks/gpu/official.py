"""The official SAMA code at the same sizes, the baseline of `python -m benchmarks.gpu`: its DiT
with random weights.

It is imported by path from a checkout and nothing of it is in the pack. Its `WanModel`, made on the
device in bfloat16, is run over source, semantic and target tokens: embedding, blocks, head.
Deviation: the 65 semantic tokens are drawn at the model's width, without their small projector and
head. It has no streaming of its own here, so what does not fit is out of memory.
"""

import sys
import types
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.sizes import clip_of, count_work, device_of, sizes
from benchmarks.gpu.watch import Clock, Watch

TEXT_ROWS = 512


def measure(order: dict) -> dict:
    """What `python -m benchmarks.gpu` keeps of a point."""
    import torch

    device = device_of(order["dry"])
    try:
        official = _import(Path(order["official"]))
    except (ImportError, OSError) as missing:
        return {"outcome": f"absent: the official code does not import here ({missing})"}
    config, latent = sizes(order["dry"]), clip_of(order["point"], order["dry"]).latent()
    clock, dtype = Clock(device), torch.bfloat16
    with Watch(device) as watch, torch.inference_mode():
        try:
            clock.start()
            dit = _model(official, config, device, dtype)
            inputs = _inputs(config, latent, device, dtype)
            for _ in range(order["steps"]):
                _step(official, dit, **inputs)
                clock.tick()
        except torch.OutOfMemoryError:
            return {"outcome": "oom"}
    held = sum(weight.numel() * weight.element_size() for weight in dit.parameters())
    return {
        "outcome": "ok",
        **count_work(config, latent),
        **clock.seconds(),
        **watch.peaks(),
        "dynamic": False,
        "weights_on_device_bytes": held,
        "weights_bytes": held,
    }


def _import(folder: Path) -> types.ModuleType:
    """The module of its DiT, without the package's own start, which imports everything else."""
    if not (folder / "diffsynth").is_dir():
        raise ImportError(f"no folder diffsynth in {folder}")
    for name in ("diffsynth", "diffsynth.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = package
    said, sys.stdout = sys.stdout, sys.stderr
    try:
        return import_module("diffsynth.models.wan_video_dit")
    finally:
        sys.stdout = said


def _model(official, config, device, dtype):
    import torch

    kept = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return official.WanModel(
                dim=config.dim,
                in_dim=config.in_dim,
                ffn_dim=config.ffn_dim,
                out_dim=config.out_dim,
                text_dim=config.text_dim,
                freq_dim=config.freq_dim,
                eps=config.eps,
                patch_size=(1, 2, 2),
                num_heads=config.num_heads,
                num_layers=config.num_layers,
                has_image_input=False,
            ).eval()
    finally:
        torch.set_default_dtype(kept)


def _inputs(config, latent, device, dtype) -> dict:
    import torch

    def draw(*shape: int):
        return torch.randn(1, *shape, device=device, dtype=dtype)

    video = (config.in_dim, latent.frames, latent.height, latent.width)
    return {
        "target": draw(*video),
        "source": draw(*video),
        "semantic": draw(config.semantic_tokens, config.dim),
        "context": draw(TEXT_ROWS, config.text_dim),
        "timestep": torch.tensor([500.0], device=device, dtype=dtype),
    }


def _step(official, dit, target, source, semantic, context, timestep):
    """One call: order of tokens and zero rotation of the semantic ones as in the release."""
    import torch

    text = dit.text_embedding(context)
    t = dit.time_embedding(official.sinusoidal_embedding_1d(dit.freq_dim, timestep))
    modulation = dit.time_projection(t).unflatten(1, (6, dit.dim))
    videos = [dit.patch_embedding(video) for video in (source, target)]
    table = _rotations(dit, videos[0].shape[2:]).to(target.device)
    tokens = [video.flatten(2).transpose(1, 2) for video in videos]
    tokens.insert(1, semantic)
    x = torch.cat(
        [part + dit.segment_embedding.weight[number] for number, part in enumerate(tokens)], dim=1
    )
    freqs = torch.cat([table, table.new_zeros(semantic.shape[1], *table.shape[1:]), table])
    for block in dit.blocks:
        x = block(x, text, modulation, freqs)
    return dit.head(x[:, -tokens[2].shape[1] :], t)


def _rotations(dit, grid):
    """(tokens, 1, head size / 2) complex, of one video's grid."""
    import torch

    frames, rows, columns = grid
    parts = (
        dit.freqs[0][:frames].view(frames, 1, 1, -1),
        dit.freqs[1][:rows].view(1, rows, 1, -1),
        dit.freqs[2][:columns].view(1, 1, columns, -1),
    )
    return (
        torch.cat([part.expand(frames, rows, columns, -1) for part in parts], dim=-1)
        .flatten(0, 2)
        .unsqueeze(1)
    )
