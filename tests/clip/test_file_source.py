"""Reading: the right frames, no more decoding than asked, sound to the sample, errors an artist can
act on.
"""

import io
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image

from sama_core.clip import ClipFacts, ClipRange, FileSource, ImageSource, seek
from sama_core.errors import ClipError

from ..harness.moving_shapes import moving_shapes
from ..harness.turned_files import rotate
from ..harness.write_clip import write_clip

RATE = 8000


def numbered_frame(number, size=32):
    """A flat grey frame whose level tells its number modulo 50."""
    return np.full((size, size, 3), 5 * (number % 50), np.uint8)


def numbers(frames):
    return [round(float(frame.mean()) / 5) for frame in frames]


GROUPS_OF_12 = {"crf": "4", "g": "12", "bf": "3"}
X264_OPEN = {"crf": "4", "x264-params": "open-gop=1:b-adapt=0:bframes=3:keyint=12:scenecut=0"}
X264_ROLLING = {
    "crf": "4",
    "x264-params": "intra-refresh=1:b-adapt=0:bframes=3:keyint=12:scenecut=0",
}
X265_OPEN = {
    "crf": "4",
    "x265-params": "open-gop=1:b-adapt=0:bframes=3:keyint=12:scenecut=0:log-level=none",
}


def mux(
    path,
    pictures=(),
    samples=None,
    codec="h264",
    options=GROUPS_OF_12,
    first_picture=0,
    first_sound=0,
    rotation=0,
    sound="pcm_s16le",
):
    """A 10 fps file made by hand, for what `write_clip` does not offer: keyframes, exact sound,
    rotation.
    """
    with av.open(str(path), "w") as container:
        video = track = None
        if len(pictures):
            video = container.add_stream(codec, rate=10, options=options)
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuv420p"
        if samples is not None:
            track = container.add_stream(sound, rate=RATE, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = first_picture + number
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if track is not None:
            for begin in range(0, len(samples), 1000):
                frame = av.AudioFrame.from_ndarray(
                    samples[None, begin : begin + 1000], format="s16", layout="mono"
                )
                frame.sample_rate, frame.pts, frame.time_base = (
                    RATE,
                    first_sound + begin,
                    Fraction(1, RATE),
                )
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
    if rotation:
        rotate(Path(path), rotation)
    return str(path)


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    write_clip(path, (numbered_frame(number) for number in range(5000)), Fraction(24))
    return str(path)


@pytest.fixture
def decoded(monkeypatch):
    """Counts every picture that leaves the decoder."""
    original, count = seek._pictures, []

    def counting(stream, packets):
        for picture in original(stream, packets):
            count.append(picture.pts)
            yield picture

    monkeypatch.setattr(seek, "_pictures", counting)
    return count


def test_facts_of_a_long_file(long_file):
    assert FileSource(long_file).facts() == ClipFacts(32, 32, Fraction(24), 5000)


def test_a_long_file_is_decoded_only_as_far_as_asked(long_file, decoded):
    source = FileSource(long_file)
    source.facts()
    decoded.clear()
    frames = list(source.frames(ClipRange(0, 81)))
    assert len(decoded) == 81
    assert numbers(frames) == [number % 50 for number in range(81)]


def test_a_late_start_is_decoded_from_its_keyframe(long_file, decoded):
    source = FileSource(long_file)
    source.facts()
    decoded.clear()
    frames = list(source.frames(ClipRange(4321, 81)))
    assert numbers(frames) == [(4321 + offset) % 50 for offset in range(81)]
    assert 81 <= len(decoded) <= 81 + 250, "x264 sets a keyframe at least every 250 frames"


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("clip.mp4", "h264", GROUPS_OF_12),
        ("clip.mov", "h264", GROUPS_OF_12),
        ("clip.mkv", "h264", GROUPS_OF_12),
        ("clip.ts", "h264", GROUPS_OF_12),
        ("clip.avi", "h264", GROUPS_OF_12),
        ("clip.webm", "libvpx", {"crf": "4"}),
        ("open.mp4", "h264", X264_OPEN),
        ("open.mkv", "h264", X264_OPEN),
        ("rolling.mp4", "h264", X264_ROLLING),
        ("hevc.mp4", "libx265", X265_OPEN),
        ("archive.mkv", "ffv1", {}),
    ],
)
def test_frame_numbers_are_exact_whatever_the_file(tmp_path, name, codec, options):
    pictures = [numbered_frame(number, 64) for number in range(50)]
    source = FileSource(mux(tmp_path / name, pictures, codec=codec, options=options))
    for start in range(49):
        assert numbers(source.frames(ClipRange(start, 2))) == [start, start + 1]


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("closed.mp4", "h264", GROUPS_OF_12),
        ("open.mp4", "h264", X264_OPEN),
        ("open.mkv", "h264", X264_OPEN),
        ("hevc.mp4", "libx265", X265_OPEN),
    ],
)
def test_a_jump_decodes_less_than_two_groups(tmp_path, decoded, name, codec, options):
    pictures = [numbered_frame(number, 64) for number in range(50)]
    source = FileSource(mux(tmp_path / name, pictures, codec=codec, options=options))
    source.facts()
    decoded.clear()
    assert numbers(source.frames(ClipRange(46, 1))) == [46]
    assert 1 <= len(decoded) < 24


