"""What is wrong with a source is said: interlaced and patched-up frames, and how many."""

import io

import av
import pytest

from sama_core.clip import ClipRange, FileSource, Fit, fit_clip
from sama_core.errors import ClipError

from ..harness.moving_shapes import moving_shapes


def write(path, options, frames=24, codec="libx264"):
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=24, options=options)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for number, pixels in enumerate(moving_shapes(frames, 96, 64)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    return str(path)


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("in.mp4", "libx264", {"x264-params": "tff=1"}),
        ("in.ts", "libx264", {"x264-params": "tff=1"}),
        ("in.mpg", "mpeg2video", {"flags": "+ilme+ildct"}),
    ],
)
def test_interlaced_frames_are_counted(tmp_path, name, codec, options):
    _, info = fit_clip(
        FileSource(write(tmp_path / name, options, codec=codec)),
        ClipRange(2, 9),
        1024,
        fit=Fit.STRETCH,
    )
    assert info.interlaced == 9
    assert info.remarks() == [
        "9 of 9 frames are interlaced: comb lines may show. Deinterlace the clip first."
    ]


def broken(data, packet_number, bits=4):
    """The file with bits flipped inside one packet's picture data."""
    with av.open(io.BytesIO(data)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start, size = packets[packet_number].pos, packets[packet_number].size
    result = bytearray(data)
    for step in range(bits):
        result[start + size // 3 + 7 * step] ^= 0x55
    return bytes(result)


def test_patched_up_frames_are_counted(tmp_path):
    """What the decoder conceals is used, and said; what it refuses ends the clip with an error.
    Never silence.
    """
    write(tmp_path / "in.mp4", {"bf": "0", "g": "24", "crf": "8"})
    data = (tmp_path / "in.mp4").read_bytes()
    said = 0
    for packet_number in range(1, 9):
        source = FileSource(io.BytesIO(broken(data, packet_number)))
        try:
            _, info = fit_clip(source, ClipRange(), 1024, fit=Fit.STRETCH)
        except ClipError as error:
            assert f"damaged or missing data after {packet_number} frames" in str(error)
            continue
        assert info.damaged >= 1
        assert info.remarks()[0].startswith(
            f"{info.damaged} of 24 frames are damaged, and were patched up"
        )
        said += 1
    assert said >= 1


def test_a_good_clip_is_not_reported(tmp_path):
    source = FileSource(write(tmp_path / "in.mp4", {}))
    _, info = fit_clip(source, ClipRange(), 1024, fit=Fit.STRETCH)
    assert (info.interlaced, info.damaged, info.remarks()) == (0, 0, [])
