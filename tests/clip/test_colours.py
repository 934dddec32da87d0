"""Colours: literal values through every matrix, range and depth, in and out; transparency over
black.
"""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, FileSource, fit_clip, save_restored
from sama_core.clip.colours import Colours, colours_to_write
from sama_core.clip.picture import pixels_of
from sama_core.clip.save import Encoding

# Red and blue weights of ITU-R BT.601, BT.709 and BT.2020, and the file's number for them.
WEIGHTS = {
    "BT.601": (0.299, 0.114, 6),
    "BT.709": (0.2126, 0.0722, 1),
    "BT.2020": (0.2627, 0.0593, 9),
    "untagged": (0.299, 0.114, 2),
}
COLOURS = [
    (200, 30, 40),
    (20, 180, 60),
    (30, 60, 220),
    (250, 250, 10),
    (128, 128, 128),
    (0, 0, 0),
    (255, 255, 255),
]


def as_yuv(colour, red, blue, full, bits):
    """The definition, in plain numbers."""
    r, g, b = (value / 255 for value in colour)
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / 2 / (1 - blue), (r - y) / 2 / (1 - red)
    if full:
        top = 2**bits - 1
        return [round(y * top)] + [round(value * top + 2 ** (bits - 1)) for value in (u, v)]
    scale = 2 ** (bits - 8)
    return [round((16 + 219 * y) * scale)] + [
        round((128 + 224 * value) * scale) for value in (u, v)
    ]


def flat(pix_fmt, values, bits, size=64):
    """A picture whose planes hold these values and nothing else."""
    frame = av.VideoFrame(size, size, pix_fmt)
    for plane, value in zip(frame.planes, values, strict=True):
        kind = np.uint8 if bits == 8 else np.uint16
        plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, value, kind).tobytes())
    return frame


def stored(picture, index):
    """A plane as it is; `to_ndarray` knows no 10 bits before PyAV 18."""
    kind, plane = (
        np.uint8 if picture.format.components[0].bits == 8 else np.uint16,
        picture.planes[index],
    )
    return np.frombuffer(bytes(plane), kind).reshape(plane.height, -1)[:, : plane.width]


def write(
    path, pictures, pix_fmt, matrix=2, colour_range=0, transfer=2, codec="libx264", options=None
):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=24, options={"qp": "0"} if options is None else options
        )
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc = matrix, colour_range, transfer
        for number, picture in enumerate(pictures):
            picture.pts = number
            picture.colorspace, picture.color_range = matrix, colour_range
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return FileSource(str(path))


