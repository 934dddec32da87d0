"""ComfyUI asks for PyAV 16.0 or later and leaves it to chance which: the pack touches nothing that
came after it.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from ..harness.old_pyav import LATER, REFORMAT_WORDS

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("sama_core", "nodes")
    for path in (ROOT / folder).rglob("*.py")
    if "av" in path.read_text(encoding="utf-8")
)
# Names under `av` that PyAV 16.0 has and that the pack touches. What is added here must be there in
# 16.0.
TOUCHED = {
    "av.AudioFrame",
    "av.AudioFrame.from_ndarray",
    "av.AudioLayout",
    "av.AudioResampler",
    "av.AudioStream",
    "av.CodecContext",
    "av.CodecContext.create",
    "av.Packet",
    "av.VideoCodecContext",
    "av.VideoFrame",
    "av.VideoFrame.from_ndarray",
    "av.VideoStream",
    "av.codecs_available",
    "av.container.InputContainer",
    "av.container.OutputContainer",
    "av.error.FFmpegError",
    "av.filter.Graph",
    "av.open",
    "av.sidedata.sidedata.Type",
    "av.stream.Disposition",
    "av.time_base",
    "av.video.reformatter.VideoReformatter",
}
# Later names, asked for with care, or found on an object that had them before: file → names.
GUARDED = {
    "sama_core/clip/colours.py": {
        "color_primaries",
        "color_trc",
    },  # also those of the codec context
}


def nodes_of(path):
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def imports_from_pyav(node):
    return (
        isinstance(node, ast.ImportFrom)
        and (node.module or "").split(".")[0] == "av"
        and not node.level
    )


def uses_pyav(path):
    return any(
        imports_from_pyav(node)
        or (isinstance(node, ast.Import) and "av" in [name.name for name in node.names])
        for node in nodes_of(path)
    )


def names_under_av(path):
    """Whole dotted names, those of imports too."""
    longest = set()
    for node in nodes_of(path):
        if (
            isinstance(node, ast.Attribute)
            and ast.unparse(node).startswith("av.")
            and all(part.isidentifier() for part in ast.unparse(node).split("."))
        ):
            longest.add(ast.unparse(node))
        if imports_from_pyav(node):
            longest |= {f"{node.module}.{name.name}" for name in node.names}
    return {name for name in longest if not any(other.startswith(f"{name}.") for other in longest)}


USERS = [path for path in SOURCES if uses_pyav(path)]


def test_every_name_of_pyav_that_is_touched_is_known_to_be_in_16():
    touched = set().union(*map(names_under_av, USERS))
    assert len(USERS) >= 10
    assert sorted(touched - TOUCHED) == []


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.name)
def test_no_attribute_came_later(path):
    later = set().union(*LATER.values()) - {"metadata", "level"}  # other objects' names, too
    found = {node.attr for node in nodes_of(path) if isinstance(node, ast.Attribute)} & later
    assert found <= GUARDED.get(path.relative_to(ROOT).as_posix(), set())
    for node in nodes_of(path):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
            "reformat",
            "to_ndarray",
        ):
            assert {word.arg for word in node.keywords} <= REFORMAT_WORDS


@pytest.fixture
def tagged_clip(tmp_path):
    """A BT.709 clip with HDR's transfer, in MPEG-PS: its streams turn up only while it is read."""
    path = tmp_path / "in.mpg"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        context = video.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 1, 1, 16
        track = container.add_stream("mp2", rate=48000, layout="mono")
        for number in range(6):
            pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        tone = av.AudioFrame.from_ndarray(
            np.zeros((1, 1152 * 10), np.int16), format="s16", layout="mono"
        )
        tone.sample_rate, tone.pts = 48000, 0
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48000, frame_size=1152)
        for piece in resampler.resample(tone):
            container.mux(track.encode(piece))
        container.mux(track.encode(None))
    return path


def outcome(pyav, clip, result):
    done = subprocess.run(
        [sys.executable, "-m", "tests.harness.old_pyav", pyav, str(clip), str(result)],
        text=True,
        capture_output=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_without_what_came_later_the_results_are_the_same(tmp_path, tagged_clip):
    old = outcome("old", tagged_clip, tmp_path / "out.mp4")
    new = outcome("new", tagged_clip, tmp_path / "out.mp4")
    assert old["left"] == [], "these could not be taken away"
    facts = old["found"][str(tagged_clip)][0]
    assert "Colours(matrix=1, primaries=1, transfer=16)" in facts
    assert old["found"] == new["found"]
