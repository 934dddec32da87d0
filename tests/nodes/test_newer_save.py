"""Our VIDEO in the hands of later ComfyUIs: what they pass to its methods, ask of it, and write
from it.
"""

import io
import json
import logging
from dataclasses import replace
from enum import StrEnum
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, FileSource, ImageSource, fit_clip
from sama_core.clip.colours import Colours
from sama_core.errors import ClipError

from ..comfyui.graphs import Graph, output
from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip

COUNT, SIZE, RATE = 12, (64, 48), 24
METADATA = {"prompt": {"1": {"class_type": "SAMAEdit"}}, "workflow": {"nodes": []}}


@pytest.fixture
def video(comfyui):
    return edited()


def edited(size=SIZE, colours=None, depth=8):
    """An edit of a clip with sound."""
    from sama_core.comfyui.restored_video import RestoredVideo

    images = torch.from_numpy(np.stack(list(moving_shapes(COUNT, *size)))) / 255
    frames, info = fit_clip(ImageSource(images, Fraction(RATE)), ClipRange(), 32 * 32)
    if colours:
        info = replace(info, facts=replace(info.facts, colours=colours, bit_depth=depth))
    sound = 0.3 * torch.sin(torch.linspace(0, 900, 24000))
    return RestoredVideo(frames, info, {"waveform": sound.expand(1, 2, -1), "sample_rate": 48000})


def stream_of(target):
    """(codec, size, pixel format, transfer, frames, container) of what was written."""
    source = io.BytesIO(target.getvalue()) if isinstance(target, io.BytesIO) else str(target)
    with av.open(source) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        frames = sum(1 for _ in container.decode(stream))
        return (
            context.codec.canonical_name,
            (context.width, context.height),
            context.pix_fmt,
            frames,
            container.format.name,
        )


# --- save_to -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"color_space": None, "crf": None},
        {"color_space": "sRGB", "crf": 20.0, "bit_depth": 10},
        {"preset": "ultrafast"},
        {"preset": "p7", "color_space": "ACES"},
        {
            "preset": None,
            "color_space": "auto",
            "denoise_audio": True,
            "target_size_mb": 8,
            "hooks": object(),
        },
    ],
)
def test_save_to_takes_what_later_versions_pass(video, tmp_path, asked):
    path = tmp_path / "out.mp4"
    assert video.save_to(str(path), format="mp4", codec="h264", metadata=METADATA, **asked) is None
    codec, size, pixels, frames, _ = stream_of(path)
    assert (codec, size, frames) == ("h264", SIZE, COUNT)
    assert pixels == ("yuv420p10le" if asked.get("bit_depth") else "yuv420p")
    with av.open(str(path)) as container:
        assert {name: json.loads(container.metadata[name]) for name in METADATA} == METADATA


def test_save_to_keeps_the_order_of_the_newest_core(video, tmp_path):
    """Core's positions as of its 0.35: what is passed without a name lands where it belongs."""
    video.save_to(str(tmp_path / "out.mp4"), "mp4", "h264", METADATA, 10, 30.0, "sRGB", "veryfast")
    assert stream_of(tmp_path / "out.mp4")[2] == "yuv420p10le"


