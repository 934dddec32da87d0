"""SAMA Compare through the real executor: clips of all kinds, and clips that do not fit."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, FileSource

from ..comfyui.graphs import Graph, output
from ..harness.hostile.strange_pictures import write_strange
from ..harness.moving_shapes import moving_shapes
from ..harness.numbered_clips import HEIGHT, WIDTH, number_in, numbered_picture, write_numbered
from ..harness.sound_files import click_times, clicks, write
from ..harness.write_clip import write_clip

FITTED = {"frames": 0, "start": 0, "stride": 1, "area": WIDTH * HEIGHT, "fps": 24.0}


class Bench(Graph):
    """A graph, and what SAMA Compare makes of its inputs."""

    def __init__(self, comfyui):
        super().__init__()
        self.comfyui = comfyui

    def numbered(self, name, count, rate=24, stamps=None):
        """A video of `count` pictures that carry their numbers."""
        stamps = stamps or [round(1000 * number / rate) for number in range(count)]
        write_numbered(self.comfyui.base / "input" / name, stamps, rate=rate)
        return self.add("LoadVideo", file=name)

    def frames_of(self, video):
        """The same as IMAGE."""
        return self.add("GetVideoComponents", video=video)

    def finish(self, video, **changes):
        """The video, edited by nobody, as SAMA Finish Video gives it."""
        part = self.add("SAMASourceVideo", video=video, **{**FITTED, **changes})
        return self.add(
            "SAMAFinishVideo", frames=part, clip_info=output(part, 1), audio=output(part, 2)
        )

    def run(self, **inputs):
        """The result of the run, and the id of the node."""
        settings = {"layout": "side by side", "position": 0.5, "fps": 0.0}
        link = self.add("SAMACompare", **{**settings, **inputs})
        return self.comfyui.run(self.nodes, keep=[link[0]]), link[0]

    def compare(self, **inputs):
        """What the player gets, and the VIDEO."""
        result, key = self.run(**inputs)
        result.check()
        return result.outputs[key]["sama_compare"][0], result.values[key][0]

    def path(self, file):
        """Where a file lies that the player gets."""
        assert file["type"] == "temp"
        return self.comfyui.base / "temp" / file["subfolder"] / file["filename"]

    def pictures(self, film):
        """Time, source and edit of every picture of the player's film."""
        for picture in FileSource(str(self.path(film))).pictures(ClipRange()):
            source, edit = np.split(picture.pixels, 2, axis=int(film["width"] < film["height"]))
            yield picture.time, source, edit

    def numbers(self, film):
        """The numbers that each pair shows: (source, edit)."""
        return [(number_in(source), number_in(edit)) for _, source, edit in self.pictures(film)]


@pytest.fixture
def bench(comfyui):
    return Bench(comfyui)


def flat(count, height, width, level):
    return torch.full((count, height, width, 3), level / 255)


class Given:
    """A node that gives what a test puts into it."""

    value = None

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "give"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"key": ("STRING", {})}}

    def give(self, key):
        return (type(self).value[key],)


@pytest.fixture
def images(bench, monkeypatch):
    """`images(edit=…, source=…)`: links to these tensors."""
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestGiven", Given)

    def link(**values):
        monkeypatch.setattr(Given, "value", values)
        return {name: bench.add("TestGiven", key=name) for name in values}

    return link


# --- kinds of clips ----------------------------------------------------------------------------


def test_two_files_are_packed_frame_by_frame(bench):
    film, video = bench.compare(
        edit=bench.numbered("edit.mkv", 17), source=bench.numbered("source.mkv", 17)
    )
    assert bench.numbers(film) == [(number, number) for number in range(17)]
    assert (film["width"], film["height"], film["count"]) == (WIDTH, HEIGHT, 17)
    assert film["fps"] == pytest.approx(24, abs=0.01) and film["times"] is None
    assert film["remarks"] == [] and film["sounds"] == {}
    assert (video.get_dimensions(), video.get_frame_count()) == ((2 * WIDTH, HEIGHT), 17)


