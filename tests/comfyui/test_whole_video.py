"""SAMA Edit Whole Video in the executor: the frames of the nodes that hold all, at any length, and
nothing done twice.
"""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.whole_video import read_packets
from sama_core.clip import ClipRange, FileSource, prepare_pictures, restore_frames
from sama_core.clip.save import Encoding

from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip
from .graphs import INSTRUCTION, Edit, long_edit, output, whole_edit

FILE, FRAMES, WIDTH, HEIGHT = "whole_shapes.mp4", 46, 72, 40
"""Of a size that fitting crops and enlarges: borders come from the source."""
SETTINGS = {
    "instruction": INSTRUCTION,
    "seed": 1,
    "steps": 2,
    "cfg": 1.0,
    "shift": 5.0,
    "sampler_name": "euler",
    "segment_frames": 17,
    "overlap_frames": 4,
    "anchor_colours": True,
    "frames": 0,
    "start": 0,
    "stride": 1,
    "area": 32 * 32,
    "edit_tag": True,
    "tiling": "automatic",
    "crf": 0.0,
    "keep_segments": False,
}


@pytest.fixture
def jobs(comfyui, monkeypatch) -> Path:
    """The folder of jobs, empty before and after; pieces are of three steps."""
    from sama_core.comfyui import whole_decode
    from sama_core.comfyui.whole_video import jobs_folder

    monkeypatch.setattr(whole_decode, "PIECE_STEPS", 3)
    shutil.rmtree(jobs_folder(), ignore_errors=True)
    yield jobs_folder()
    shutil.rmtree(jobs_folder(), ignore_errors=True)


@pytest.fixture(scope="module")
def clip(comfyui) -> Path:
    """46 frames with sound."""
    path, rate = comfyui.base / "input" / FILE, 44_100
    times = torch.arange(rate * FRAMES // 12) / rate
    waveform = torch.stack([(times * 440 * 6.2832).sin(), (times * 660 * 6.2832).sin()])[None] / 3
    sound = {"waveform": waveform, "sample_rate": rate}
    write_clip(path, moving_shapes(FRAMES, WIDTH, HEIGHT), Fraction(12), sound)
    return path


def whole_graph(comfyui, small, **changes) -> tuple[Edit, list]:
    """The graph of a ComfyUI that knows of no result of an earlier one."""
    from sama_core.comfyui import whole_result

    whole_result._cleared.clear()
    edit = Edit(comfyui, small, area=32 * 32, frames=0)
    (video,) = (name for name, node in edit.nodes.items() if node["class_type"] == "LoadVideo")
    edit.nodes[video]["inputs"]["file"] = FILE
    parts = {"model": edit.model, "clip": edit.clip, "vae": edit.vae, "video": [video, 0]}
    return edit, edit.add("SAMAEditWholeVideo", **parts, **{**SETTINGS, **changes})


def edit_whole(comfyui, small, **changes):
    edit, link = whole_graph(comfyui, small, **changes)
    return edit.values(link)


def save(comfyui, small, prefix: str, **changes) -> Path:
    """The file that Save Video writes of the edit."""
    edit, link = whole_graph(comfyui, small, **changes)
    edit.add("SaveVideo", video=link, filename_prefix=prefix, format="auto", codec="auto")
    comfyui.run(edit.nodes).check()
    (path,) = (comfyui.base / "output").glob(f"{prefix}_0*.mp4")
    return path


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(FileSource(str(path)).frames(ClipRange())))


class Given:
    """What a whole video's edit gives to the encoder."""

    def __init__(self):
        self.frames, self.pictures, self.info = [], [], None

    def prepare(self, frames, info, encoding):
        """`prepare_pictures`, remembering."""
        self.info = info

        def each():
            for frame in frames:
                self.frames.append(frame.clone())
                yield frame

        for picture in prepare_pictures(each(), info, encoding):
            self.pictures.append(picture.to_ndarray())
            yield picture

    def require(self, expected: torch.Tensor) -> None:
        """The frames and the pictures are those of `expected`, bit for bit."""
        frames = torch.stack(self.frames)[: len(expected)]  # some may be taken ahead
        assert torch.equal(restore_frames(frames, self.info), expected)
        whole = prepare_pictures(expected, self.info, Encoding(), is_original=True)
        whole = [picture.to_ndarray() for picture in whole]
        assert np.array_equal(np.stack(self.pictures), np.stack(whole))


@pytest.fixture
def given(comfyui, monkeypatch) -> Given:
    from sama_core.comfyui import whole_decode

    given = Given()
    monkeypatch.setattr(whole_decode, "prepare_pictures", given.prepare)
    return given


def test_the_frames_are_those_of_the_nodes_that_hold_all(comfyui, small, clip, jobs, store, given):
    """Bit for bit, as they are given to the encoder: Source Video, Long Edit, Finish Video."""
    edit_whole(comfyui, small)
    edit, _ = whole_graph(comfyui, small)
    edited = long_edit(edit, anchor_colours=True)
    finished = edit.add("SAMAFinishVideo", frames=edited, clip_info=output(edit.source, 1))
    expected = edit.values(finished).get_components().images
    assert expected.shape == (FRAMES, HEIGHT, WIDTH, 3)
    given.require(expected)


