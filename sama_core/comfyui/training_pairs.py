"""A clip before and after an edit → what ComfyUI's Train LoRA takes.

    source, target ──cut──▶ samples of 4k+1 frames
        target ──VAE──▶ video ─┐
        its first frame ───────┴▶ semantic tokens: one LATENT, the packed joint state
        source ──VAE──▶ in the CONDITIONING of the instruction

The joint state is packed here, because Train LoRA takes a LATENT of one tensor and drops what is
attached to it; its first steps are `.to(dtype)` and `torch.cat`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import node_helpers
import torch
from torch import Tensor
from torch.nn import functional

from ..clip import ClipRange
from ..clip.info import ClipInfo
from ..clip.pairs import Size, differ_in_shape
from ..errors import ClipError, ConditioningError, needed
from ..geometry import Lattice
from ..region import FittedClip
from ..training.semantics.encoder import GRID
from ..training.semantics.pixel_encoder import STATISTICS, PixelEncoder
from .conditioning import attach_source, encode_instruction, encode_source, require_wan_vae
from .model import PAIR, lattice_of_model, require_sama, require_text
from .streams import JointShape
from .video import read_source


@dataclass(frozen=True)
class TrainingSample:
    """One sample of a training."""

    latent: dict
    """LATENT: the packed joint state (1, 1, N) of the target."""
    positive: list
    """CONDITIONING: the instruction, with the source in it."""
    target: Tensor
    """The target's frames (F, H, W, 3) in 0…1."""