def test_what_has_no_effect_is_said_once(video, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            video.save_to(io.BytesIO(), sharpen_by_2031=True)
            video.get_components(on_device_2031="cuda")
    assert [line for line in caplog.messages if "2031" in line] == [
        (
            "SAMA: RestoredVideo.save_to does not know what this ComfyUI asks for with "
            "'sharpen_by_2031'; it continues without."
        ),
        (
            "SAMA: RestoredVideo.get_components does not know what this ComfyUI asks for with "
            "'on_device_2031'; it continues without."
        ),
    ]


def test_every_method_takes_keywords_that_do_not_exist_yet(video):
    for name in (
        "get_components",
        "get_stream_source",
        "get_dimensions",
        "get_bit_depth",
        "get_duration",
        "get_frame_count",
        "get_frame_rate",
        "get_container_format",
        "get_color_space",
        "get_display_dimensions",
        "get_active_trim_window",
        "has_pending_frame_edits",
    ):
        getattr(video, name)(asked_in_2031=1)
    assert video.as_trimmed(0.0, 0.25, strict_duration=True, snap="keyframe").get_frame_count() == 6
    assert video.as_cropped(0, 0, 32, 16, feather=3).get_dimensions() == (32, 16)
    assert video.as_resized(32, 24, "bilinear", gamma=True).get_dimensions() == (32, 24)


class Container(StrEnum):
    """Core's list of containers since 0.33."""

    AUTO, MP4, MKV, WEBM = "auto", "mp4", "mkv", "webm"


@pytest.mark.parametrize("form", [Container.MKV, "mkv", "MKV"])
def test_mkv_into_a_buffer_as_concatenate_video_asks(video, form):
    buffer = io.BytesIO()
    video.save_to(buffer, format=form, codec="auto")
    assert stream_of(buffer) == ("h264", SIZE, "yuv420p", COUNT, "matroska,webm")


def test_the_ending_chooses_where_the_format_is_auto(video, tmp_path):
    video.save_to(tmp_path / "out.mkv", metadata=METADATA)
    assert stream_of(tmp_path / "out.mkv")[4] == "matroska,webm"
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert json.loads(container.metadata["WORKFLOW"]) == METADATA["workflow"]


# --- what only ComfyUI writes ------------------------------------------------------------------


def core_offers(kind, name):
    from comfy_api.latest import Types

    return name in [member.value for member in getattr(Types, kind)]


def test_webm_and_av1_are_written_by_core_where_it_offers_them(comfyui, tmp_path):
    """Through an object of core's own: nearly lossless in, core's encoder out; else named as not
    offered.
    """
    made = {
        "webm": ("out.webm", {"format": "webm"}),
        "av1": ("out.mp4", {"codec": "av1", "crf": 20.0}),
        "mkv": ("out.mkv", {"format": "mkv", "codec": "av1"}),
    }
    offered = core_offers("VideoContainer", "webm") and core_offers("VideoCodec", "av1")
    for name, (file, asked) in made.items():
        (tmp_path / name).mkdir()
        path, video = tmp_path / name / file, edited((160, 96))
        if not offered:
            with pytest.raises(
                ClipError, match="this ComfyUI writes. Set it to auto in Save Video, or update"
            ):
                video.save_to(str(path), metadata=METADATA, **asked)
            assert list(path.parent.iterdir()) == []
            continue
        video.save_to(str(path), metadata=METADATA, preset="ultrafast", **asked)
        assert stream_of(path)[:2] == ("av1", (160, 96)) and stream_of(path)[3] == COUNT
        assert [entry.name for entry in path.parent.iterdir()] == [file]
        pairs = zip(
            FileSource(str(path)).frames(ClipRange()), video.get_components().images, strict=True
        )
        assert max(np.abs(one / 255 - two.numpy()).mean() for one, two in pairs) < 0.05
        buffer = io.BytesIO()
        video.save_to(buffer, **asked)
        assert stream_of(buffer)[3] == COUNT


@pytest.fixture
def core_of_033(comfyui, monkeypatch):
    """What a later core changes for us: its lists, and a VideoFromFile that writes more."""
    from comfy_api.latest import Types

    from sama_core.comfyui import transcode

    written = []

    class Codec(StrEnum):
        AUTO, H264, AV1 = "auto", "h264", "av1"

    class CoreVideo:
        def __init__(self, file):
            self.file = file

        def save_to(
            self,
            path,
            format=None,
            codec=None,
            metadata=None,
            bit_depth=None,
            crf=None,
            color_space=None,
        ):
            facts = FileSource(self.file).facts()
            written.append(
                {
                    "size": (facts.width, facts.height),
                    "crf": crf,
                    "metadata": metadata,
                    "format": format,
                }
            )
            if crf == 99:
                if not hasattr(path, "write"):
                    with open(path, "wb") as half:
                        half.write(b"half")
                raise ValueError("crf too large")
            if hasattr(path, "write"):
                path.write(b"webm of core")
            else:
                with open(path, "wb") as file:
                    file.write(b"webm of core")

    monkeypatch.setattr(Types, "VideoContainer", Container)
    monkeypatch.setattr(Types, "VideoCodec", Codec)
    monkeypatch.setattr(transcode.InputImpl, "VideoFromFile", CoreVideo)
    return written


def test_core_gets_the_edit_and_what_it_can_take_of_the_wishes(core_of_033, tmp_path):
    edited().save_to(
        tmp_path / "out.webm",
        format="webm",
        metadata=METADATA,
        crf=31.0,
        preset="veryslow",
        invented="later",
    )
    buffer = io.BytesIO()
    edited().save_to(buffer, format="webm")
    assert (tmp_path / "out.webm").read_bytes() == buffer.getvalue() == b"webm of core"
    tags = {name: json.dumps(value) for name, value in METADATA.items()}
    assert core_of_033 == [
        {"size": SIZE, "crf": 31.0, "metadata": tags, "format": Container.WEBM},
        {"size": SIZE, "crf": None, "metadata": None, "format": Container.WEBM},
    ]


def test_what_core_fails_at_leaves_the_old_file_and_keeps_the_edit(core_of_033, comfyui, tmp_path):
    path = tmp_path / "out.webm"
    path.write_bytes(b"the old file")
    with pytest.raises(
        ClipError,
        match=r"got webm with av1 \(crf too large\).* The edit is kept as output/sama_resc",
    ):
        edited().save_to(path, format="webm", crf=99)
    assert path.read_bytes() == b"the old file" and [
        entry.name for entry in tmp_path.iterdir()
    ] == ["out.webm"]


@pytest.mark.parametrize(
    "size, asked, words",
    [
        (
            SIZE,
            {"format": "gif"},
            "video format: got gif, needs one of auto, mkv, mp4, webm, which this ComfyUI writes",
        ),
        (
            SIZE,
            {"codec": "vvc"},
            "video codec: got vvc, needs one of auto, av1, h264, which this ComfyUI writes",
        ),
        (
            SIZE,
            {"format": "webm", "codec": "h264"},
            "video codec: got h264 in webm, needs auto or av1 there",
        ),
        ((45, 33), {"format": "webm"}, "video size: got 45x33, needs even sides for webm with av1"),
    ],
)
def test_what_no_one_writes_is_refused_by_name(core_of_033, tmp_path, size, asked, words):
    with pytest.raises(ClipError, match=words):
        edited(size).save_to(tmp_path / "out", **asked)
    assert core_of_033 == [] and list(tmp_path.iterdir()) == []


def test_save_video_writes_every_form_that_this_core_offers(comfyui):
    """Core's own node, through the executor: on 0.30 mp4, since 0.33 mkv and webm too, each with
    each codec.
    """
    from comfy_api.latest import Types

    write_clip(comfyui.base / "input" / "forms.mp4", moving_shapes(COUNT, *SIZE), Fraction(RATE))
    for form in Types.VideoContainer:
        for codec in Types.VideoCodec:
            if (form.value, codec.value) == ("webm", "h264"):
                continue
            graph = Graph()
            source = graph.add(
                "SAMASourceVideo",
                video=graph.add("LoadVideo", file="forms.mp4"),
                frames=0,
                start=0,
                stride=1,
                area=1024,
                fps=24.0,
            )
            finish = graph.add(
                "SAMAFinishVideo",
                frames=source,
                clip_info=output(source, 1),
                audio=output(source, 2),
            )
            folder = f"forms/{form.value} {codec.value}"
            choice = {"format": form.value, "format.codec": codec.value, "codec": codec.value}
            graph.add("SaveVideo", video=finish, filename_prefix=f"{folder}/clip", **choice)
            comfyui.run(graph.nodes).check()
            (path,) = (comfyui.base / "output" / folder).iterdir()
            kind, size, _, frames, _ = stream_of(path)
            expected = "av1" if codec.value == "av1" or form.value == "webm" else "h264"
            assert (kind, size, frames) == (expected, SIZE, COUNT)


# --- colours -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stated, name",
    [
        (None, "sRGB"),
        (Colours(1, 1, 1), "sRGB"),
        (Colours(6, 6, 6), "sRGB"),
        (Colours(9, 9, 18), "HDR"),
        (Colours(9, 9, 16), "HDR PQ"),
    ],
)
def test_color_space_is_one_that_create_video_knows(comfyui, stated, name):
    """What our VIDEO says of itself, and what core reads from the file it writes."""
    from comfy_api.latest import InputImpl

    video = edited(colours=stated, depth=10 if stated and stated.hdr else 8)
    assert video.get_color_space() == name
    if hasattr(InputImpl.VideoFromFile, "get_color_space"):
        assert InputImpl.VideoFromFile(video.get_stream_source()).get_color_space() == name


