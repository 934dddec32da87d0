"""A VIDEO that ComfyUI, or another pack, has changed is edited as it is shown, never as the raw
file behind it.
"""

import inspect
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange
from sama_core.errors import ClipError

from ..harness.moving_shapes import moving_shapes
from ..harness.turned_files import rotate
from ..harness.write_clip import write_clip

COUNT, SIZE, RATE = 12, (96, 64), 24


@pytest.fixture(scope="module")
def clip_file(comfyui):
    """A clip with stereo sound."""
    path = comfyui.base / "input" / "core_video.mp4"
    wave = 0.4 * torch.sin(torch.linspace(0, 3000, 24000))
    write_clip(
        path,
        moving_shapes(COUNT, *SIZE),
        Fraction(RATE),
        {"waveform": wave.expand(1, 2, -1), "sample_rate": 48000},
    )
    return str(path)


def read(video):
    """What SAMA Source Video takes of a VIDEO: the source's pictures in 0..1, and the record."""
    from sama_core.comfyui.video import read_source

    _, info = read_source(video, None, 24.0, ClipRange(), 32 * 32)
    pictures = [picture.pixels for picture in info.source.pictures(info.clip_range)]
    return torch.from_numpy(np.stack(pictures)).float() / 255, info


def is_shown(video, tolerance=0.01):
    """Asserts that what is read are the pixels, count and rate that ComfyUI shows; returns the
    record.
    """
    shown = video.get_components()
    pictures, info = read(video)
    assert pictures.shape == shown.images.shape
    assert (pictures - shown.images).abs().mean() < tolerance
    assert abs(info.fps - shown.frame_rate) < Fraction(1, 100)
    return info


# --- later ComfyUIs, emulated ------------------------------------------------------------------


def _edited_images(images, crop, size):
    import comfy.utils

    if crop:
        x, y, width, height = crop
        images = images[:, y : y + height, x : x + width]
    if not size:
        return images
    planes = comfy.utils.common_upscale(images.movedim(-1, 1), *size, "bilinear", "disabled")
    return planes.movedim(1, -1)


def later_class(tells: bool):
    """A VideoFromFile that can be cropped and resized; `tells` by has_pending_frame_edits, as core
    does since then.
    """
    from comfy_api.latest import InputImpl, Types

    class VideoFromFile(InputImpl.VideoFromFile):
        def __init__(self, file, *, start_time=0, duration=0, crop=None, size=None):
            super().__init__(file, start_time=start_time, duration=duration)
            self.window, self.crop, self.size, self.written = (start_time, duration), crop, size, []

        def _edited(self, **edit):
            start, duration = self.window
            return type(self)(self.get_stream_source(), start_time=start, duration=duration, **edit)

        def as_cropped(self, x, y, width, height):
            return self._edited(crop=(x, y, width, height))

        def as_resized(
            self, width, height, upscale_method="lanczos", crop="disabled", post_crop=None
        ):
            return self._edited(size=(width, height))

        def get_dimensions(self):
            return self.size or (self.crop[2:] if self.crop else super().get_dimensions())

        def get_components(self):
            parts = super().get_components()
            parts.images = _edited_images(parts.images, self.crop, self.size)
            return parts

        def save_to(
            self, path, format="auto", codec="auto", metadata=None, bit_depth=None, crf=None
        ):
            self.written.append(path)
            parts = self.get_components()
            rows, columns = (length // 2 * 2 for length in parts.images.shape[1:3])
            parts.images = parts.images[:, :rows, :columns]  # as core does for its encoders
            InputImpl.VideoFromComponents(parts).save_to(path, Types.VideoContainer.MP4, crf=crf)

    class TellingVideoFromFile(VideoFromFile):
        def has_pending_frame_edits(self):
            return self.crop is not None or self.size is not None

    return TellingVideoFromFile if tells else VideoFromFile


@pytest.fixture(params=[False, True], ids=["of 0.35", "of 0.46"])
def later(request, comfyui, monkeypatch):
    from comfy_api.latest import InputImpl

    kind = later_class(request.param)
    monkeypatch.setattr(InputImpl, "VideoFromFile", kind)
    return kind


def test_a_pending_crop_is_edited_and_not_the_file(later, clip_file):
    """The 64x48 crop of a 96x64 clip stays 64x48; it is read from a file of its own, frame by
    frame.
    """
    video = later(clip_file).as_cropped(8, 4, 64, 48)
    info = is_shown(video)
    assert (info.width, info.height, info.frame_count) == (64, 48, COUNT)
    assert len(video.written) == 1 and info.source.stream == video.written[0]
    assert info.audio["sample_rate"] == 48000 and info.audio["waveform"].shape[-1] == 24000


def test_a_pending_resize_is_edited_and_not_the_file(later, clip_file):
    video = later(clip_file).as_resized(48, 32)
    info = is_shown(video)
    assert (info.width, info.height, info.frame_count) == (48, 32, COUNT)
    assert len(video.written) == 1 and info.source.stream == video.written[0]


def test_a_crop_of_a_trimmed_clip_has_its_frames_alone(later, clip_file):
    """Frames 3 to 8 of 24 a second, and of them the rectangle."""
    video = later(clip_file, start_time=3 / RATE, duration=6 / RATE).as_cropped(8, 4, 64, 48)
    info = is_shown(video)
    assert (info.width, info.height, info.frame_count) == (64, 48, 6)


def test_the_result_of_a_crop_has_the_crops_size(later, clip_file):
    from sama_core.comfyui.restored_video import RestoredVideo
    from sama_core.comfyui.video import read_source

    video = later(clip_file).as_cropped(8, 4, 64, 48)
    frames, info = read_source(video, None, 24.0, ClipRange(), 32 * 32)
    buffer = io.BytesIO()
    RestoredVideo(frames, info, info.audio).save_to(buffer)
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height) == (64, 48)
        assert sum(1 for _ in container.decode(video=0)) == COUNT