def test_frames_play_at_the_rate_of_the_video_beside_them(bench):
    source = bench.numbered("slow.mkv", 5, rate=10)
    film, _ = bench.compare(edit=bench.frames_of(source), source=source)
    assert bench.numbers(film) == [(number, number) for number in range(5)]
    assert film["fps"] == 10 and film["remarks"] == []


@pytest.mark.parametrize("fps, rate", [(0.0, 24), (8.0, 8)])
def test_two_batches_of_frames(bench, images, fps, rate):
    film, video = bench.compare(
        **images(edit=flat(3, 32, 48, 200), source=flat(3, 32, 48, 50)), fps=fps
    )
    assert (film["fps"], film["count"], video.get_frame_rate()) == (rate, 3, rate)
    for _, source, edit in bench.pictures(film):
        assert abs(source.mean() - 50) < 2 and abs(edit.mean() - 200) < 2


def test_a_finished_edit_remembers_its_part_of_the_source(bench):
    """Alone, and also where the whole file is connected as the source."""
    clip = bench.numbered("whole.mkv", 17)
    edit = bench.finish(clip, start=6, stride=2, frames=5)
    for connected in ({}, {"source": clip}):
        film, _ = bench.compare(edit=edit, **connected)
        assert [source for source, _ in bench.numbers(film)] == [6, 8, 10, 12, 14]
        assert film["fps"] == pytest.approx(12, abs=0.01) and film["remarks"] == []


def test_another_clip_is_not_taken_for_the_remembered_one(bench):
    edit = bench.finish(bench.numbered("one.mkv", 9), start=2)
    film, _ = bench.compare(edit=edit, source=bench.numbered("other.mkv", 7))
    assert [source for source, _ in bench.numbers(film)] == list(range(7))


def test_an_edit_without_a_source_is_refused(bench):
    result, _ = bench.run(edit=bench.numbered("alone.mkv", 2))
    assert (
        "source: got nothing, needs the clip before the edit. Connect it; only the VIDEO of SAMA "
        "Finish Video or SAMA Edit Whole Video remembers its source." in result.errors[0]
    )


@pytest.mark.parametrize(
    "wrong", ["a text", torch.zeros(2, 8, 8), torch.full((1, 8, 8, 3), torch.nan)]
)
def test_what_is_no_clip_is_refused(bench, images, wrong):
    result, _ = bench.run(**images(edit=wrong, source=flat(1, 8, 8, 0)))
    assert "edit: got" in result.errors[0] and "InputError" in result.errors[0]


# --- clips that do not fit ---------------------------------------------------------------------


@pytest.mark.parametrize("edit, source, longer", [(9, 5, "edit"), (5, 9, "source")])
def test_the_length_that_both_have_is_compared(bench, edit, source, longer):
    film, video = bench.compare(
        edit=bench.numbered("a.mkv", edit, 10), source=bench.numbered("b.mkv", source, 10)
    )
    assert bench.numbers(film) == [(number, number) for number in range(5)]
    assert film["remarks"] == [f"The {longer} is longer: compared are the first 5 frames, 0.5 s."]
    assert video.get_frame_count() == 5