@pytest.mark.parametrize(
    "stated, asked, written",
    [
        (None, "sRGB", Colours(1, 1, 13)),
        (None, "HDR", Colours(9, 9, 18)),
        (None, "HDR PQ", Colours(9, 9, 16)),
        (Colours(6, 6, 6), "sRGB", Colours(6, 6, 6)),
        (Colours(9, 9, 16), "HDR PQ", Colours(9, 9, 16)),
        (Colours(1, 1, 1), "HDR", Colours(1, 1, 1)),
        (Colours(9, 9, 16), "sRGB", Colours(9, 9, 16)),
    ],
)
def test_color_space_is_honoured_where_it_is_true(comfyui, caplog, stated, asked, written):
    """A source that says what it is stays so: nothing converts light, and the log says why."""
    buffer, video = io.BytesIO(), edited(colours=stated)
    video.save_to(buffer, color_space=asked)
    source = FileSource(io.BytesIO(buffer.getvalue()))
    assert source.facts().colours == written
    assert source.facts().bit_depth == (10 if written.hdr and not stated else 8)
    assert ("saving converts no colours" in caplog.text) == (
        bool(stated) and video.get_color_space() != asked
    )
    expected = video.get_components().images[0].numpy()
    assert np.abs(next(source.frames(ClipRange())) / 255 - expected).mean() < 0.02