def test_a_trimmed_file_counts_only_what_plays(tmp_path):
    # Times before 0 become an edit list: the first 8 frames are stored and decoded, but never
    # shown.
    pictures = [numbered_frame(number, 64) for number in range(50)]
    source = FileSource(mux(tmp_path / "trimmed.mp4", pictures, first_picture=-8))
    assert source.facts().frame_count is None, "the file states 50, but 42 play"
    assert numbers(source.frames(ClipRange())) == list(range(8, 50))
    assert numbers(source.frames(ClipRange(20, 3))) == [28, 29, 30]


@pytest.mark.parametrize(
    "clip_range, expected",
    [
        (ClipRange(), list(range(10))),
        (ClipRange(3), [3, 4, 5, 6, 7, 8, 9]),
        (ClipRange(0, 4), [0, 1, 2, 3]),
        (ClipRange(1, 3, 3), [1, 4, 7]),
        (ClipRange(2, 0, 3), [2, 5, 8]),
        (ClipRange(8, 81), [8, 9]),
        (ClipRange(9), [9]),
    ],
)
def test_ranges_agree_between_file_and_images(tmp_path, clip_range, expected):
    pictures = [numbered_frame(number) for number in range(10)]
    path = mux(tmp_path / "clip.mp4", pictures)
    images = torch.from_numpy(np.stack(pictures)) / 255
    assert numbers(FileSource(path).frames(clip_range)) == expected
    assert numbers(ImageSource(images, Fraction(10)).frames(clip_range)) == expected
    assert clip_range.count_in(10) == len(expected)


def test_unknown_frame_count_stays_unknown(tmp_path):
    path = mux(tmp_path / "clip.mkv", [numbered_frame(number) for number in range(10)])
    assert FileSource(path).facts().frame_count is None
    assert ClipRange(0, 4).count_in(None) is None


def test_frames_are_uint8_rgb_of_the_file(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = (200, 30, 40)
    path = mux(tmp_path / "clip.mp4", [picture])
    (frame,) = FileSource(path).frames(ClipRange())
    assert frame.dtype == np.uint8 and frame.shape == (48, 64, 3)
    assert np.abs(frame[10, 10].astype(int) - (200, 30, 40)).max() <= 6
    assert frame[10, 60].max() <= 6


@pytest.mark.parametrize("rotation, blue_at", [(90, (8, 16)), (-90, (56, 16)), (180, (16, 8))])
def test_rotation_is_applied(tmp_path, rotation, blue_at):
    # Stored 64 wide, 32 high, the right half blue. Turned 90 degrees counterclockwise, blue is on
    # top.
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, 32:] = (0, 0, 255)
    source = FileSource(mux(tmp_path / "phone.mp4", [picture], rotation=rotation))
    (frame,) = source.frames(ClipRange())
    facts = source.facts()
    assert (facts.width, facts.height) == ((64, 32) if rotation == 180 else (32, 64))
    assert frame.shape == (facts.height, facts.width, 3)
    opposite = (frame.shape[0] - 1 - blue_at[0], frame.shape[1] - 1 - blue_at[1])
    assert frame[blue_at][2] > 240 and frame[opposite][2] < 15


def test_two_readers_of_one_buffer_do_not_disturb_each_other(tmp_path):
    path = mux(tmp_path / "clip.mp4", [numbered_frame(number) for number in range(10)])
    with open(path, "rb") as file:
        buffer = io.BytesIO(file.read())
    buffer.seek(7)
    source = FileSource(buffer)
    pairs = list(zip(source.frames(ClipRange(0, 4)), source.frames(ClipRange(5, 4)), strict=True))
    assert [numbers(pair) for pair in pairs] == [[0, 5], [1, 6], [2, 7], [3, 8]]
    assert buffer.tell() == 7


