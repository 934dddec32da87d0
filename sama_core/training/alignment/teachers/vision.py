"""Teachers that see pictures or short clips: V-JEPA 2, VideoMAE, DINOv3, SigLIP 2.

Each is a frozen model of `transformers`; its class says what it does with sizes and frame counts
that the model was not made for. Unverified throughout: SARA and SAM2VideoX do not say how clips of
81 frames at 480 × 848 reach models made for squares and even counts. Deviation: clips are resized
whole and bicubic; the models' own processors resize bilinearly, and those of V-JEPA 2 and VideoMAE
keep the sides' ratio and cut out the middle. Colours are normalised as their published weights want
it, but for DINOv3's of satellite pictures, which have values of their own.
"""

from typing import Any

import torch
from torch import Tensor

from ....geometry import WAN_21
from .base import (
    IMAGENET,
    FrozenTeacher,
    check_features,
    check_frames,
    normalise,
    resize_frames,
)


class VisionTeacher(FrozenTeacher):
    """A teacher that sees the frames alone."""

    def _place(self, frames: Tensor) -> Tensor:
        weight = next(self.model.parameters())
        return frames.to(weight.device, weight.dtype)

    @torch.no_grad()
    def features(self, frames: Tensor, prompt: Tensor | None = None) -> dict[str, Tensor]:
        """See `Teacher.features`; a prompt changes nothing here."""
        tokens = self._tokens(check_frames(frames)).to(frames.device).float()
        return {"features": check_features(tokens, self.key)}

    def _tokens(self, frames: Tensor) -> Tensor:
        """(F, 3, H, W) → (T, h, w, D)."""
        raise NotImplementedError


class VJepaTeacher(VisionTeacher):
    """V-JEPA 2. (The papers' 2.1 is in no release of `transformers`.)

    Clips are resized to the model's square, because it numbers positions for that square whatever
    it is given. It takes frames in pairs and would drop an odd last one in silence: the first frame
    is doubled instead, so that slices are (0, 0), (1, 2), (3, 4) … as Wan's VAE begins with a
    single frame. 81 frames give 41 slices.
    """

    class_name, kind = "VJEPA2Model", "vjepa2"
    model_types, published = ("vjepa2",), "facebook/vjepa2-vitl-fpc64-256"

    @staticmethod
    def count_slices(settings: Any, frames: int) -> int:
        """One for each pair of frames, or triple …, as the model takes them."""
        return -(-frames // settings.tubelet_size)

    def _tokens(self, frames: Tensor) -> Tensor:
        config = self.model.config
        side, patch, pair = config.crop_size, config.patch_size, config.tubelet_size
        short = -len(frames) % pair
        frames = torch.cat([frames[:1].expand(short, *frames.shape[1:]), frames])
        video = self._place(normalise(resize_frames(frames, side, side), *IMAGENET))
        tokens = self.model(pixel_values_videos=video[None], skip_predictor=True).last_hidden_state
        return tokens.view(len(frames) // pair, side // patch, side // patch, self.width)


class VideoMaeTeacher(VisionTeacher):
    """VideoMAE, which takes exactly the frames and the square that it was made for.

    Frames are drawn as `pick_frames` says. Deviation: VideoREPA used VideoMAE v2 at 160 × 240, by a
    code of its own.
    """

    class_name, kind = "VideoMAEModel", "videomae"
    model_types, published = ("videomae",), "MCG-NJU/videomae-base"

    @staticmethod
    def count_slices(settings: Any, frames: int) -> int:
        """As many for every clip."""
        return settings.num_frames // settings.tubelet_size

    def _tokens(self, frames: Tensor) -> Tensor:
        config = self.model.config
        count, side, patch = config.num_frames, config.image_size, config.patch_size
        picked = pick_frames(len(frames), count, config.tubelet_size).to(frames.device)
        video = normalise(resize_frames(frames[picked], side, side), *IMAGENET)
        tokens = self.model(pixel_values=self._place(video)[None]).last_hidden_state
        slices = count // config.tubelet_size
        return tokens.view(slices, side // patch, side // patch, self.width)


def pick_frames(clip: int, count: int, pair: int) -> Tensor:
    """(count,) the frames of a clip of `clip` frames that a model of `count` sees, `pair` in a
    slice.

    Evenly, the first and the last among them; where the model has as many slices as the clip has
    latent frames, those in the middle of each. So slices stand where `frame_times` says.
    """
    slices = count // pair
    if clip != WAN_21.frames_of(slices):
        return torch.linspace(0, clip - 1, count).round().long()
    first = WAN_21.temporal * torch.arange(slices) - (WAN_21.temporal + pair) // 2 + 1
    return (first[:, None] + torch.arange(pair)).clamp(min=0).flatten()


class DinoTeacher(VisionTeacher):
    """DINOv3, frame by frame, at the clip's own size brought to whole patches."""

    class_name, kind = "DINOv3ViTModel", "dinov3"
    model_types, published = ("dinov3_vit",), "facebook/dinov3-vits16-pretrain-lvd1689m"

    def _tokens(self, frames: Tensor) -> Tensor:
        config = self.model.config
        rows, columns = (max(side // config.patch_size, 1) for side in frames.shape[-2:])
        frames = resize_frames(frames, rows * config.patch_size, columns * config.patch_size)
        pictures = self._place(normalise(frames, *IMAGENET))
        tokens = torch.cat(
            [self.model(pixel_values=picture[None]).last_hidden_state for picture in pictures]
        )
        patches = tokens[:, 1 + config.num_register_tokens :]
        return patches.view(len(frames), rows, columns, self.width)


class SiglipTeacher(VisionTeacher):
    """SigLIP 2, frame by frame; frames are made as large as its number of patches allows."""

    class_name, kind = "Siglip2VisionModel", "siglip2"
    model_types, published = (
        ("siglip2", "siglip2_vision_model"),
        "google/siglip2-base-patch16-naflex",
    )

    def _tokens(self, frames: Tensor) -> Tensor:
        config = self.model.config
        patch = config.patch_size
        rows, columns = _fit_grid(frames.shape[-2] / frames.shape[-1], config.num_patches)
        frames = normalise(
            resize_frames(frames, rows * patch, columns * patch), (0.5,) * 3, (0.5,) * 3
        )
        # Patches in rows, each with its pixels in rows and the colours last.
        patches = frames.unflatten(2, (rows, patch)).unflatten(4, (columns, patch))
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        shape = torch.tensor([[rows, columns]])
        mask = torch.ones(1, rows * columns, dtype=torch.long)
        tokens = [
            self.model(
                pixel_values=self._place(picture[None]),
                pixel_attention_mask=mask.to(self.model.device),
                spatial_shapes=shape.to(self.model.device),
            ).last_hidden_state
            for picture in patches
        ]
        return torch.cat(tokens).view(len(frames), rows, columns, self.width)


def _fit_grid(ratio: float, most: int) -> tuple[int, int]:
    """Rows and columns of at most `most` patches, as near to a height / width of `ratio` as whole
    numbers come."""
    rows = max(1, min(most, round((most * ratio) ** 0.5)))
    columns = max(1, min(most // rows, round(rows / ratio)))
    return rows, columns