@pytest.mark.parametrize("edit_rate, source_rate", [(20, 10), (10, 20)])
def test_clips_of_two_rates_are_compared_by_time(bench, edit_rate, source_rate):
    film, _ = bench.compare(
        edit=bench.numbered("a.mkv", edit_rate // 2, edit_rate),
        source=bench.numbered("b.mkv", source_rate // 2, source_rate),
    )
    slow = [number // 2 for number in range(10)]
    assert [edit for _, edit in bench.numbers(film)] == (
        list(range(10)) if edit_rate == 20 else slow
    )
    assert [source for source, _ in bench.numbers(film)] == (
        list(range(10)) if source_rate == 20 else slow
    )
    assert (film["fps"], film["count"]) == (20, 10)
    assert film["remarks"] == [
        (
            f"The source has {source_rate} frames per second, the edit {edit_rate}: "
            "compared is what both show at the same time."
        )
    ]


def test_nearly_equal_rates_are_compared_frame_by_frame(bench):
    film, _ = bench.compare(
        edit=bench.numbered("a.mkv", 30, Fraction(24000, 1001)),
        source=bench.numbered("b.mkv", 30, 24),
    )
    assert bench.numbers(film) == [(number, number) for number in range(30)]
    assert film["remarks"] == []


def test_a_varying_rate_keeps_its_times(bench):
    stamps = [0, 40, 80, 200, 240]
    film, _ = bench.compare(
        edit=bench.numbered("a.mkv", 5, stamps=stamps),
        source=bench.numbered("b.mkv", 5, stamps=stamps),
    )
    assert film["times"] == [0, 0.04, 0.08, 0.2, 0.24]
    assert [round(1000 * time) for time, _, _ in bench.pictures(film)] == stamps
    assert bench.numbers(film) == [(number, number) for number in range(5)]


def test_the_last_frame_of_a_varying_rate_is_as_long_as_the_one_before(bench):
    """By the average it would last 0.06 s, or 0.3 s with a long frame in between."""
    stamps = [0, 40, 80, 1200, 1240]
    _, video = bench.compare(
        edit=bench.numbered("a.mkv", 5, stamps=stamps),
        source=bench.numbered("b.mkv", 5, stamps=stamps),
    )
    assert float(video.get_duration()) == pytest.approx(1.28, abs=0.002)


def test_a_finished_edit_of_a_varying_rate_is_in_step_with_its_source(bench):
    """Averages of the two differ: the edit's is over the part, the source's is the file's own."""
    clip = bench.numbered("varying.mkv", 9, stamps=[0, 40, 80, 200, 240, 280, 800, 840, 880])
    film, _ = bench.compare(edit=bench.finish(clip))
    assert bench.numbers(film) == [(number, number) for number in range(9)]
    assert film["remarks"] == []


def test_hdr_is_said(bench):
    tags = {"color_primaries": 9, "color_trc": 18, "colorspace": 9}
    path = bench.comfyui.base / "input" / "hlg.mkv"
    write_strange(path, "ffv1", "yuv420p10le", tags=tags)
    film, _ = bench.compare(
        edit=bench.add("LoadVideo", file="hlg.mkv"), source=bench.add("LoadVideo", file="hlg.mkv")
    )
    assert film["remarks"] == [
        (
            "HDR: the source (HLG) and the edit (HLG). Compared are the values as they are "
            "stored, paler than a screen for HDR shows them."
        )
    ]


@pytest.mark.parametrize(
    "edit, source, shown, remark",
    [
        ((16, 24), (32, 48), (48, 32), "The edit, 24x16, is scaled to the source's 48x32."),
        ((32, 32), (32, 48), (48, 32), "The edit, 32x32, is stretched to the source's 48x32."),
        (
            (33, 47),
            (33, 47),
            (48, 32),
            "Sides of a video are even: each clip of the output has 48x32.",
        ),
        ((64, 16), (64, 16), (16, 64), None),
    ],
    ids=["smaller", "another shape", "odd", "high"],
)
def test_sizes(bench, images, edit, source, shown, remark):
    film, video = bench.compare(**images(edit=flat(2, *edit, 200), source=flat(2, *source, 50)))
    assert (film["width"], film["height"]) == shown
    assert film["remarks"] == ([remark] if remark else [])
    for _, one, other in bench.pictures(film):
        assert one.shape == other.shape == (shown[1], shown[0], 3)
        assert abs(one.mean() - 50) < 2 and abs(other.mean() - 200) < 2
    assert video.get_dimensions() == (2 * shown[0], shown[1])


def test_one_frame(bench, images):
    film, video = bench.compare(**images(edit=flat(1, 32, 48, 9), source=flat(1, 32, 48, 9)))
    assert (film["count"], film["times"], video.get_frame_count()) == (1, None, 1)
    assert len(list(bench.pictures(film))) == 1


def test_4k_is_shown_smaller_and_says_so(bench, images):
    film, video = bench.compare(
        **images(edit=flat(1, 2160, 3840, 90), source=flat(1, 2160, 3840, 90)), layout="wipe"
    )
    assert (film["width"], film["height"]) == (1920, 1080)
    assert film["remarks"] == ["The player shows 1920x1080; each clip of the output 3840x2160."]
    assert video.get_dimensions() == (3840, 2160)


# --- sound -------------------------------------------------------------------------------------


def test_the_sound_of_either_clip(bench):
    """A clip without sound has no file; the film of both has the edit's, or else the source's."""
    write(bench.comfyui.base / "input" / "loud.mp4", clicks(2, 2), "aac", "stereo")
    loud, silent = bench.add("LoadVideo", file="loud.mp4"), bench.numbered("silent.mkv", 12, 6)
    for side, other in (("source", "edit"), ("edit", "source")):
        film, video = bench.compare(**{side: loud, other: silent})
        assert list(film["sounds"]) == [side]
        heard = FileSource(str(bench.path(film))).audio(0, 2)
        assert heard is None
        audio = video.get_components().audio
        assert click_times(audio) == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=0.003)


def test_the_sound_of_a_file_is_never_held_whole(bench, monkeypatch):
    """Ten minutes of it would take 230 MB, of either clip."""

    def read(*_given):
        raise AssertionError("the sound was read as AUDIO")

    write(bench.comfyui.base / "input" / "long.mp4", clicks(2, 2), "aac", "stereo")
    clip = bench.add("LoadVideo", file="long.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(FileSource, "sound", read)
        film, video = bench.compare(edit=clip, source=clip)
        assert sorted(film["sounds"]) == ["edit", "source"]
        assert video.get_duration() == pytest.approx(2, abs=0.05)


def test_the_sound_of_a_part_is_that_of_its_frames(bench):
    import av

    write(bench.comfyui.base / "input" / "clicks.mp4", clicks(1, 3), "aac", "mono")
    clip = bench.add("LoadVideo", file="clicks.mp4")
    film, _ = bench.compare(edit=bench.finish(clip, start_seconds=1.0))
    assert sorted(film["sounds"]) == ["edit", "source"]
    for file in film["sounds"].values():
        with av.open(str(bench.path(file))) as container:
            assert not container.streams.video
            wave = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], 1)
            rate = container.streams.audio[0].rate
        audio = {"waveform": torch.from_numpy(wave)[None], "sample_rate": rate}
        assert click_times(audio) == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=0.08)