def test_images_round_to_the_nearest_level():
    images = (
        torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 254.5 / 255 + 1e-6, 7.0])
        .reshape(1, 1, 5, 1)
        .expand(1, 1, 5, 3)
    )
    (frame,) = ImageSource(images, Fraction(24)).frames(ClipRange())
    assert frame[0, :, 0].tolist() == [0, 0, 1, 255, 255]


# Sound


def ramp(seconds):
    return np.arange(int(seconds * RATE), dtype=np.int16)


def levels(audio):
    return (audio["waveform"][0, 0] * 32768).round().long()


def test_sound_is_cut_to_the_sample(tmp_path):
    path = mux(tmp_path / "clip.mov", [numbered_frame(number) for number in range(30)], ramp(3))
    audio = FileSource(path).audio(Fraction(1, 2), Fraction(1, 4))
    assert audio["sample_rate"] == 8000 and audio["waveform"].dtype == torch.float32
    assert audio["waveform"].shape == (1, 1, 2000)
    assert levels(audio).tolist() == list(range(4000, 6000))


@pytest.mark.parametrize("name", ["clip.mov", "clip.mkv"])
def test_sound_after_a_jump_is_the_same_sound(tmp_path, name):
    path = mux(tmp_path / name, [numbered_frame(number) for number in range(40)], ramp(4))
    audio = FileSource(path).audio(3.5, 0.25)
    assert levels(audio).tolist() == list(range(28000, 30000))


def test_compressed_sound_after_a_jump_is_the_same_sound(tmp_path):
    wave = (
        8000 * np.sin(np.arange(5 * RATE) * 0.05 + np.sin(np.arange(5 * RATE) * 0.0007))
    ).astype(np.int16)
    source = FileSource(
        mux(tmp_path / "clip.mp4", [numbered_frame(n) for n in range(50)], wave, sound="aac")
    )
    everything = source.audio(0, 0)["waveform"]
    part = source.audio(4, 0.5)["waveform"]
    assert part.shape == (1, 1, 4000)
    assert torch.allclose(part, everything[..., 32000:36000], atol=1e-5)
    assert part.abs().max() > 0.2


def test_sound_to_the_end_and_silence_beyond_it(tmp_path):
    source = FileSource(
        mux(tmp_path / "clip.mov", [numbered_frame(number) for number in range(20)], ramp(1))
    )
    assert levels(source.audio(0.75, 0)).tolist() == list(range(6000, 8000))
    beyond = levels(source.audio(0.75, 0.5))
    assert beyond[:2000].tolist() == list(range(6000, 8000))
    assert beyond[2000:].tolist() == [0] * 2000


def test_sound_that_starts_late_stays_in_step_with_the_pictures(tmp_path):
    path = mux(
        tmp_path / "clip.mkv",
        [numbered_frame(number) for number in range(20)],
        ramp(1) + 1,
        first_sound=4000,
    )
    audio = levels(FileSource(path).audio(0.25, 0.5))
    assert audio[:2000].tolist() == [0] * 2000
    assert audio[2000:].tolist() == list(range(1, 2001))


def test_sound_is_counted_from_the_first_picture(tmp_path):
    path = mux(
        tmp_path / "late.mkv",
        [numbered_frame(number) for number in range(20)],
        ramp(2),
        first_picture=5,
    )
    assert levels(FileSource(path).audio(0.25, 0.25)).tolist() == list(range(6000, 8000))


def test_no_sound(tmp_path):
    path = mux(tmp_path / "clip.mov", [numbered_frame(number) for number in range(20)], ramp(1))
    assert FileSource(path).audio(0, 0) is not None
    assert FileSource(path).audio(1.5, 0.25) is None
    silent = FileSource(mux(tmp_path / "silent.mov", [numbered_frame(0)]))
    assert silent.audio(0, 0) is None
    assert silent.audio(0, 1) is None
    assert ImageSource(torch.zeros(1, 8, 8, 3), Fraction(24)).audio(0, 1) is None


# Errors


def refusal(source, clip_range=None):
    with pytest.raises(ClipError) as caught:
        list(source.frames(clip_range or ClipRange()))
    text = str(caught.value)
    assert "\n" not in text and "Errno" not in text and "avcodec" not in text
    return text


