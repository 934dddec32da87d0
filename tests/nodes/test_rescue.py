"""An edit that cannot be saved is kept: without loss, loadable by ComfyUI's own nodes, and the
error says where.
"""

import io
import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, save
from sama_core.errors import ClipError

from ..comfyui.graphs import Edit, Graph, output
from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip

COUNT, SIZE = 10, (96, 40)


@pytest.fixture
def graph(comfyui):
    path = comfyui.base / "input" / "rescue.mp4"
    if not path.exists():
        write_clip(path, moving_shapes(COUNT, *SIZE), Fraction(25))
    made = Graph()
    made.comfyui = comfyui
    made.source = made.add(
        "SAMASourceVideo",
        video=made.add("LoadVideo", file="rescue.mp4"),
        frames=0,
        start=0,
        stride=1,
        area=32 * 32,
        fps=24.0,
    )
    made.finish = made.add("SAMAFinishVideo", frames=made.source, clip_info=output(made.source, 1))
    return made


def result(graph):
    return value(graph, graph.finish)


def value(graph, link):
    return graph.comfyui.run(graph.nodes, keep=[link[0]]).check().values[link[0]][0]


@pytest.fixture
def rescued(comfyui):
    """Files kept under the base directory since the test began."""

    def kept():
        return set(comfyui.base.rglob("sama_rescued/*"))

    before = kept()
    return lambda: kept() - before


def test_the_kept_edit_can_be_loaded_and_saved(graph, rescued, tmp_path):
    """Load Video → Get Video Components → SAMA Finish Video, as the error says: the same frames, to
    the bit.
    """
    video = value(graph, graph.finish)
    video.frames = video.frames * 0.9
    with pytest.raises(ClipError) as caught:
        video.save_to(str(tmp_path / "nowhere" / "out.mp4"), metadata={"workflow": {"nodes": [1]}})
    (kept,) = rescued()
    text = str(caught.value)
    assert text.startswith(
        "out.mp4: got No such file or directory, needs room and permission to write it."
    )
    assert (
        f"The edit is kept as output/sama_rescued/{kept.name}. To continue from it: Load Video → "
        "Get Video" in text
    )
    with av.open(str(kept)) as container:
        assert json.loads(container.metadata["workflow"]) == {"nodes": [1]}
    loaded = graph.add("LoadVideo", file=f"sama_rescued/{kept.name} [output]")
    frames = graph.add("GetVideoComponents", video=loaded)
    again = graph.add("SAMAFinishVideo", frames=frames, clip_info=output(graph.source, 1))
    back = value(graph, again)
    expected = (video.frames[:COUNT] * 255).round() / 255
    assert torch.allclose(back.frames, expected, atol=1e-6)
    assert torch.allclose(back.get_components().images, video.get_components().images, atol=2 / 255)


def test_deep_clips_are_kept_deep(graph, rescued):
    from sama_core.comfyui.saving import keep_edit

    video = value(graph, graph.finish)
    frames = torch.rand(COUNT, *video.frames.shape[1:], generator=torch.Generator().manual_seed(1))
    info = replace(video.info, facts=replace(video.info.facts, bit_depth=10))
    kept = keep_edit(frames, info)
    from comfy_api.latest import InputImpl

    assert (
        InputImpl.VideoFromFile(str(kept)).get_components().images - frames
    ).abs().max() < 1 / 1023


def test_it_is_kept_once_however_often_saving_fails(graph, rescued, tmp_path):
    video = value(graph, graph.finish)
    for _ in range(3):
        with pytest.raises(ClipError, match="The edit is kept as output/sama_rescued/"):
            video.save_to(str(tmp_path / "nowhere" / "out.mp4"))
    assert len(rescued()) == 1
    rescued().pop().unlink()
    with pytest.raises(ClipError, match="The edit is kept as"):
        video.save_to(str(tmp_path / "nowhere" / "out.mp4"))
    assert len(rescued()) == 1