# --- the film of both --------------------------------------------------------------------------


def mean_levels(video, count=9):
    """Of nine columns of every frame of a video."""
    frames = video.get_components().images
    return [
        [round(float(part.mean() * 255)) for part in frame.chunk(count, dim=1)] for frame in frames
    ]


@pytest.mark.parametrize(
    "layout, size, expected",
    [
        ("side by side", (144, 32), [50, 50, 50, 50, 125, 200, 200, 200, 200]),
        ("top and bottom", (72, 64), [125] * 9),
        ("wipe", (72, 32), [50, 50, 75, 207, 200, 200, 200, 200, 200]),
        ("difference", (72, 32), [247] * 9),
    ],
)
def test_layouts(bench, images, layout, size, expected):
    _, video = bench.compare(
        **images(edit=flat(2, 32, 72, 200), source=flat(2, 32, 72, 50)),
        layout=layout,
        position=1 / 3,
    )
    assert video.get_dimensions() == size
    for levels in mean_levels(video):
        assert levels == pytest.approx(expected, abs=4)


def test_a_moving_wipe_goes_across_and_back(bench, images):
    _, video = bench.compare(
        **images(edit=flat(5, 32, 72, 200), source=flat(5, 32, 72, 50)), layout="moving wipe"
    )
    sides = [(row[1] < 100, row[-2] < 100) for row in mean_levels(video)]
    assert sides == [(False, False), (True, False), (True, True), (True, False), (False, False)]