def test_text_renamed_mp4(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is not a video\n" * 100)
    assert refusal(FileSource(str(path))).startswith(
        "video 'notes.mp4': got a file that is not a video, or is damaged, needs a video that plays"
    )


def test_empty_missing_and_folder(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "video 'empty.mp4': got an empty file (0 bytes)" in refusal(
        FileSource(str(tmp_path / "empty.mp4"))
    )
    assert "got an empty file (0 bytes)" in refusal(FileSource(io.BytesIO()))
    assert "video 'gone.mp4': got no such file" in refusal(FileSource(str(tmp_path / "gone.mp4")))
    assert "not a video" in refusal(FileSource(str(tmp_path)))


def test_an_animated_webp_is_called_by_its_name(tmp_path):
    path = tmp_path / "a.webp"
    pictures = [Image.fromarray(numbered_frame(number)) for number in range(3)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    expected = (
        "got an animated WebP, which FFmpeg does not read, needs a video that plays (mp4, mov, "
        "webm, mkv, avi or gif). Convert it to mp4 (H.264), webm or gif first."
    )
    assert refusal(FileSource(str(path))) == f"video 'a.webp': {expected}"
    assert refusal(FileSource(io.BytesIO(path.read_bytes()))) == f"video 'in memory': {expected}"


def test_a_coding_that_ffmpeg_does_not_know(tmp_path):
    """It was called a file without pictures."""
    path = tmp_path / "raw.mp4"
    mux(path, [numbered_frame(0)])
    path.write_bytes(path.read_bytes().replace(b"avc1", b"BRAW"))
    assert refusal(FileSource(str(path))).startswith(
        "video 'raw.mp4': got pictures in a coding that FFmpeg does not know, or a damaged file, "
        "needs "
    )


@pytest.mark.parametrize("form", ["yuv420p", "yuv444p"])
def test_y4m_is_read(tmp_path, form):
    """The raw video that FFmpeg, x264 and others hand to each other."""
    with av.open(str(tmp_path / "raw.y4m"), "w") as container:
        stream = container.add_stream("wrapped_avframe", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, form
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(
                np.full((32, 48, 3), 5 * number, np.uint8), format="rgb24"
            )
            frame = frame.reformat(format=form)
            frame.pts = number
            container.mux(stream.encode(frame))
    source = FileSource(str(tmp_path / "raw.y4m"))
    assert numbers(source.frames(ClipRange(3, 4))) == [3, 4, 5, 6]
    assert (source.facts().fps, source.frame_at(Fraction(1, 5)), source.find_trim(0.2, 0.2)) == (
        25,
        5,
        (5, 10),
    )


def test_a_size_that_changes_inside_names_the_frame(tmp_path):
    """As WebRTC recordings do when the line gets slow."""
    path = tmp_path / "calls.ts"
    parts = [
        mux(
            tmp_path / f"{size}.ts",
            [numbered_frame(number, size) for number in range(10)],
            first_picture=first,
        )
        for size, first in ((32, 0), (64, 10))
    ]
    path.write_bytes(b"".join(Path(part).read_bytes() for part in parts))
    assert refusal(FileSource(str(path))) == (
        "video 'calls.ts': got frame 10 of 64x64 pixels, needs the first frame's size, 32x32, "
        "throughout. Set the frame limit to end before frame 10, or export the file again."
    )
    assert len(list(FileSource(str(path)).frames(ClipRange(0, 10)))) == 10


def test_sound_only(tmp_path):
    path = mux(tmp_path / "song.m4a", samples=ramp(1), sound="aac")
    assert "video 'song.m4a': got a file without pictures" in refusal(FileSource(path))


def test_a_cover_image_is_not_a_video(tmp_path):
    path = str(tmp_path / "song.mp3")
    with av.open(path, "w") as container:
        track = container.add_stream("mp3", rate=44100, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = Disposition.attached_pic.value
        container.mux(
            cover.encode(
                av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            )
        )
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 44100), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 44100
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    assert "video 'song.mp3': got a file without pictures" in refusal(FileSource(path))


def test_no_frames(tmp_path):
    path = str(tmp_path / "none.avi")
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.start_encoding()
    assert "video 'none.avi': got 0 frames, needs at least 1 frame." in refusal(FileSource(path))
    with pytest.raises(ClipError, match="video 'images': got 0 frames, needs at least 1 frame."):
        ImageSource(torch.zeros(0, 8, 8, 3), Fraction(24)).facts()


@pytest.mark.parametrize("start", [10, 11, 500])
def test_start_beyond_the_end_says_how_many_frames_there_are(tmp_path, start):
    path = mux(tmp_path / "clip.mp4", [numbered_frame(number) for number in range(10)])
    expected = (
        f"got start frame {start}, needs a start from 0 to 9 (frame count: 10). "
        "Set the start frame to 9 or less."
    )
    assert refusal(FileSource(path), ClipRange(start)) == f"video 'clip.mp4': {expected}"
    images = ImageSource(torch.zeros(10, 8, 8, 3), Fraction(24))
    assert refusal(images, ClipRange(start)) == f"video 'images': {expected}"


def test_truncated_file(tmp_path):
    path = tmp_path / "cut.mp4"
    write_clip(path, moving_shapes(30, 64, 64), Fraction(24))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source, good = FileSource(str(path)), 0
    with pytest.raises(
        ClipError, match=r"video 'cut.mp4': got damaged or missing data after (\d+) frames"
    ) as caught:
        for _frame in source.frames(ClipRange()):
            good += 1
    assert 1 <= good < 30 and f"after {good} frames" in str(caught.value)
    assert len(list(source.frames(ClipRange(0, good)))) == good, "the intact part must stay usable"


def test_an_encrypted_video_whose_first_pictures_come_out(tmp_path):
    """As rubbish, by chance; here they are whole, and the mark is that of an encrypted track."""
    path = tmp_path / "locked.mp4"
    write_clip(path, moving_shapes(30, 64, 64), Fraction(24))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"encv")
    with pytest.raises(ClipError, match=r"video 'locked.mp4': got an encrypted video"):
        list(FileSource(str(path)).frames(ClipRange()))


def test_truncated_before_its_index(tmp_path):
    path = mux(tmp_path / "cut.mp4", [numbered_frame(number) for number in range(10)])
    with open(path, "r+b") as file:
        file.truncate(600)
    assert "video 'cut.mp4': got a file that is not a video, or is damaged" in refusal(
        FileSource(path)
    )


@pytest.mark.parametrize(
    "values, text",
    [
        ({"start": -1}, "start frame: got -1, needs 0 or more. Set it to 0."),
        ({"frames": -5}, "frame limit: got -5, needs 0 or more. Set it to 0."),
        ({"stride": 0}, "frame stride: got 0, needs 1 or more. Set it to 1."),
        ({"start": 2**70}, "start frame: got 1.18059e+21, needs at most 2147483647. Set it to 0."),
        (
            {"frames": 10**400},
            (
                "frame limit: got a number of more than 300 digits, needs at most 2147483647. Set "
                "it to 0."
            ),
        ),
        (
            {"stride": 2**31},
            "frame stride: got 2.14748e+09, needs at most 2147483647. Set it to 1.",
        ),
        ({"start": float("nan")}, "start frame: got nan, needs a whole number. Set it to 0."),
        ({"start": float("inf")}, "start frame: got inf, needs a whole number. Set it to 0."),
        ({"frames": "\n"}, "frame limit: got '\\n', needs a whole number. Set it to 0."),
    ],
)
def test_impossible_ranges(values, text):
    with pytest.raises(ClipError) as caught:
        ClipRange(**values)
    assert str(caught.value) == text


def test_impossible_images_and_sound_ranges(tmp_path):
    with pytest.raises(
        ClipError, match=r"images: got shape \(8, 8, 3\), needs \(frames, height, width, 3\)"
    ):
        ImageSource(torch.zeros(8, 8, 3), Fraction(24))
    with pytest.raises(ClipError, match="without transparency"):
        ImageSource(torch.zeros(1, 8, 8, 4), Fraction(24))
    for fps, got in (
        (Fraction(0), "0"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (2.0**70, "1.18059e+21"),
        (1e-300, "1e-300"),
        (-24, "-24"),
    ):
        with pytest.raises(
            ClipError, match=f"frame rate: got {re.escape(got)}, needs more than 0 and at most 1000"
        ):
            ImageSource(torch.zeros(1, 8, 8, 3), fps)
    for shape in ((1, 0, 8, 3), (1, 8, 0, 3)):
        with pytest.raises(ClipError, match="got 0 frames"):
            ImageSource(torch.zeros(shape), Fraction(24)).facts()
    with pytest.raises(ClipError, match="sound range: got start -1 s"):
        FileSource(mux(tmp_path / "clip.mov", [numbered_frame(0)], ramp(1))).audio(-1, 1)