@pytest.mark.parametrize("room", [0, 1000])
def test_a_full_disk_is_told_with_what_still_helps(graph, rescued, tmp_path, room):
    """No folder takes the edit: no incomplete file is left, the old file stays, and the cache
    still has it.
    """
    resource = pytest.importorskip(
        "resource", reason="file size limits stand in for a full disk; Unix only"
    )
    video = value(graph, graph.finish)
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the old file")
    folders = set(graph.comfyui.base.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(
            ClipError,
            match="Free disk space .*The edit could not be kept on disk either, but ComfyUI "
            "still holds it: solve this and queue the same workflow again",
        ):
            video.save_to(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"the old file" and len(list(tmp_path.iterdir())) == 1
    assert not rescued() and set(graph.comfyui.base.rglob("*")) == folders


def test_queueing_again_after_a_full_disk_samples_nothing(graph, monkeypatch):
    """What that error promises: ComfyUI kept what came before Save Video."""
    graph.add(
        "SaveVideo", video=graph.finish, filename_prefix="again/clip", format="auto", codec="auto"
    )
    real = save._write

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save, "_write", full)
    failed = graph.comfyui.run(graph.nodes)
    assert "No space left on device" in failed.errors[0] and "sama_rescued" in failed.errors[0]
    monkeypatch.setattr(save, "_write", real)
    result = graph.comfyui.run(graph.nodes, warm=True).check()
    executed = {
        data["node"] for event, data in result.messages if event == "executing" and data["node"]
    }
    assert {graph.nodes[node]["class_type"] for node in executed} == {"SaveVideo"}


def test_what_stops_the_work_on_purpose_keeps_nothing(graph, rescued, monkeypatch):
    import comfy.model_management
    import nodes

    video, real = value(graph, graph.finish), save.make_pictures

    def and_the_user_stops(*arguments):
        nodes.interrupt_processing(True)
        return real(*arguments)

    monkeypatch.setattr(save, "make_pictures", and_the_user_stops)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        video.save_to(io.BytesIO())
    assert not rescued()


def test_errors_of_the_machine_are_told_in_our_words(graph, rescued, monkeypatch):
    video = value(graph, graph.finish)

    def fails(*_, **__):
        raise MemoryError("no room for a picture")

    monkeypatch.setattr(save, "_write", fails)
    with pytest.raises(
        ClipError, match="saving: got MemoryError: no room for a picture, needs a video that can be"
    ):
        video.save_to(io.BytesIO())
    assert len(rescued()) == 1


class Untold:
    def __str__(self):
        raise RuntimeError("not now")


def nested(depth):
    inner = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "value", ["half \ud83d", {"half": "\ud83d"}, {("a", "b"): 1}, nested(5000), Untold(), b"raw"]
)
def test_no_edit_fails_for_its_tags(graph, rescued, tmp_path, value):
    """Prompts of API calls hold anything; what is no text is left out, half characters become
    question marks.
    """
    result(graph).save_to(
        str(tmp_path / "out.mp4"), metadata={"prompt": value, 3: "three", "key \udc00": "kept"}
    )
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == COUNT
        assert container.metadata["3"] == "three" and container.metadata["key ?"] == "kept"
    assert not rescued()


@pytest.mark.parametrize("settings", [{"crf": float("nan")}, {"bit_depth": "ten"}])
def test_what_is_asked_for_in_vain_loses_nothing(graph, rescued, tmp_path, settings):
    with pytest.raises(ClipError, match="The edit is kept as output/sama_rescued/"):
        value(graph, graph.finish).save_to(
            str(tmp_path / "out.mp4"), color_space="HDR PQ", **settings
        )
    assert len(rescued()) == 1 and not list(tmp_path.iterdir())


# --- what is known before the work begins ------------------------------------------------------


