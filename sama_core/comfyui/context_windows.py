"""Context windows and FreeNoise over the packed state: ComfyUI's own, which expect a 5-D video.

Every window sees all semantic tokens; their predictions are averaged over the windows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import ConditioningError, needed
from .streams import JointShape, find_packed, is_packed

_TIME = 2  # axis of the frames in (B, C, T, H, W)


class VideoWindows:
    """A context handler over the packed state, around ComfyUI's handler over the video.

    FreeNoise is off here because `free_noise` has shuffled the video's noise already; ComfyUI would
    shuffle the packed state. Unknown attributes are the wrapped handler's.
    """

    freenoise = False

    def __init__(self, handler: Any, shape: JointShape):
        """Raises ConditioningError for windows over another axis than time.

        SAMA works on whole pictures only.
        """
        dim = getattr(handler, "dim", _TIME)
        if dim != _TIME:
            raise ConditioningError(
                needed(
                    "context windows",
                    f"dim {dim}",
                    f"dim {_TIME}, the frames",
                    f"Set dim to {_TIME}, or use Wan Context Windows.",
                )
            )
        self.handler, self.shape = handler, shape

    def __getattr__(self, name: str) -> Any:
        if name == "handler":  # asked of a copy that is empty yet
            raise AttributeError(name)
        return getattr(self.handler, name)

    def should_use_context(self, model, conds, x_in: Tensor, *args, **kwargs) -> bool:
        """Whether the clip is longer than a window, in the handler's judgement."""
        video = _video(x_in, self.shape)
        return self.handler.should_use_context(model, conds, video, *args, **kwargs)

    def execute(
        self,
        calc_cond_batch: Callable,
        model,
        conds,
        x_in: Tensor,
        timestep,
        model_options,
        *args,
        **kwargs,
    ) -> list[Tensor]:
        """Predictions of the packed state (B, 1, N), one per conditioning.

        A CFG function that calls the model itself passes a video view, and gets videos.
        """
        given = (timestep, model_options, *args)
        whole = find_packed(x_in)
        if whole is not None:
            packed = self.shape.with_video(whole[1], x_in)
            outs = self.execute(calc_cond_batch, model, conds, packed, *given, **kwargs)
            return [self.shape.video_of(out) for out in outs]
        semantic_in = self.shape.semantic_of(x_in)
        semantics: list[list[Tensor]] = []

        def run_window(
            model, conds, video: Tensor, _timestep, options, *args, **kwargs
        ) -> list[Tensor]:
            """Predictions of one window's video (B, C, t, H, W); its semantics are noted."""
            window = options["transformer_options"].get("context_window")
            conds = _cut_masks(conds, window, self.shape)
            packed = self.shape.pack(video, semantic_in)
            outs = calc_cond_batch(model, conds, packed, timestep, options, *args, **kwargs)
            semantics.append([self.shape.semantic_of(out) for out in outs])
            return [self.shape.video_of(out) for out in outs]

        # ComfyUI indexes the timestep with frame numbers when the batch is larger than one.
        given = (timestep[:1], *given[1:])
        video = _video(x_in, self.shape)
        videos = self.handler.execute(run_window, model, conds, video, *given, **kwargs)
        averages = [torch.stack(each).mean(dim=0) for each in zip(*semantics, strict=True)]
        return [self.shape.pack(*streams) for streams in zip(videos, averages, strict=True)]


def _cut_masks(conds: list, window: Any, shape: JointShape) -> list:
    """The conditioning of one window: flat masks (1, N) are cut to its frames."""

    def cut(entry: dict) -> dict:
        if "mask" not in entry or window is None:
            return entry
        whole = entry["mask"].unsqueeze(1)
        frames = window.get_tensor(shape.video_of(whole), dim=_TIME)
        return {**entry, "mask": shape.with_video(whole, frames)[:, 0]}

    return [entries and [cut(entry) for entry in entries] for entries in conds]


def _video(x: Tensor, shape: JointShape) -> Tensor:
    """The video (B, C, T, H, W) of a packed state, or a view of one as it is."""
    if find_packed(x) is not None:
        return x
    if not is_packed(x):
        raise ConditioningError(
            needed(
                "context window",
                list(x.shape),
                "the packed joint state",
                "Put Prepare SAMA Model before the context-window node.",
            )
        )
    return shape.video_of(x)


def free_noise(options: dict, noise: Tensor, seed: int | None) -> Tensor:
    """The video noise (B, C, T, H, W), shuffled by the context handler where FreeNoise is on."""
    handler = options.get("context_handler")
    if not getattr(handler, "freenoise", False) or not hasattr(handler, "_apply_freenoise"):
        return noise
    return handler._apply_freenoise(noise.clone(), [], seed)