def test_a_clip_of_one_segment_is_a_plain_edit(comfyui, small, clip, jobs, store, given):
    """The frames are those of SAMA Edit, and of SAMA Long Edit, bit for bit: nothing drifts, and so
    no colours are held.
    """
    one = {"frames": 11, "start": 3, "cfg": 5.0, "steps": 3}
    edit_whole(comfyui, small, **one)
    edit, _ = whole_graph(comfyui, small)
    edit.nodes[edit.source[0]]["inputs"] |= {"frames": 11, "start": 3}
    long = long_edit(edit, anchor_colours=True, cfg=5.0, steps=3)
    for edited in (whole_edit(edit), long):
        finished = edit.add("SAMAFinishVideo", frames=edited, clip_info=output(edit.source, 1))
        expected = edit.values(finished).get_components().images
        assert expected.shape == (11, HEIGHT, WIDTH, 3)
        given.require(expected)


def test_it_is_compared_with_the_part_that_was_edited(comfyui, small, clip, jobs):
    """It remembers its source, also where Load Video's VIDEO stands beside it."""
    edit, link = whole_graph(comfyui, small, start=30, frames=5)
    source = edit.nodes[link[0]]["inputs"]["video"]
    films = []
    for beside in ({}, {"source": source}):
        key, _ = edit.add("SAMACompare", edit=link, layout="wipe", position=0.5, fps=0.0, **beside)
        (film,) = comfyui.run(edit.nodes).check().outputs[key]["sama_compare"]
        path = comfyui.base / "temp" / film["subfolder"] / film["filename"]
        films.append(np.split(frames_of(path).astype(int), 2, axis=1)[0])  # the source, above
        assert (
            film["remarks"] == []
            and film["count"] == 5
            and set(film["sounds"])
            == {
                "source",
                "edit",
            }
        )
        del edit.nodes[key]
    expected = frames_of(clip)[30:35].astype(int)
    assert all(np.abs(shown - expected).mean() < 3 for shown in films)
    assert np.abs(films[0] - frames_of(clip)[:5]).mean() > 6


def test_times_and_sound_are_the_clips(comfyui, small, clip, jobs):
    path = save(comfyui, small, "whole_times")
    own, found = read_packets(clip), read_packets(path)
    assert [packet for packet in found if packet[0] == "audio"] == [
        packet for packet in own if packet[0] == "audio"
    ]
    assert [packet[1:3] for packet in found if packet[0] == "video"] == [
        packet[1:3] for packet in own if packet[0] == "video"
    ]
    assert len(frames_of(path)) == FRAMES
    assert not jobs.exists() or not list(jobs.iterdir()), "cleared when it was saved"


@pytest.mark.parametrize("lost", [[0], [2], [0, 2], []])
def test_pieces_that_are_missing_are_made_anew_as_they_were(
    comfyui, small, clip, jobs, sampled_segments, lost
):
    """From the middle, after a warm-up, and nothing is sampled again. A damaged one is missing."""
    first = edit_whole(comfyui, small, keep_segments=True)
    whole = first.job.result.read_bytes()
    del sampled_segments[:]
    for number in lost:
        first.job.piece(number).unlink()
    if not lost:
        first.job.piece(1).write_bytes(first.job.piece(1).read_bytes()[:-200])
    first.job.result.unlink()
    again = edit_whole(comfyui, small, keep_segments=True)
    assert again.job.result.read_bytes() == whole
    assert not sampled_segments


@pytest.mark.parametrize(
    "where", ["first segment", "second segment", "second piece", "joining", "saving"]
)
def test_a_run_that_breaks_off_goes_on_there(
    comfyui, small, clip, jobs, sampled_segments, monkeypatch, where
):
    from sama_core.comfyui import whole_decode, whole_result, whole_video
    from sama_core.comfyui.edit import EditRun

    expected = save(comfyui, small, f"whole_unbroken_{where}")
    calls = {"count": 0}

    def fail(original, at):
        def call(*given, **options):
            calls["count"] += 1
            if calls["count"] == at:
                raise RuntimeError("broken off")
            return original(*given, **options)

        return call

    with monkeypatch.context() as broken:
        if "segment" in where:
            number = 1 if where == "first segment" else 2
            broken.setattr(EditRun, "sample", fail(EditRun.sample, number))
        elif where == "second piece":
            broken.setattr(whole_decode, "write_piece", fail(whole_decode.write_piece, 2))
        elif where == "joining":
            broken.setattr(whole_video, "join_pieces", fail(whole_video.join_pieces, 1))
        else:
            broken.setattr(
                whole_result.WholeVideo, "_clear", fail(whole_result.WholeVideo._clear, 1)
            )
        with pytest.raises(AssertionError, match="broken off"):
            save(comfyui, small, f"whole_broken_{where}")
    assert len(list(jobs.iterdir())) == int(where != "first segment"), "nothing, or what is done"
    del sampled_segments[:]
    found = save(comfyui, small, f"whole_again_{where}")
    assert read_packets(found) == read_packets(expected)
    assert len(sampled_segments) == {"first segment": 4, "second segment": 3}.get(where, 0)
    assert not list(jobs.iterdir())