def with_seven_channels(path: Path):
    """PCM, which no mp4 takes, of 7 channels."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = container.add_stream("pcm_s16le", rate=48000, layout="6.1")
        for number, pixels in enumerate(moving_shapes(10, 64, 48)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(
            np.full((1, 7 * 19200), 3000, np.int16), format="s16", layout="6.1"
        )
        sound.sample_rate, sound.pts = 48000, 0
        container.mux([*track.encode(sound), *track.encode(None)])


def test_seven_channel_sound_is_told_at_the_source_and_saved_in_stereo(comfyui):
    """From Load Video to Save Video: told before an edit begins, and no failure after it."""
    with_seven_channels(comfyui.base / "input" / "seven.mkv")
    graph = Graph()
    source = graph.add(
        "SAMASourceVideo",
        video=graph.add("LoadVideo", file="seven.mkv"),
        frames=0,
        start=0,
        stride=1,
        area=32 * 32,
        fps=24.0,
    )
    finish = graph.add(
        "SAMAFinishVideo", frames=source, clip_info=output(source, 1), audio=output(source, 2)
    )
    graph.add("SaveVideo", video=finish, filename_prefix="seven/clip", format="auto", codec="auto")
    result = comfyui.run(graph.nodes).check()
    said = [bytes(data) for _, data in result.messages if isinstance(data, bytes | bytearray)]
    told = [text for text in said if re.search(rb"The sound has 7 channels.*stereo mix", text)]
    assert len(told) == 2, "by SAMA Source Video and by SAMA Finish Video"
    (path,) = (comfyui.base / "output" / "seven").iterdir()
    with av.open(str(path)) as container:
        assert container.streams.audio[0].channels == 2
        assert sum(1 for _ in container.decode(video=0)) == 10


def ahead(graph, **settings):
    """The run of a graph that saves with `settings`, and the classes of the nodes that ran."""
    graph.add(
        "SaveVideo",
        video=graph.finish,
        **{"filename_prefix": "ahead/clip", "format": "auto", "codec": "auto", **settings},
    )
    result = graph.comfyui.run(graph.nodes)
    ran = {data["node"] for event, data in result.messages if event == "executing" and data["node"]}
    return result, {graph.nodes[node]["class_type"] for node in ran}


@pytest.mark.parametrize(
    "prefix, words",
    [
        ("x" * 300, "File name too long"),
        ("rescue_file.txt/clip", "File exists|Not a directory"),
        ("../../outside/clip", "needs a place in the output folder"),
        ("/etc/clip", "needs a place in the output folder"),
    ],
)
def test_a_name_that_cannot_be_written_stops_before_the_edit(graph, prefix, words):
    """At SAMA Source Video: nothing behind it has run."""
    (graph.comfyui.base / "output" / "rescue_file.txt").write_text("in the way")
    result, ran = ahead(graph, filename_prefix=prefix)
    assert re.search(f"Save Video's filename_prefix: got .*({words})", result.errors[0])
    assert "SAMASourceVideo" in ran and "SAMAFinishVideo" not in ran


@pytest.mark.parametrize("prefix", ["../outside/clip", "a\0b", "x" * 300])
@pytest.mark.parametrize("kind", ["SAMAEdit", "SAMALongEdit"])
def test_a_graph_queued_again_with_a_name_that_cannot_be_written(comfyui, small, kind, prefix):
    """The source is kept from the run before, and its look ahead with it: the node that samples
    looks too.
    """
    edit = Edit(comfyui, small, area=32 * 32)
    comfyui.run(edit.nodes, keep=[edit.source[0]], warm=True).check()
    long = (
        {}
        if kind == "SAMAEdit"
        else {
            "segment_frames": 9,
            "overlap_frames": 4,
            "anchor_colours": False,
            "keep_segments": False,
        }
    )
    frames = edit.add(
        kind,
        model=edit.model,
        clip=edit.clip,
        vae=edit.vae,
        frames=edit.source,
        seed=1,
        steps=1,
        cfg=1.0,
        shift=5.0,
        instruction="make the circle red",
        sampler_name="euler",
        edit_tag=True,
        tiling="automatic",
        **long,
    )
    scaled = edit.add("ImageScaleBy", image=frames, upscale_method="bilinear", scale_by=1.0)
    finished = edit.add("SAMAFinishVideo", frames=scaled, clip_info=output(edit.source, 1))
    edit.add("SaveVideo", video=finished, filename_prefix=prefix, format="auto", codec="auto")
    result = comfyui.run(edit.nodes, warm=True)
    assert re.search("Save Video's filename_prefix: got ", result.errors[0])
    ran = {
        edit.nodes[data["node"]]["class_type"]
        for event, data in result.messages
        if event == "executing" and data["node"]
    }
    assert kind in ran and not ran & {
        "SAMASourceVideo",
        "ImageScaleBy",
        "SAMAFinishVideo",
        "SaveVideo",
    }


def test_values_that_look_like_links_are_passed_by():
    """Lists, numbers and whatever else other packs' widgets hold, and graphs that go in circles."""
    from sama_core.comfyui.saving import check_saving_of

    odd = {
        "points": [[1, 2], [3, 4]],
        "one": [{}, 0],
        "none": [],
        "numbers": [1, 2],
        "lost": ["absent", 0],
    }
    prompt = {
        "1": {"class_type": "SAMAEdit", "inputs": odd},
        "2": {"class_type": "Loop", "inputs": {"a": ["1", 0], "b": ["3", 0]}},
        "3": {"class_type": "Loop", "inputs": {"a": ["2", 0], **odd}},
        "4": {"class_type": "SAMAFinishVideo", "inputs": {"frames": ["3", 0]}},
        "6": {"class_type": "Note"},
        "5": {"class_type": "SaveVideo", "inputs": {"video": ["4", 0], "filename_prefix": "../x"}},
    }
    assert check_saving_of(prompt, "6") is None is check_saving_of(None, None)
    with pytest.raises(ClipError, match="needs a place in the output folder"):
        check_saving_of(prompt, "1")


