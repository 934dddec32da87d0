"""A VIDEO of the pack, cropped or resized by ComfyUI's video nodes."""

from collections.abc import Callable

import comfy.utils
from comfy_api.latest import Input, InputImpl, Types
from torch import Tensor


def cropped(video: Input.Video, x: int, y: int, width: int, height: int) -> Input.Video:
    """The rectangle of every frame; the video itself where that is empty or all of it.

    A later ComfyUI crops the encoded video as it is read, which keeps its times and holds no more than a frame.
    Else all frames are held, 25 MB for each of 1080p; sides are made even, as ComfyUI does for its encoders.
    """
    if hasattr(InputImpl.VideoFromFile, "as_cropped"):
        return InputImpl.VideoFromFile(video.get_stream_source()).as_cropped(x, y, width, height)
    whole_width, whole_height = video.get_dimensions()
    x, y = max(0, min(x, whole_width)), max(0, min(y, whole_height))
    width, height = min(width, whole_width - x) // 2 * 2, min(height, whole_height - y) // 2 * 2
    if width <= 0 or height <= 0 or (width, height) == (whole_width, whole_height):
        return video
    return _reframed(video, lambda images: images[:, y:y + height, x:x + width].clone())


def resized(video: Input.Video, width: int, height: int, upscale_method: str, crop: str,
            post_crop: tuple[int, int, int, int] | None) -> Input.Video:
    """Every frame scaled by ComfyUI's own resampling, then cut to `post_crop`; as `cropped` otherwise."""
    if hasattr(InputImpl.VideoFromFile, "as_resized"):
        return InputImpl.VideoFromFile(video.get_stream_source()).as_resized(width, height, upscale_method, crop,
                                                                             post_crop)

    def scale(images: Tensor) -> Tensor:
        scaled = comfy.utils.common_upscale(images.movedim(-1, 1), width, height, upscale_method, crop).movedim(1, -1)
        left, top, columns, rows = post_crop or (0, 0, width, height)
        return scaled[:, top:top + rows, left:left + columns].contiguous()
    return _reframed(video, scale)


def _reframed(video: Input.Video, change: Callable[[Tensor], Tensor]) -> Input.Video:
    parts = video.get_components()
    return InputImpl.VideoFromComponents(
        Types.VideoComponents(images=change(parts.images), audio=parts.audio, frame_rate=parts.frame_rate),
        bit_depth=video.get_bit_depth())
