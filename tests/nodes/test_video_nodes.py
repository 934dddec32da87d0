"""Video in and out through ComfyUI's own nodes: every use of VIDEO, metadata, fit modes, seconds,
old graphs.
"""

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, FileSource, Seconds, save

from ..comfyui.graphs import Graph, output
from ..harness.moving_shapes import moving_shapes
from ..harness.sound_files import click_times, clicks, state_order, write
from ..harness.write_clip import write_clip

ROOT = Path(__file__).resolve().parents[2]
NTSC = Fraction(24000, 1001)
AREA = 32 * 32
COUNT, SIZE, RATE = 30, (101, 45), 16000
OLD_INPUTS = {"frames": 0, "start": 0, "stride": 1, "area": AREA, "fps": 24.0}


@pytest.fixture(scope="module")
def clip_file(comfyui):
    """A clip of odd size at 24000/1001 with stereo sound."""
    wave = 0.4 * torch.sin(torch.linspace(0, 3000, 2 * RATE))
    audio = {"waveform": torch.stack([wave, -wave])[None], "sample_rate": RATE}
    write_clip(comfyui.base / "input" / "odd.mp4", moving_shapes(COUNT, *SIZE), NTSC, audio)
    return "odd.mp4"


@pytest.fixture
def graph(comfyui, clip_file):
    """Load Video → SAMA Source Video → SAMA Finish Video, edited by nobody."""
    made = Graph()
    made.comfyui = comfyui
    made.video = made.add("LoadVideo", file=clip_file)
    made.source = made.add("SAMASourceVideo", video=made.video, **OLD_INPUTS)
    made.finish = made.add(
        "SAMAFinishVideo",
        frames=made.source,
        clip_info=output(made.source, 1),
        audio=output(made.source, 2),
    )
    return made


def values(graph, link):
    return graph.comfyui.run(graph.nodes, keep=[link[0]]).check().values[link[0]]


@pytest.mark.parametrize(
    "name, layout, codec, labels, words",
    [
        ("many.mov", "16 channels", "pcm_s16le", None, "16 channels"),
        ("order.mov", "stereo", "pcm_s16le", [2, 1], None),
        ("surround.mp4", "7.1", "aac", None, None),
        ("tracks.mp4", "stereo", "aac", None, "2 sound tracks"),
    ],
)
def test_a_foreign_clips_sound_comes_through_the_nodes(
    comfyui, caplog, name, layout, codec, labels, words
):
    """The server lives, clicks are heard when they are due, in AUDIO and in the saved file; one
    remark at most.
    """
    sound = clicks(av.AudioLayout(layout).nb_channels, 2)
    more = (sound,) if words == "2 sound tracks" else ()
    path = write(comfyui.base / "input" / name, sound, codec, layout, more=more)
    if labels:
        state_order(path, labels)
    graph = Graph()
    source = graph.add("SAMASourceVideo", video=graph.add("LoadVideo", file=name), **OLD_INPUTS)
    finish = graph.add(
        "SAMAFinishVideo", frames=source, clip_info=output(source, 1), audio=output(source, 2)
    )
    with caplog.at_level("WARNING"):
        audio = comfyui.run(graph.nodes, keep=[source[0]]).check().values[source[0]][2]
    assert audio["waveform"].shape == (1, *sound.shape)
    assert click_times(audio) == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=0.003)
    said = [record.getMessage() for record in caplog.records if "sound" in record.getMessage()]
    assert len(said) == (words is not None) and (words is None or words in said[0])
    if sound.shape[0] <= 8:
        graph.add(
            "SaveVideo", video=finish, filename_prefix=f"sound/{name}", format="auto", codec="auto"
        )
        comfyui.run(graph.nodes).check()
        (saved_file,) = (comfyui.base / "output" / "sound").glob(f"{name}*.mp4")
        back = FileSource(str(saved_file)).audio(0, 2)
        assert click_times(back) == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=0.003)


def test_the_node_says_what_the_fit_leaves_unedited_and_which_edits_all(graph):
    """101x45 at 32x32: the middle is taken; the words go when another fit is chosen."""
    from ..comfyui.test_node_text import shown

    result = graph.comfyui.run(graph.nodes, keep=[graph.source[0]]).check()
    (remark,) = shown(result, graph.source[0])
    assert remark == (
        "55% of the picture stays unedited: fit 'stretch' edits all of it. Fit 'crop to bucket' "
        "leaves 28 pixels at the left and 28 at the right as they are, and an object there is "
        "edited in part."
    )
    graph.nodes[graph.source[0]]["inputs"]["fit"] = "stretch"
    result = graph.comfyui.run(graph.nodes, keep=[graph.source[0]]).check()
    assert shown(result, graph.source[0]) == [" "]