def test_an_odd_crop_is_read_from_its_components(later, clip_file):
    """A file would lose a row and a column; what is shown has them."""
    info = is_shown(later(clip_file).as_cropped(3, 2, 61, 47), tolerance=1 / 255)
    assert (info.width, info.height) == (61, 47)


def test_an_edit_that_ends_at_the_files_own_size_is_no_file(comfyui, clip_file, monkeypatch):
    """Resized and back: only has_pending_frame_edits tells."""
    from comfy_api.latest import InputImpl

    kind = later_class(True)
    monkeypatch.setattr(InputImpl, "VideoFromFile", kind)
    video = kind(clip_file, crop=(0, 0, *SIZE))
    is_shown(video)
    assert len(video.written) == 1


def test_the_written_file_goes_with_its_reader(later, clip_file):
    import gc
    import os

    video = later(clip_file).as_cropped(8, 4, 64, 48)
    _, info = read(video)
    assert os.path.isfile(video.written[0])
    del info
    gc.collect()
    assert not os.path.exists(os.path.dirname(video.written[0]))


def test_another_rate_or_length_than_the_files_is_not_read_raw(comfyui, clip_file, monkeypatch):
    """What a later ComfyUI may invent: a VIDEO that plays faster, and shows so in what it says of
    itself.
    """
    from comfy_api.latest import InputImpl

    class VideoFromFile(later_class(False)):
        def get_frame_rate(self):
            return 2 * super().get_frame_rate()

        def get_duration(self):
            return super().get_duration() / 2

        def get_components(self):
            parts = super().get_components()
            parts.frame_rate, parts.audio = 2 * parts.frame_rate, None
            return parts

    monkeypatch.setattr(InputImpl, "VideoFromFile", VideoFromFile)
    assert is_shown(VideoFromFile(clip_file)).fps == 2 * RATE


