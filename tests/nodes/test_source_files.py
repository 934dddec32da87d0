"""Files as the world has them, through Load Video, Trim Video and SAMA Source Video: the frames
that core shows.
"""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from ..comfyui.graphs import Graph, output
from ..harness.numbered_clips import number_in, numbered_picture, write_numbered

WHOLE = {"frames": 0, "start": 0, "stride": 1, "area": 64 * 48, "fps": 24.0, "fit": "keep size"}
# file, time of its first picture, packets left out at its start, Trim Video's start and duration
SLICES = [
    ("late.mp4", 500, (), 1.0, 0.5),
    ("late.mp4", 500, (), 0.0, 0.75),
    ("late.mp4", 500, (), 0.3, 0.0),
    ("dvr.mkv", 500, range(4), 1.1, 0.4),
    ("dvr.mkv", 500, range(4), 1.2, 0.0),
    ("dvr.mkv", 500, range(4), 0.0, 1.5),
    ("plain.mkv", 0, (), 1 / 3, 1 / 3),
    ("plain.mkv", 0, (), -0.25, 0.0),
]


@pytest.fixture
def put(comfyui):
    """Writes a numbered clip into ComfyUI's input folder, 25 frames a second; gives its name."""

    def written(name, first, dropped):
        write_numbered(
            comfyui.base / "input" / name,
            [first + 40 * number for number in range(36)],
            dropped=dropped,
        )
        return name

    return written


def run(comfyui, name, trim=None, **changes):
    """What SAMA Source Video gives of a file, and what core's Get Video Components gives."""
    graph = Graph()
    video = graph.add("LoadVideo", file=name)
    if trim:
        video = graph.add(
            "Video Slice", video=video, start_time=trim[0], duration=trim[1], strict_duration=False
        )
    ours = graph.add("SAMASourceVideo", video=video, **{**WHOLE, **changes})
    core = graph.add("GetVideoComponents", video=video)
    result = comfyui.run(graph.nodes, keep=[ours[0], core[0]])
    return result, ours[0], core[0]


def numbers(images):
    return [number_in(image[:48, :64]) for image in images]


@pytest.mark.parametrize("name, first, dropped, start, duration", SLICES)
def test_a_trimmed_video_has_the_frames_that_core_shows(
    comfyui, put, name, first, dropped, start, duration
):
    result, ours, core = run(comfyui, put(name, first, dropped), (start, duration))
    values = result.check().values
    frames, _, _, _, count = values[ours]
    assert numbers(frames[:count]) == numbers(values[core][0]) != []


def test_frames_are_counted_inside_the_trim(comfyui, put):
    result, ours, _ = run(comfyui, put("late.mp4", 500, ()), (1.0, 0.5), start=2, stride=3)
    frames, info, _, _, count = result.check().values[ours]
    assert numbers(frames[:count]) == [15, 18, 21, 24] and info.start_seconds == Fraction(15, 25)
    result, *_ = run(comfyui, put("late.mp4", 500, ()), (1.0, 0.5), start=12)
    assert "start frame: got 12, needs 0 to 11, inside the trimmed clip" in result.errors[0]


def test_a_trim_that_keeps_nothing_is_named(comfyui, put):
    result, *_ = run(comfyui, put("late.mp4", 500, ()), (0.1, 0.2))
    assert "trimmed to a part without frames (from 0.1 s on, 0.2 s long)" in "".join(result.errors)


def test_y4m_and_webp(comfyui):
    folder = comfyui.base / "input"
    with av.open(str(folder / "raw.y4m"), "w") as container:
        stream = container.add_stream("wrapped_avframe", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24").reformat(
                format="yuv444p"
            )
            frame.pts = number
            container.mux(stream.encode(frame))
    pictures = [Image.fromarray(np.asarray(numbered_picture(number))) for number in range(3)]
    pictures[0].save(folder / "a.webp", save_all=True, append_images=pictures[1:])
    outcomes = {}
    for name in ("raw.y4m", "a.webp"):
        graph = Graph()
        ours = graph.add("SAMASourceVideo", video=graph.add("LoadVideo", file=name), **WHOLE)
        outcomes[name] = comfyui.run(graph.nodes, keep=[ours[0]]), ours[0]
    result, ours = outcomes["raw.y4m"]
    assert numbers(result.check().values[ours][0]) == [0, 1, 2, 3, 4]
    assert "got an animated WebP" in outcomes["a.webp"][0].errors[0]


def test_a_moved_stamp_is_said_in_the_node_once(comfyui, caplog):
    stamps = [40 * number for number in range(24)]
    stamps[7] = stamps[6]
    write_numbered(comfyui.base / "input" / "equal.mkv", stamps)
    graph = Graph()
    source = graph.add("SAMASourceVideo", video=graph.add("LoadVideo", file="equal.mkv"), **WHOLE)
    finish = graph.add("SAMAFinishVideo", frames=source, clip_info=output(source, 1))
    video = comfyui.run(graph.nodes, keep=[finish[0]]).check().values[finish[0]][0]
    assert video.get_frame_count() == 24 and video.get_duration() == pytest.approx(
        24 / 25, abs=1e-3
    )
    assert caplog.text.count("1 of 24 frames have no time stamp of their own") == 1