def make_samples(
    model,
    clip,
    vae,
    source: Tensor,
    target: Tensor,
    instruction: str,
    frames: int,
    vision=None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[TrainingSample]:
    """Samples of `frames` frames each, from fitted clips (F, H, W, 3) of equal size.

    `vision` is ComfyUI's CLIP_VISION, a SigLIP, for models whose semantic tokens are its features.
    Raises SamaError for models and clips that do not go together.
    """
    require_sama(model)
    require_wan_vae(vae)
    refuse_unlike(source, target)
    lattice = lattice_of_model(model)
    config = model.model.dit_config
    positive, _ = encode_instruction(clip, instruction)
    require_text(positive[0][0], config.text_dim)
    samples, pieces = [], list(cut_pieces(len(target), frames, lattice))
    for done, piece in enumerate(pieces):
        fitted = [FittedClip.check(one[piece], lattice=lattice) for one in (source, target)]
        before, after = (encode_source(vae, one) for one in fitted)
        tokens = semantic_target(target[piece][:1], config.semantic_dim, vision).to(after)
        latent = {"samples": JointShape.of(after, tokens).pack(after, tokens)}
        named = {PAIR: name_of_clip(fitted[1].frames)}
        text = node_helpers.conditioning_set_values(attach_source(positive, before), named)
        samples.append(TrainingSample(latent, text, fitted[1].frames))
        progress(done + 1, len(pieces))
    return samples


def read_pair(source, target, area: int, lattice: Lattice) -> tuple[Tensor, Tensor]:
    """All frames (F, H, W, 3) in 0…1 of two VIDEOs or IMAGE batches, fitted to `area` pixels.

    Raises ClipError for a clip that cannot be read, and for pictures of two shapes: one would be
    cropped where the other is not, and nothing would lie at its place.
    """
    (before, one), (after, other) = (_read_clip(each, area, lattice) for each in (source, target))
    if differ_in_shape(_shape(one), _shape(other)):
        got, need = (f"{each.width}x{each.height}" for each in (other, one))
        fix = "Cut both to the same picture."
        raise ClipError(needed("target", got, f"the shape of its source, {need}", fix))
    return before, after


def _read_clip(given, area: int, lattice: Lattice) -> tuple[Tensor, ClipInfo]:
    video, images = (None, given) if torch.is_tensor(given) else (given, None)
    frames, info = read_source(video, images, 24.0, ClipRange(frames=0), area, lattice=lattice)
    return frames[: info.frame_count], info


def _shape(info: ClipInfo) -> Size:
    return float(info.width * info.facts.pixel_aspect), info.height


def remark_on_sameness(source: Tensor, target: Tensor) -> str | None:
    """A remark on two equal clips (F, H, W, 3); None where something differs."""
    if source.shape != target.shape or not torch.equal(source, target):
        return None
    return "SAMA: source and target are the same clip, which teaches that nothing is to be changed."


def refuse_unlike(source: Tensor, target: Tensor) -> None:
    """Raises ClipError where source and target differ in size or number of frames."""
    sizes = [f"{len(one)} frames of {one.shape[2]}x{one.shape[1]}" for one in (source, target)]
    if source.shape[:3] != target.shape[:3]:
        fix = "Cut both to the same frames and size."
        raise ClipError(needed("target", sizes[1], f"the source's {sizes[0]}", fix))


def cut_pieces(count: int, frames: int, lattice: Lattice) -> list[slice]:
    """Where samples of `frames` frames lie in a clip of `count`; what is left over is not used.

    A shorter clip is one sample, as long as the model takes. `frames` 0 takes the whole clip as
    one. Raises ClipError for a clip without a frame, and for a count that the model does not take.
    """
    if count < 1:
        raise ClipError(needed("clip", "no frames", "one or more", "Choose another clip."))
    longest = lattice.frames_of((count - 1) // lattice.temporal + 1)
    if not frames or frames > count:
        return [slice(0, longest)]
    below = lattice.frames_of((frames - 1) // lattice.temporal + 1)
    if frames != below:
        step = lattice.temporal
        fix = f"Set frames to {below} or {below + step}."
        raise ClipError(needed("frames of a sample", frames, f"{step}k+1", fix))
    return [slice(start, start + frames) for start in range(0, count - frames + 1, frames)]


def name_of_clip(frames: Tensor) -> str:
    """A name that follows from the frames (F, H, W, 3) in 0…1, to eight bits."""
    levels = frames.mul(255).round().to(torch.uint8).cpu().contiguous()
    size = str(tuple(levels.shape)).encode()
    return hashlib.blake2b(size + levels.numpy().tobytes(), digest_size=12).hexdigest()


def semantic_target(frame: Tensor, width: int, vision=None) -> Tensor:
    """Semantic tokens (1, 65, width) of an anchor frame (1, H, W, 3) in 0…1.

    Narrow tokens are those of the pack's small models, statistics of the pixels. Others are a
    SigLIP's features: 64 means over its patches and the mean of all. Deviation: the trainer's
    global token is SigLIP's attention pooling, which ComfyUI's SigLIP has not. Raises
    ConditioningError for a model and encoder that do not go together.
    """
    if width <= STATISTICS:
        return PixelEncoder(width).encode(frame.float())
    if vision is None:
        fix = "Connect Load CLIP Vision with sigclip_vision_patch14_384.safetensors."
        need = f"a vision encoder with features {width} wide"
        raise ConditioningError(needed("clip_vision", "nothing", need, fix))
    patches = vision.encode_image(frame, crop=False)["last_hidden_state"].float()
    if patches.shape[-1] != width:
        fix = "Load the vision encoder that the model was made for: SigLIP so400m for SAMA-14B."
        raise ConditioningError(
            needed("clip_vision", f"features {patches.shape[-1]} wide", f"{width} wide", fix)
        )
    rows = round(patches.shape[1] ** 0.5)
    if rows * rows != patches.shape[1]:
        fix = "Load a SigLIP: sigclip_vision_patch14_384.safetensors."
        got = f"{patches.shape[1]} patches, which are no square"
        raise ConditioningError(needed("clip_vision", got, "a square of patches", fix))
    square = patches.transpose(1, 2).unflatten(2, (rows, rows))
    cells = functional.adaptive_avg_pool2d(square, GRID).flatten(2).transpose(1, 2)
    return torch.cat([cells, patches.mean(1, keepdim=True)], dim=1)