def test_an_untouched_file_is_still_read_as_a_file(comfyui, clip_file):
    from comfy_api.latest import InputImpl

    _, info = read(InputImpl.VideoFromFile(clip_file))
    assert info.source.stream == clip_file
    with open(clip_file, "rb") as file:
        video = InputImpl.VideoFromFile(io.BytesIO(file.read()))
    _, info = read(video)
    assert info.source.stream is video.get_stream_source()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_clip_is_a_file_and_upright(comfyui, tmp_path, degrees):
    """ComfyUI states its size as stored, which is no crop."""
    from comfy_api.latest import InputImpl

    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, pixels in enumerate(moving_shapes(3, *SIZE)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    rotate(tmp_path / "phone.mp4", degrees)
    info = is_shown(InputImpl.VideoFromFile(str(tmp_path / "phone.mp4")), 0.02)
    assert info.source.stream == str(tmp_path / "phone.mp4")


# --- joined ------------------------------------------------------------------------------------


@pytest.fixture
def joined_class(comfyui, monkeypatch):
    """Core's VideoFromList where there is one; else what it does, as far as it matters here."""
    from comfy_api.latest import InputImpl, Types

    if hasattr(InputImpl, "VideoFromList"):
        return InputImpl.VideoFromList

    class VideoFromList(InputImpl.VideoFromComponents.__mro__[1]):
        def __init__(self, videos):
            self.videos = videos

        def get_components(self):
            parts = [video.get_components() for video in self.videos]
            images = torch.cat([part.images for part in parts])
            return Types.VideoComponents(images=images, frame_rate=parts[0].frame_rate)

        def get_dimensions(self):
            return self.videos[0].get_dimensions()

        def as_trimmed(self, *_, **__):
            raise NotImplementedError

        def get_stream_source(self):
            buffer = io.BytesIO()
            self.save_to(buffer, crf=23)
            buffer.seek(0)
            return buffer

        def save_to(
            self, path, format="auto", codec="auto", metadata=None, bit_depth=None, crf=None
        ):
            self.asked = crf
            InputImpl.VideoFromComponents(self.get_components()).save_to(
                path, Types.VideoContainer.MP4, crf=crf
            )

    monkeypatch.setattr(InputImpl, "VideoFromList", VideoFromList, raising=False)
    return VideoFromList


def test_joined_clips_are_read_from_their_stream(comfyui, joined_class, clip_file, monkeypatch):
    """Not through their components, which hold the whole clip in memory."""
    from comfy_api.latest import InputImpl

    video = joined_class([InputImpl.VideoFromFile(clip_file), InputImpl.VideoFromFile(clip_file)])
    expected = video.get_components().images
    pictures, info = read(video)
    assert (info.frame_count, info.source.name) == (2 * COUNT, "in memory")
    assert (pictures - expected).abs().mean() < 0.02


def test_a_trimmed_part_is_joined_without_loss(comfyui, joined_class, clip_file):
    from comfy_api.latest import InputImpl

    parts = [InputImpl.VideoFromFile(clip_file), InputImpl.VideoFromFile(clip_file, duration=0.25)]
    video = joined_class(parts)
    info = is_shown(video)
    assert info.frame_count == COUNT + 6 and getattr(video, "asked", 0) == 0


def test_a_file_that_is_broken_off_is_removed(comfyui):
    import comfy.model_management
    import folder_paths

    from sama_core.comfyui.core_video import _without_loss

    stop = comfy.model_management.InterruptProcessingException

    class Stopped:
        def save_to(self, path, **_options):
            with open(path, "wb") as file:
                file.write(bytes(1000))
            raise stop

    with pytest.raises(stop):
        _without_loss(Stopped())
    assert not list(Path(folder_paths.get_temp_directory()).glob("sama_*/edited.mp4"))


# --- other packs' objects ----------------------------------------------------------------------


def test_a_packs_own_subclass_is_not_read_raw(comfyui, clip_file):
    """It shows a negative of the file; methods of its own mean frames of its own, in the class or
    in the object.
    """
    from comfy_api.latest import InputImpl

    class Negative(InputImpl.VideoFromFile):
        def get_components(self):
            parts = super().get_components()
            parts.images = 1 - parts.images
            return parts

    class Named(InputImpl.VideoFromFile):
        label = "adds nothing to what is shown"

    is_shown(Negative(clip_file), 1 / 255)
    changed = InputImpl.VideoFromFile(clip_file)
    changed.get_components = Negative(clip_file).get_components
    is_shown(changed, 1 / 255)
    assert read(Named(clip_file))[1].source.stream == clip_file


@pytest.mark.parametrize("shape", [(COUNT, 32, 48), (COUNT, 32, 48, 1)])
def test_transparent_components_are_laid_on_black(comfyui, shape):
    from comfy_api.latest import Input, Types

    class Foreign(Input.Video):
        def get_components(self):
            return Types.VideoComponents(
                images=torch.ones(COUNT, 32, 48, 3),
                frame_rate=Fraction(25),
                alpha=torch.full(shape, 0.5),
            )

        def save_to(self, *_, **__):
            raise NotImplementedError

        as_trimmed = save_to

    pictures, _ = read(Foreign())
    assert torch.allclose(pictures, torch.tensor(128 / 255))


def given(**changes):
    """A VIDEO of ComfyUI's own, made of what another pack's node gives."""
    from comfy_api.latest import InputImpl, Types

    parts = {"images": torch.full((COUNT, 32, 48, 3), 0.5), "frame_rate": Fraction(25)}
    return InputImpl.VideoFromComponents(Types.VideoComponents(**{**parts, **changes}))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"images": torch.full((COUNT, 32, 48, 3), float("nan"))}, "NaN or infinite pixels"),
        ({"images": torch.ones(COUNT, 32, 48, 3, dtype=torch.uint8)}, "a tensor of uint8"),
        ({"images": torch.ones(32, 48, 3)}, r"of shape \[32, 48, 3\]"),
        ({"audio": {"waveform": torch.ones(1, 1, 99), "sample_rate": 0}}, "a sample rate of 0"),
        ({"audio": {"samples": torch.ones(1, 1, 99)}}, "the sound of the video: got a dictionary"),
    ],
)
def test_a_video_is_made_of_what_images_and_sound_hold(comfyui, changes, words):
    """As sockets of IMAGE and AUDIO are checked; else it would be edited as black or white."""
    from sama_core.errors import InputError

    with pytest.raises(InputError, match=words):
        read(given(**changes))