def test_a_result_is_saved_twice_and_feeds_another_edit(comfyui, small, clip, jobs):
    edit, link = whole_graph(comfyui, small)
    for prefix in ("whole_one", "whole_two"):
        edit.add("SaveVideo", video=link, filename_prefix=prefix, format="auto", codec="auto")
    edit.add("SAMASourceVideo", video=link, frames=5, start=0, stride=1, area=1024, fps=24.0)
    result = comfyui.run(edit.nodes, keep=[link[0]]).check()
    one, two = (
        next((comfyui.base / "output").glob(f"{name}_0*.mp4"))
        for name in ("whole_one", "whole_two")
    )
    assert read_packets(one) == read_packets(two)
    video = result.values[link[0]][0]
    assert video.get_frame_count() == FRAMES and video.get_dimensions() == (WIDTH, HEIGHT)


def test_a_masked_video_keeps_what_is_black(comfyui, small, clip, jobs):
    """A MASK of one frame, and the same as a video: the source's pixels outside, bit for bit of
    what the model saw.
    """
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[:, : WIDTH // 2] = 1
    white = np.repeat((mask.numpy() * 255).astype(np.uint8)[..., None], 3, -1)
    write_clip(comfyui.base / "input" / "whole_mask.mp4", [white] * FRAMES, Fraction(12))
    edit, link = whole_graph(comfyui, small)
    beside = edit.add("LoadVideo", file="whole_mask.mp4")
    edit.nodes[link[0]]["inputs"]["mask_video"] = beside
    masked = frames_of(Path(edit.values(link).get_stream_source())).astype(int)
    source = frames_of(clip).astype(int)
    plain = frames_of(Path(edit_whole(comfyui, small).get_stream_source())).astype(int)
    assert np.abs(masked[:, :, WIDTH // 2 + 8 :] - source[:, :, WIDTH // 2 + 8 :]).mean() < 3
    assert np.abs(plain[:, :, WIDTH // 2 + 8 :] - source[:, :, WIDTH // 2 + 8 :]).mean() > 6
    assert np.abs(masked[:, :, : WIDTH // 2 - 8] - source[:, :, : WIDTH // 2 - 8]).mean() > 6


def test_a_mask_that_is_black_everywhere_is_refused(comfyui, small, clip, jobs):
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for name, count, match in (("black", FRAMES, "black everywhere"), ("short", 9, "9 frames")):
        write_clip(comfyui.base / "input" / f"{name}.mp4", [black] * count, Fraction(12))
        edit, link = whole_graph(comfyui, small)
        edit.nodes[link[0]]["inputs"]["mask_video"] = edit.add("LoadVideo", file=f"{name}.mp4")
        with pytest.raises(AssertionError, match=match):
            edit.values(link)


def test_a_full_disk_is_said_before_the_work(
    comfyui, small, clip, jobs, monkeypatch, sampled_segments
):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, 5000))
    with pytest.raises(AssertionError, match="got 5 kB free, needs at least "):
        edit_whole(comfyui, small)
    assert not sampled_segments


@pytest.mark.parametrize(
    "changes", [{"frames": 1}, {"start": 45}, {"stride": 9}, {"frames": 7, "start": 3}]
)
def test_a_part_has_its_own_frames_and_sound(comfyui, small, clip, jobs, changes):
    path = save(comfyui, small, "whole_part_" + "_".join(map(str, changes.values())), **changes)
    wanted = ClipRange(changes.get("start", 0), changes.get("frames", 0), changes.get("stride", 1))
    count = len(list(FileSource(str(clip)).frames(wanted)))
    assert len(frames_of(path)) == count
    sound = FileSource(str(path)).audio(0, 0)["waveform"].shape[-1] / 44_100
    played = min(count * wanted.stride, FRAMES - wanted.start) / 12
    assert sound == pytest.approx(played, abs=0.03)


def test_the_store_node_shows_and_clears_what_is_not_saved(comfyui, small, clip, jobs, store):
    video = edit_whole(comfyui, small)
    assert video.job.result.is_file() and not (video.job.folder / "segments").exists()
    node = {"1": {"class_type": "SAMASegmentStore", "inputs": {"action": "show", "confirm": ""}}}
    report = comfyui.run(node, keep=["1"]).check().values["1"][0]
    assert f"1 edit of whole videos, not finished or not saved: {FILE}: {INSTRUCTION} (" in report
    code = report.removesuffix(".").split()[-1]
    node["1"]["inputs"] |= {"action": "clear", "confirm": code}
    assert "1 edit of whole videos removed." in comfyui.run(node, keep=["1"]).check().values["1"][0]
    assert not list(jobs.iterdir())
    with pytest.raises(Exception, match="removed since"):
        video.get_frame_count()