@pytest.mark.parametrize(
    "bits, pix_fmt", [(8, "yuv420p"), (10, "yuv420p10le"), (8, "yuv444p"), (10, "yuv422p10le")]
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("standard", WEIGHTS)
def test_every_matrix_range_and_depth(tmp_path, standard, full, bits, pix_fmt):
    red, blue, matrix = WEIGHTS[standard]
    pictures = [flat(pix_fmt, as_yuv(colour, red, blue, full, bits), bits) for colour in COLOURS]
    source = write(tmp_path / "flat.mp4", pictures, pix_fmt, matrix, 2 if full else 1)
    frames = list(source.frames(ClipRange()))
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert np.abs(frame[32, 32].astype(int) - colour).max() <= 2, colour
    for picture, colour in zip(source.pictures(ClipRange(), deep=True), COLOURS, strict=True):
        assert picture.pixels.dtype == np.uint16
        assert np.abs(picture.pixels[32, 32] / 256 - colour).max() <= (2.5 if bits == 8 else 1), (
            colour
        )
    assert source.facts().bit_depth == bits
    assert source.facts().colours.matrix == matrix
    mean = np.mean(
        [frame[32, 32].astype(int) - colour for frame, colour in zip(frames, COLOURS, strict=True)]
    )
    assert abs(mean) < 0.7, "rounded to the nearest, not down"


@pytest.mark.parametrize("standard", WEIGHTS)
@pytest.mark.parametrize("bits", [8, 10])
def test_colours_come_out_as_they_went_in(tmp_path, standard, bits):
    """Restored files hold the same YUV values, in limited range, and say of them what the source
    said.
    """
    red, blue, matrix = WEIGHTS[standard]
    pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
    pictures = [flat(pix_fmt, as_yuv(colour, red, blue, False, bits), bits) for colour in COLOURS]
    source = write(tmp_path / "in.mp4", pictures, pix_fmt, matrix, 1)
    frames, info = fit_clip(source, ClipRange(), area=4096)
    save_restored(tmp_path / "out.mp4", frames, info, encoding=Encoding(crf=0.5))
    with av.open(str(tmp_path / "out.mp4")) as container:
        for picture, colour in zip(container.decode(video=0), COLOURS, strict=True):
            values = [int(stored(picture, index)[16, 16]) for index in range(3)]
            wanted = as_yuv(colour, red, blue, False, bits)
            assert np.abs(np.subtract(values, wanted)).max() <= 2 * 2 ** (bits - 8), colour
            assert picture.format.name == pix_fmt
            # Limited range is what H.264 means where nothing is stated.
            assert (int(picture.colorspace), int(picture.color_range)) == (
                matrix,
                0 if standard == "untagged" else 1,
            )


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuva420p", "gbrp", "yuvj420p"])
def test_the_last_columns_have_the_colour_of_the_others(pix_fmt):
    """swscale works on blocks of 32 columns; what is left over must not be forgotten.

    The planes are filled by hand: into 4:2:2 of 10 bit swscale itself gets a row wrong now and then
    at odd widths.
    """
    wide = av.VideoFrame.from_ndarray(np.full((6, 128, 3), (200, 30, 40), np.uint8), format="rgb24")
    wide = wide.reformat(format=pix_fmt)
    kind = np.uint16 if "10" in pix_fmt else np.uint8
    for width in (*range(1, 36), 47, 63, 65, 99):
        frame = av.VideoFrame(width, 6, pix_fmt)
        for plane, model in zip(frame.planes, wide.planes, strict=True):
            value = np.frombuffer(bytes(model), kind)[0]
            plane.update(
                np.full(plane.buffer_size // np.dtype(kind).itemsize, value, kind).tobytes()
            )
        frame.colorspace, frame.color_range = wide.colorspace, wide.color_range
        for deep in (False, True):
            pixels = pixels_of(frame, deep) / (256 if deep else 1)
            assert np.abs(pixels - (200, 30, 40)).max() <= 3, (width, deep)


def test_more_than_8_bits_survive_where_nothing_was_edited(tmp_path):
    """The borders of a 10-bit ramp come back in 10 bits: more levels than 8 bits have."""
    ramp = np.repeat(np.arange(400, 528).astype(np.uint16)[:, None], 512, axis=1)
    picture = av.VideoFrame(512, 128, "yuv420p10le")
    for plane, values in zip(
        picture.planes, (ramp, np.full((64, 256), 512), np.full((64, 256), 512)), strict=True
    ):
        plane.update(
            np.pad(values, ((0, 0), (0, plane.line_size // 2 - values.shape[1])))
            .astype(np.uint16)
            .tobytes()
        )
    source = write(tmp_path / "in.mp4", [picture], "yuv420p10le", 1, 1)
    frames, info = fit_clip(source, ClipRange(), area=4096)
    assert info.crop_box[0] > 100, "this much is border"
    save_restored(tmp_path / "out.mp4", frames, info, encoding=Encoding(crf=1))
    with av.open(str(tmp_path / "out.mp4")) as container:
        column = stored(next(container.decode(video=0)), 0)[:, 20].astype(int)
    assert np.abs(column - ramp[:, 20]).max() <= 2
    assert len(np.unique(column)) > 100, "8 bits would hold 33 of the 128 levels"


def test_hdr_is_carried_along_and_said(tmp_path):
    source = write(
        tmp_path / "in.mp4",
        [flat("yuv420p10le", (500, 512, 512), 10)],
        "yuv420p10le",
        9,
        1,
        transfer=18,
    )
    frames, info = fit_clip(source, ClipRange(), area=4096)
    assert any("HDR (HLG)" in remark for remark in info.remarks())
    save_restored(tmp_path / "out.mp4", frames, info)
    assert FileSource(str(tmp_path / "out.mp4")).facts().colours.transfer == 18


@pytest.mark.parametrize(
    "stated, height, written",
    [
        (Colours(1, 1, 1), 100, Colours(1, 1, 1)),
        (Colours(), 2000, Colours()),
        (Colours(14, 200, 3), 100, Colours()),
        (Colours(0, 2, 13), 719, Colours(6, 6, 6)),
        (Colours(0), 720, Colours(1, 1, 1)),
        (Colours(9, 9, 16), 1, Colours(9, 9, 16)),
    ],
)
def test_tags_that_are_written(stated, height, written):
    assert colours_to_write(stated, height) == written


HALF = {
    "qtrle": ("clip.mov", "argb"),
    "libvpx-vp9": ("clip.webm", "yuva420p"),
    "ffv1": ("clip.mkv", "bgra"),
    "prores_ks": ("clip.mov", "yuva444p10le"),
    "png": ("clip.mov", "rgba"),
}


@pytest.mark.parametrize("codec", HALF)
def test_transparency_is_laid_on_black(tmp_path, codec):
    """Left: see-through red; right: solid red; between them half of it."""
    name, pix_fmt = HALF[codec]
    pixels = np.zeros((64, 96, 4), np.uint8)
    pixels[..., 0], pixels[:, 64:, 3], pixels[:, 32:64, 3] = 240, 255, 128
    picture = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pix_fmt)
    source = write(
        tmp_path / name,
        [picture],
        pix_fmt,
        codec=codec,
        options={"crf": "4", "b:v": "0"} if codec == "libvpx-vp9" else {},
    )
    (frame,) = source.frames(ClipRange())
    assert source.facts().alpha
    assert [
        abs(int(frame[32, x, 0]) - level) <= 6 for x, level in ((10, 0), (48, 120), (86, 240))
    ] == [True] * 3
    assert frame[..., 1:].max() <= 12
    _, info = fit_clip(source, ClipRange(), area=4096)
    assert any("transparency" in remark for remark in info.remarks())


def test_alpha_that_hides_nothing_is_not_reported(tmp_path):
    picture = av.VideoFrame.from_ndarray(np.full((64, 64, 4), 255, np.uint8), format="rgba")
    assert not write(tmp_path / "in.mov", [picture], "rgba", codec="png", options={}).facts().alpha
    gif = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 200, np.uint8), format="rgb24").reformat(
        format="rgb8"
    )
    assert not write(tmp_path / "in.gif", [gif], "rgb8", codec="gif", options={}).facts().alpha


def test_an_opaque_clip_has_no_remarks(tmp_path):
    source = write(
        tmp_path / "in.mp4",
        [flat("yuv420p", (100, 128, 128), 8) for _ in range(3)],
        "yuv420p",
        1,
        1,
    )
    frames, info = fit_clip(source, ClipRange(), area=4096)
    assert (
        info.remarks() == [] and info.timing.fps == Fraction(24) and frames.dtype == torch.float32
    )