def test_a_video_with_a_batch_of_sounds_says_which_is_taken(comfyui):
    _, info = read(given(audio={"waveform": torch.zeros(3, 2, 48000), "sample_rate": 48000}))
    assert any("a batch of 3, and a video has one" in text for text in info.remarks())


def test_a_grey_video_is_read(comfyui):
    pictures, _ = read(given(images=torch.full((COUNT, 32, 48, 1), 0.5)))
    assert pictures.shape[-1] == 3 and torch.allclose(pictures, torch.tensor(128 / 255))


@pytest.mark.parametrize("brightest, said", [(1.2, False), (255.0, True)])
def test_pixels_far_above_white_are_remarked_on(comfyui, brightest, said):
    _, info = read(given(images=torch.full((COUNT, 32, 48, 3), brightest)))
    assert any("Pixels reach 255, where 1 is white" in text for text in info.remarks()) is said


def test_what_is_no_video_is_refused_by_name(comfyui):
    from sama_core.comfyui.video import read_source

    with pytest.raises(ClipError, match="video: got str, needs a VIDEO, as Load Video gives it"):
        read_source("clip.mp4", None, 24.0, ClipRange(), 1024)


# --- the real thing, where this ComfyUI has it -------------------------------------------------


def real(name):
    """Core's VideoFromFile, on cores that have the method."""
    from comfy_api.latest import InputImpl

    if not hasattr(InputImpl.VideoFromFile, name):
        pytest.skip(f"this ComfyUI's videos have no {name}")
    return InputImpl.VideoFromFile


@pytest.mark.parametrize("rectangle", [(8, 4, 64, 48), (0, 0, 32, 64)])
def test_cores_own_crop(comfyui, clip_file, rectangle):
    info = is_shown(real("as_cropped")(clip_file).as_cropped(*rectangle), 0.02)
    assert (info.width, info.height) == rectangle[2:]


@pytest.mark.parametrize("size", [(48, 32), (51, 33), SIZE])
def test_cores_own_resize(comfyui, clip_file, size):
    info = is_shown(
        real("as_resized")(clip_file).as_resized(48, 32, "area").as_resized(*size, "bilinear"), 0.02
    )
    assert (info.width, info.height) == size


def test_core_has_no_other_way_to_change_a_video_that_is_not_known_here(comfyui):
    """A later core with a new kind of edit fails here, and core_video.py is to be looked at."""
    from comfy_api.latest import InputImpl

    known = {"as_trimmed", "as_cropped", "as_resized"}
    ways = {
        name for name, _ in inspect.getmembers(InputImpl.VideoFromFile) if name.startswith("as_")
    }
    assert ways <= known