def finished(graph):
    return values(graph, graph.finish)[0]


def saved(graph, name, **settings):
    """Path of what Save Video wrote."""
    settings = {"format": "auto", "codec": "auto", **settings}
    graph.add("SaveVideo", video=graph.finish, filename_prefix=f"{name}/clip", **settings)
    graph.comfyui.run(graph.nodes).check()
    (path,) = (graph.comfyui.base / "output" / name).iterdir()
    return path


# --- saving ------------------------------------------------------------------------------------


def test_save_video_writes_exactly_the_source(graph):
    """Odd size, 24000/1001 to the tick, frame count, and the source's own sound packets."""
    path = saved(graph, "exact")
    original, result = graph.comfyui.base / "input" / "odd.mp4", FileSource(str(path))
    facts = result.facts()
    assert (facts.width, facts.height, facts.frame_count, facts.fps) == (*SIZE, COUNT, NTSC)
    packets, times = [], []
    for file in (path, original):
        with av.open(str(file)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
        with av.open(str(file)) as container:
            times.append([frame.pts * frame.time_base for frame in container.decode(video=0)])
    assert times[0] == times[1] == [number / NTSC for number in range(COUNT)]
    assert len(packets[0]) > 15 and packets[0] == packets[1][: len(packets[0])]
    difference = [
        np.abs(one.astype(int) - other).mean()
        for one, other in zip(
            result.frames(ClipRange()), FileSource(str(original)).frames(ClipRange()), strict=True
        )
    ]
    assert max(difference) < 8


@pytest.mark.parametrize(
    "settings",
    [
        {"format": "mp4"},
        {"codec": "h264"},
        {"codec": "h264", "codec.encoding": "auto"},
        {
            "codec": "h264",
            "codec.encoding": "re-encode",
            "codec.encoding.crf": 40.0,
            "codec.encoding.color_space": "auto",
        },
    ],
)  # the last since core 0.33, which requires it
def test_every_choice_of_save_video(graph, settings):
    path = saved(
        graph,
        f"choice {len(settings)} {settings.get('codec')} {settings.get('codec.encoding')}",
        **settings,
    )
    assert FileSource(str(path)).facts().frame_count == COUNT


def test_quality_can_be_chosen(graph):
    video, sizes = finished(graph), {}
    for crf in (None, 10, 45):
        buffer = io.BytesIO()
        video.save_to(buffer, crf=crf)
        sizes[crf] = buffer.tell()
    assert sizes[10] > sizes[None] > sizes[45]


@pytest.mark.parametrize("target", ["file", "memory"])
def test_the_graph_is_stored_inside(graph, tmp_path, target):
    video, where = finished(graph), tmp_path / "out.mp4" if target == "file" else io.BytesIO()
    metadata = {
        "workflow": {"nodes": [{"id": 1, "title": "käse"}]},
        "prompt": {"1": {"class_type": "SAMAEdit"}},
    }
    video.save_to(str(where) if target == "file" else where, metadata=metadata)
    with av.open(str(where) if target == "file" else io.BytesIO(where.getvalue())) as container:
        assert {name: json.loads(container.metadata[name]) for name in metadata} == metadata


def test_save_video_passes_the_prompt_on(graph):
    with av.open(str(saved(graph, "tagged"))) as container:
        stored = json.loads(container.metadata["prompt"])
    assert {node["class_type"] for node in stored.values()} == {
        "LoadVideo",
        "SAMASourceVideo",
        "SAMAFinishVideo",
        "SaveVideo",
    }


def test_saving_holds_one_frame_at_a_time(graph, monkeypatch, tmp_path):
    from sama_core.comfyui import restored_video

    video = finished(graph)
    monkeypatch.setattr(
        restored_video, "restore_frames", lambda *_: pytest.fail("all frames at once")
    )
    video.save_to(str(tmp_path / "out.mp4"))
    assert (video.get_dimensions(), video.get_frame_count(), video.get_frame_rate()) == (
        SIZE,
        COUNT,
        NTSC,
    )
    assert video.get_duration() == pytest.approx(float(COUNT / NTSC)) and video.get_bit_depth() == 8
    assert video.get_container_format() == "mp4"


def test_an_interrupt_while_saving_leaves_nothing_behind(graph, monkeypatch):
    import nodes

    graph.add(
        "SaveVideo", video=graph.finish, filename_prefix="stopped/clip", format="auto", codec="auto"
    )
    original = save.make_pictures

    def and_the_user_stops(*arguments):
        nodes.interrupt_processing(True)
        return original(*arguments)

    monkeypatch.setattr(save, "make_pictures", and_the_user_stops)
    result = graph.comfyui.run(graph.nodes)
    assert result.interrupted
    assert list((graph.comfyui.base / "output" / "stopped").iterdir()) == []


# --- VIDEO in other nodes ----------------------------------------------------------------------


def test_get_video_components(graph):
    images, audio, fps, bit_depth, *later = values(
        graph, graph.add("GetVideoComponents", video=graph.finish)
    )
    assert tuple(images.shape) == (COUNT, SIZE[1], SIZE[0], 3) and images.dtype == torch.float32
    assert (
        audio["sample_rate"] == RATE and fps == pytest.approx(23.976, abs=1e-3) and bit_depth == 8
    )
    assert later in ([], ["sRGB"]), (
        "since core 0.33 the colour space, in words that its Create Video takes"
    )


def test_trim_video_cuts_frames_and_sound(graph):
    trimmed = values(
        graph,
        graph.add(
            "Video Slice", video=graph.finish, start_time=0.5, duration=0.25, strict_duration=True
        ),
    )[0]
    kept = [number for number in range(COUNT) if 0.5 <= number / NTSC < 0.75]
    assert trimmed.get_frame_count() == len(kept) == 6
    assert trimmed.audio["waveform"].shape[-1] == round(6 / NTSC * RATE)
    whole = finished(graph)
    assert torch.equal(
        trimmed.get_components().images, whole.get_components().images[kept[0] : kept[-1] + 1]
    )
    assert whole.as_trimmed(-0.25, 0).get_frame_count() == 5
    assert whole.as_trimmed(0, 99, strict_duration=True) is None and whole.as_trimmed(99, 1) is None
    assert whole.as_trimmed(0, 99).get_frame_count() == COUNT


def test_the_result_can_be_a_source_again(graph):
    """Two edits in a row: the second takes the first one's size, times and sound, and no more
    memory.
    """
    from sama_core.comfyui.restored_video import RestoredVideo

    again = graph.add(
        "SAMASourceVideo", video=graph.finish, **{**OLD_INPUTS, "start": 6, "stride": 2}
    )
    frames, info, audio, _, count = values(graph, again)
    assert (info.width, info.height, count, info.fps) == (*SIZE, 12, NTSC / 2) and frames.shape[
        0
    ] == 13
    assert info.start_seconds == 6 / NTSC and info.source.frame_at(6 / NTSC) == 6
    assert audio["waveform"].shape[-1] == round(info.duration_seconds * RATE)
    expected = finished(graph).get_components().images[6::2]
    restored = RestoredVideo(frames, info, audio).get_components().images
    left, _, right, _ = info.crop_box
    assert torch.allclose(restored[:, :, :left], expected[:, :, :left], atol=1 / 255) and left > 10
    assert (restored[:, :, left:right] - expected[:, :, left:right]).abs().mean() < 0.1


def test_the_encoded_video_is_made_once(graph, monkeypatch):
    video = finished(graph)
    with av.open(video.get_stream_source()) as container:
        assert sum(1 for _ in container.decode(video=0)) == COUNT
    monkeypatch.setattr(save, "_write", lambda *_: pytest.fail("encoded again"))
    assert video.get_stream_source().getvalue() == video.get_stream_source().getvalue()


# --- the source node's inputs ------------------------------------------------------------------


def source(graph, **changes):
    graph.nodes[graph.source[0]]["inputs"] |= changes
    return values(graph, graph.source)


@pytest.mark.parametrize("fit", ["crop to bucket", "letterbox", "stretch", "keep size"])
def test_fit_modes_through_the_nodes(graph, fit):
    frames, info, *_ = source(graph, fit=fit)
    assert tuple(frames.shape[1:3]) == ((48, 112) if fit == "keep size" else (32, 32))
    assert info.placement.fit == fit
    parts = finished(graph).get_components()
    assert tuple(parts.images.shape) == (COUNT, SIZE[1], SIZE[0], 3)


def test_an_unknown_fit_is_refused_by_name(graph):
    graph.nodes[graph.source[0]]["inputs"] |= {"fit": "fill"}
    result = graph.comfyui.run(graph.nodes, keep=[graph.finish[0]])
    assert "fit" in result.errors[0] and "fill" in result.errors[0]


@pytest.mark.parametrize(
    "changes, start, count",
    [
        ({"start_seconds": 0.5}, 12, 18),
        ({"duration_seconds": 0.5}, 0, 12),
        ({"every_seconds": 0.25}, 0, 5),
        ({"start_seconds": 0.5, "duration_seconds": 0.25, "frames": 81}, 12, 6),
        ({"start": 3, "duration_seconds": 0.5}, 3, 12),
    ],
)
def test_seconds_through_the_node(graph, changes, start, count):
    _, info, audio, _, frame_count = source(graph, **changes)
    assert (info.clip_range.start, frame_count) == (start, count)
    assert audio["waveform"].shape[-1] == round(info.duration_seconds * RATE)


def test_seconds_in_a_trimmed_video_count_from_its_start(graph):
    trim = graph.add(
        "Video Slice", video=graph.video, start_time=0.25, duration=0.75, strict_duration=False
    )
    _, info, *_ = source(graph, video=trim, start_seconds=0.25)
    assert (info.clip_range.start, info.frame_count) == (12, 12)
    _, info, *_ = source(graph, video=trim, start_seconds=0.0, start=2)
    assert (info.clip_range.start, info.frame_count) == (8, 16)


@pytest.mark.parametrize("linked", [False, True])
def test_two_starts_are_refused(graph, linked):
    """Before anything runs, or as soon as a linked value is known."""
    start = graph.add("PrimitiveInt", value=3) if linked else 3
    graph.nodes[graph.source[0]]["inputs"] |= {"start": start, "start_seconds": 1.0}
    result = graph.comfyui.run(graph.nodes, keep=[graph.source[0]])
    assert "start: got frame 3 and 1 s, needs one of the two" in result.errors[0]
    assert any(event == "executing" for event, _ in result.messages) == linked


def test_transparent_images_are_laid_on_black(comfyui, graph):
    from sama_core.comfyui.video import read_source

    images = torch.ones(1, 32, 32, 4)
    images[..., 3] = 0.5
    fitted, _ = read_source(None, images, 24.0, ClipRange(), AREA, seconds=Seconds())
    assert torch.allclose(fitted, torch.tensor(128 / 255))


def test_what_is_wrong_with_a_clip_is_shown_in_the_node(comfyui, caplog):
    path = comfyui.base / "input" / "fields.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "tff=1"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(moving_shapes(5, 64, 64)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    graph = Graph()
    link = graph.add(
        "SAMASourceVideo", video=graph.add("LoadVideo", file="fields.mp4"), **OLD_INPUTS
    )
    result = comfyui.run(graph.nodes, keep=[link[0]]).check()
    assert "5 of 5 frames are interlaced" in caplog.text
    assert any(
        b"5 of 5 frames are interlaced" in bytes(data)
        for _, data in result.messages
        if isinstance(data, bytes | bytearray)
    )


# --- graphs saved before the newer inputs ------------------------------------------------------


def test_new_inputs_come_last_and_may_be_left_out(comfyui):
    """Saved graphs hold widget values in order; API graphs hold only the inputs there were."""
    info = comfyui.object_info("SAMASourceVideo")
    assert info["input_order"]["required"] == ["frames", "start", "stride", "area", "fps"]
    assert info["input_order"]["optional"] == [
        "video",
        "images",
        "model",
        "fit",
        "start_seconds",
        "duration_seconds",
        "every_seconds",
    ]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem
)
def test_saved_workflows_hold_values_for_the_first_widgets(comfyui, path):
    number = (int, float)
    sampling = [str, int, str, int, number, number, str, int, int, bool]
    kinds = {
        "SAMASourceVideo": [int, int, int, int, number],
        "SAMAEditWholeVideo": [*sampling, int, int, int, int, bool, str, number, bool, str],
    }
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    (node,) = [node for node in nodes if node["type"] in kinds]
    for value, kind in zip(node["widgets_values"], kinds[node["type"]], strict=False):
        assert isinstance(value, kind)


def test_an_old_graph_gives_what_it_gave(graph):
    """Without the new inputs, and with their defaults: the same frames and the same record."""
    old, old_info, *_ = source(graph)
    new, new_info, *_ = source(
        graph, fit="crop to bucket", start_seconds=0.0, duration_seconds=0.0, every_seconds=0.0
    )
    assert torch.equal(old, new)
    assert replace(old_info, source=None) == replace(new_info, source=None)
