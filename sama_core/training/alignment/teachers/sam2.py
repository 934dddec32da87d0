"""SAM 2 as the teacher of motion: its features of a subject that it tracks, in two directions.

    features   frame embeddings after memory attention, before the mask decoder (SAM2VideoX §4.1)
    forward    the first frame's mask, tracked to the last;  backward: the last frame's, in a clip
               turned round in time, its features turned back

On the prompted frame SAM 2 has no memory, and this model does not compute the feature at all when
the prompt is a mask. There the plain embedding of the frame stands. Unverified: the paper has no
rule for it; `AlignConfig.ends` leaves the pair beside the prompted frame to the other direction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import SamaError, needed
from .base import (
    IMAGENET,
    FrozenTeacher,
    check_features,
    check_frames,
    normalise,
    resize_frames,
)


class Sam2Teacher(FrozenTeacher):
    """A frozen `Sam2VideoModel`."""

    class_name, kind, tracks = "Sam2VideoModel", "sam2", True
    """As in `FrozenTeacher`."""
    model_types, published = ("sam2_video", "sam2"), "facebook/sam2.1-hiera-tiny"

    @staticmethod
    def read_width(settings: Any) -> int:
        """Channels of a feature, of a model's settings."""
        return int(settings.memory_attention_hidden_size)

    @torch.no_grad()
    def features(self, frames: Tensor, prompt: Tensor | None = None) -> dict[str, Tensor]:
        """{"forward", "backward"}: (F, h, w, width) each, in the clip's own order of frames.

        `prompt` (F, H, W) in 0..1: the subject's masks; of them the first and the last are used.
        Raises SamaError without them, and for a mask with nothing in it.
        """
        device = frames.device
        video = check_frames(frames, least=2)
        masks = _check_prompt(prompt, frames)
        side = self._side()
        video = normalise(resize_frames(video, side, side), *IMAGENET)
        forward = self._track(video, masks[0])
        backward = self._track(video.flip(0), masks[-1]).flip(0)
        found = {"forward": forward, "backward": backward}
        return {name: check_features(x.to(device).float(), self.key) for name, x in found.items()}

    def _side(self) -> int:
        side = self.model.config.image_size
        return side if isinstance(side, int) else side[0]

    def _track(self, video: Tensor, mask: Tensor) -> Tensor:
        """(F, 3, S, S) and the first frame's mask (H, W) → (F, h, w, width)."""
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        weight, side = next(self.model.parameters()), self._side()
        session = Sam2VideoInferenceSession(
            video=video.to(weight),
            video_height=side,
            video_width=side,
            inference_device=weight.device,
            inference_state_device=weight.device,
            video_storage_device=weight.device,
            dtype=weight.dtype,
        )
        subject = resize_frames(mask[None, None].expand(1, 3, -1, -1), side, side)[:, :1]
        number = session.obj_id_to_idx(1)
        session.add_mask_inputs(number, 0, (subject >= 0.5).to(weight))
        session.obj_with_new_inputs = [1]
        seen: list[Tensor] = []
        with _watch_decoder(self.model, seen):
            for frame in range(len(video)):
                self.model(session, frame_idx=frame)
        # Where the mask itself is the prompt the decoder is asked for its pointer alone: once a
        # frame.
        features = torch.cat([each[:1] for each in seen[-len(video) :]])
        if len(seen) != len(video):
            raise SamaError(
                needed(
                    "SAM 2",
                    f"{len(seen)} features for {len(video)} frames",
                    "one for each",
                    "Use another release of transformers.",
                )
            )
        return features.movedim(1, -1)


@contextmanager
def _watch_decoder(model: Any, seen: list[Tensor]) -> Iterator[None]:
    """Keep what the mask decoder is given: (1, width, h, w) for each frame."""

    def keep(_module: nn.Module, _args: tuple, given: dict[str, Any]) -> None:
        # `forward` runs in inference mode: a clone is an ordinary tensor again.
        seen.append(given["image_embeddings"].clone())

    handle = model.mask_decoder.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _check_prompt(prompt: Tensor | None, frames: Tensor) -> Tensor:
    """Masks (F, H, W). Raises SamaError where there is nothing to track."""
    if prompt is None or prompt.shape != frames.shape[:3]:
        got = "none" if prompt is None else f"shape {tuple(prompt.shape)}"
        raise SamaError(
            needed(
                "masks of the subject",
                got,
                f"{tuple(frames.shape[:3])}, one for each frame",
                "Give the subject's mask, from SAM 3 nodes or Changed Mask.",
            )
        )
    for place in (0, -1):
        if not (prompt[place] >= 0.5).any():
            raise SamaError(
                needed(
                    "masks of the subject",
                    f"an empty one on the {'last' if place else 'first'} frame",
                    "the subject on the first and the last frame",
                    "Choose frames in which it is seen.",
                )
            )
    return prompt.float()