def test_equal_frames_have_no_difference(bench, images):
    picture = torch.from_numpy(numbered_picture(5))[None] / 255
    _, video = bench.compare(**images(edit=picture, source=picture), layout="difference")
    assert float(video.get_components().images.max()) < 0.02


def test_save_video_writes_the_comparison(bench):
    clip = bench.numbered("clip.mkv", 6, 12)
    both = bench.add(
        "SAMACompare", edit=bench.finish(clip), layout="top and bottom", position=0.5, fps=0.0
    )
    bench.add("SaveVideo", video=both, filename_prefix="compared/film", format="auto", codec="auto")
    bench.comfyui.run(bench.nodes).check()
    (path,) = (bench.comfyui.base / "output" / "compared").iterdir()
    found = FileSource(str(path))
    assert (found.facts().width, found.facts().height) == (WIDTH, 2 * HEIGHT)
    assert [number_in(picture.pixels[:HEIGHT]) for picture in found.pictures(ClipRange())] == list(
        range(6)
    )


def test_the_film_is_written_when_it_is_used_and_again_when_it_is_gone(bench):
    _, video = bench.compare(edit=bench.numbered("a.mkv", 3), source=bench.numbered("b.mkv", 3))
    folder = bench.comfyui.base / "temp" / "sama_compare"
    before = set(folder.iterdir())
    assert video.get_frame_count() == 3
    (made,) = set(folder.iterdir()) - before
    assert video.get_dimensions() == (2 * WIDTH, HEIGHT)
    assert set(folder.iterdir()) - before == {made}
    made.unlink()
    assert video.get_frame_count() == 3 and len(set(folder.iterdir()) - before) == 1


# --- how it is done ----------------------------------------------------------------------------


def test_files_are_read_frame_by_frame(bench, monkeypatch):
    from comfy_api.latest import InputImpl

    monkeypatch.setattr(
        InputImpl.VideoFromFile,
        "get_components_internal",
        lambda *_, **__: pytest.fail("all frames at once"),
    )
    film, video = bench.compare(edit=bench.numbered("a.mkv", 4), source=bench.numbered("b.mkv", 4))
    assert (film["count"], video.get_frame_count()) == (4, 4)


def test_an_interrupt_leaves_no_part_of_a_film(bench):
    write_clip(bench.comfyui.base / "input" / "long.mp4", moving_shapes(30, 64, 64), Fraction(24))
    clip = bench.add("LoadVideo", file="long.mp4")
    folder = bench.comfyui.base / "temp" / "sama_compare"
    before = set(folder.iterdir()) if folder.exists() else set()
    bench.comfyui.interrupt_after(1)
    result, _ = bench.run(edit=clip, source=clip)
    assert result.interrupted
    assert set(folder.iterdir()) == before


def test_a_lost_film_is_made_again(bench):
    """Where nothing changed, ComfyUI gives what it kept; not where that is gone."""
    film, _ = bench.compare(edit=bench.numbered("a.mkv", 2), source=bench.numbered("b.mkv", 2))
    names = []
    for lost in (False, True):
        if lost:
            bench.path(film).unlink()
        result = bench.comfyui.run(bench.nodes, keep=["3"], warm=True).check()
        names.append(result.outputs["3"]["sama_compare"][0]["filename"])
    assert names[0] == film["filename"] != names[1]


def test_every_frame_can_be_reached_quickly(bench):
    """A picture that stands alone comes at least every twelfth, and none is reordered."""
    import av

    film, _ = bench.compare(edit=bench.numbered("a.mkv", 40), source=bench.numbered("b.mkv", 40))
    with av.open(str(bench.path(film))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert keys[0] == 0 and max(np.diff([*keys, 40])) <= 12
    assert all(packet.pts == packet.dts for packet in packets)