# --- crop, resize, join ------------------------------------------------------------------------


def test_cropped_and_resized_are_the_right_pixels(video):
    whole = video.get_components().images
    part = video.as_cropped(16, 8, 33, 21)
    assert part.get_dimensions() == (32, 20)
    pictures = part.get_components().images
    assert (pictures - whole[:, 8:28, 16:48]).abs().mean() < 0.02
    assert part.get_components().audio["sample_rate"] == 48000 and part.get_frame_rate() == RATE
    assert (
        video.as_cropped(0, 0, 0, 0).get_dimensions()
        == video.as_cropped(-3, 0, 999, 999).get_dimensions()
        == SIZE
    )
    small = video.as_resized(32, 24, "area")
    assert small.get_dimensions() == (32, 24) and small.get_frame_count() == COUNT
    averaged = whole.unflatten(1, (24, 2)).unflatten(3, (32, 2)).mean(dim=(2, 4))
    assert (small.get_components().images - averaged).abs().mean() < 0.02
    assert video.as_resized(32, 24, "area", "disabled", (4, 2, 16, 12)).get_dimensions() == (16, 12)
    assert not video.has_pending_frame_edits() and video.get_active_trim_window() == (0.0, 0.0)


def test_a_core_that_crops_as_it_reads_gets_the_encoded_edit(video, monkeypatch):
    """Not all frames at once: its own lazy crop and resize on what our VIDEO is encoded to."""
    from comfy_api.latest import InputImpl

    class VideoFromFile(InputImpl.VideoFromFile):
        def as_cropped(self, *rectangle):
            return "cropped", rectangle, self.get_dimensions()

        def as_resized(self, *size):
            return "resized", size, self.get_frame_count()

    monkeypatch.setattr(InputImpl, "VideoFromFile", VideoFromFile)
    monkeypatch.setattr(type(video), "get_components", lambda *_: pytest.fail("all frames at once"))
    assert video.as_cropped(16, 8, 32, 20) == ("cropped", (16, 8, 32, 20), SIZE)
    assert video.as_resized(32, 24, "area") == (
        "resized",
        (32, 24, "area", "disabled", None),
        COUNT,
    )


def test_metadata_that_is_no_json_does_not_cost_the_edit(video):
    buffer = io.BytesIO()
    video.save_to(
        buffer, metadata={"prompt": {"1": {"inputs": {"model": object(), "at": Fraction(1, 3)}}}}
    )
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        assert json.loads(container.metadata["prompt"])["1"]["inputs"]["at"] == "1/3"


@pytest.mark.parametrize("later", [True, False])
def test_videos_joined_by_core_hold_our_edit(comfyui, tmp_path, later):
    """A list of videos takes ours as an mkv in memory and reads its packets; where core has none,
    the same by hand.
    """
    from comfy_api.latest import InputImpl, Types

    joins = getattr(InputImpl, "VideoFromList", None)
    if later and joins is not None:
        joined = joins([edited(), edited()])
        assert joined.get_components().images.shape[0] == 2 * COUNT
        return
    buffer = io.BytesIO()
    edited().save_to(
        buffer, format=getattr(Types.VideoContainer, "MKV", "mkv"), codec=Types.VideoCodec.AUTO
    )
    part = InputImpl.VideoFromFile(buffer)
    assert part.get_dimensions() == SIZE and part.get_components().images.shape[0] == COUNT