def test_a_full_output_folder_stops_before_the_edit(graph, monkeypatch):
    from sama_core.comfyui import saving as saving_ahead

    usage = saving_ahead.shutil.disk_usage("/")
    monkeypatch.setattr(saving_ahead.shutil, "disk_usage", lambda _: usage._replace(free=100))
    result, ran = ahead(graph)
    assert "room for the result: got 0.0 MB free in the output folder" in result.errors[0]
    assert "SAMAFinishVideo" not in ran


def test_what_will_be_saved_is_not_held_up(graph):
    """Folders that do not exist yet, names with dates, a result that passes through other nodes."""
    for prefix in ("ahead/new/folder/clip", "ahead/%date:yyyy%/clip", "ahead/käse 🎬"):
        ahead(graph, filename_prefix=prefix)[0].check()
        graph.nodes.popitem()
    assert not list((graph.comfyui.base / "output" / "ahead").rglob("*.part"))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"format": "webm"}, "video format: got webm, needs one of auto"),
        ({"format": "mp4", "codec": "av1"}, "video codec: got av1, needs one of auto"),
        ({"format": "mp4", "format.codec": "vp9"}, "video codec: got vp9, needs one of auto"),
    ],
)
def test_a_form_that_this_comfyui_does_not_write_is_known_ahead(graph, settings, words):
    """ComfyUI refuses such a choice itself where its list lacks it; a graph of a later one is told
    why.
    """
    from comfy_api.latest import Types

    from sama_core.comfyui.saving import check_saving

    info = value(graph, graph.finish).info
    prompt = {
        "1": {"class_type": "SAMASourceVideo"},
        "2": {"class_type": "SAMAFinishVideo", "inputs": {"clip_info": ["1", 1]}},
        "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], **settings}},
    }
    asked = {value for name, value in settings.items()} - {"mp4"}
    if asked <= {
        member.value for kind in (Types.VideoContainer, Types.VideoCodec) for member in kind
    }:
        assert check_saving(prompt, "1", info) is None
    else:
        with pytest.raises(ClipError, match=words):
            check_saving(prompt, "1", info)
    vast = replace(info, placement=replace(info.placement, picture_width=16386))
    with pytest.raises(
        ClipError, match="video size: got 16386x40, needs at most 16384 pixels on a side"
    ):
        check_saving(prompt, "1", vast)
    prompt["2"]["inputs"]["clip_info"] = ["9", 1]
    assert check_saving(prompt, "1", info) is None is check_saving(None, None, info)


# --- the result in ComfyUI's own nodes ---------------------------------------------------------


def test_the_result_goes_through_cores_video_nodes(graph):
    """Trim Video → Get Video Components → Create Video → Save Video, all of them core's own, in one
    graph.
    """
    trimmed = graph.add(
        "Video Slice", video=graph.finish, start_time=0.08, duration=0.2, strict_duration=False
    )
    parts = graph.add("GetVideoComponents", video=trimmed)
    made = graph.add("CreateVideo", images=parts, fps=25.0)
    graph.add("SaveVideo", video=made, filename_prefix="chain/clip", format="auto", codec="auto")
    result = graph.comfyui.run(graph.nodes, keep=[parts[0]]).check()
    images = result.values[parts[0]][0]
    assert tuple(images.shape) == (5, SIZE[1], SIZE[0], 3)
    whole = value(graph, graph.finish).get_components().images
    assert torch.allclose(images, whole[2:7], atol=3 / 255)  # borders are decoded anew
    path = graph.comfyui.base / "output" / "chain" / "clip_00001_.mp4"
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


def test_create_video_can_be_a_source(graph):
    """Components of our VIDEO, made a VIDEO again by core, read by SAMA Source Video."""
    parts = graph.add("GetVideoComponents", video=graph.finish)
    made = graph.add("CreateVideo", images=parts, fps=12.5)
    again = graph.add(
        "SAMASourceVideo", video=made, frames=0, start=0, stride=1, area=32 * 32, fps=24.0
    )
    result = graph.comfyui.run(graph.nodes, keep=[again[0]]).check()
    info = result.values[again[0]][1]
    assert (info.frame_count, info.fps, info.width, info.height) == (COUNT, Fraction(25, 2), *SIZE)
    assert [picture.number for picture in info.source.pictures(ClipRange())] == list(range(COUNT))
