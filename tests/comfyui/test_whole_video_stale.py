"""SAMA Edit Whole Video where something has changed since: its inputs, its clip, or the files that
it left.
"""

import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip
from . import test_whole_video as whole
from .graphs import Edit, output
from .test_whole_video import FRAMES, HEIGHT, WIDTH, whole_graph

clip, jobs = whole.clip, whole.jobs


def save(edit: Edit, video: list, prefix: str) -> list:
    return edit.add("SaveVideo", video=video, filename_prefix=prefix, format="auto", codec="auto")


def loader(edit: Edit) -> str:
    return next(name for name, node in edit.nodes.items() if node["class_type"] == "LoadVideo")


def test_a_black_mask_is_refused_again(comfyui, small, clip, jobs):
    """What was kept of the first run is no edit, and nothing is left of it."""
    black = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * FRAMES
    write_clip(comfyui.base / "input" / "whole_black.mp4", black, Fraction(12))
    edit, link = whole_graph(comfyui, small)
    beside = edit.add("LoadVideo", file="whole_black.mp4")
    edit.nodes[link[0]]["inputs"]["mask_video"] = beside
    for _ in range(2):
        with pytest.raises(AssertionError, match="black everywhere in the video"):
            edit.values(link)
        assert not list(jobs.iterdir())


def test_other_sound_of_the_same_pictures_is_another_edit(comfyui, small, clip, jobs):
    found = []
    for channels in (2, 1):
        edit, link = whole_graph(comfyui, small, frames=5)
        images = edit.add("GetVideoComponents", video=[loader(edit), 0])
        audio = edit.add("EmptyAudio", duration=1.0, sample_rate=44_100, channels=channels)
        made = edit.add("CreateVideo", images=images, audio=audio, fps=12.0)
        edit.nodes[link[0]]["inputs"]["video"] = made
        found.append(edit.values(link).get_components().audio["waveform"].shape[1])
    assert found == [2, 1]


def test_another_part_of_a_mask_video_is_another_edit(comfyui, small, clip, jobs):
    left = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left[:, : WIDTH // 2] = 255
    masks = [left] * FRAMES + [255 - left] * FRAMES
    write_clip(comfyui.base / "input" / "whole_masks.mp4", masks, Fraction(12))
    found = []
    for start in (0.0, FRAMES / 12):
        edit, link = whole_graph(comfyui, small)
        trim = {"start_time": start, "duration": FRAMES / 12, "strict_duration": False}
        masks = edit.add("LoadVideo", file="whole_masks.mp4")
        edit.nodes[link[0]]["inputs"]["mask_video"] = edit.add("Video Slice", video=masks, **trim)
        found.append(edit.values(link).get_components().images)
    apart = (found[0] - found[1]).abs()
    assert apart[:, :, : WIDTH // 2].mean() > 0.02 and apart[:, :, WIDTH // 2 :].mean() > 0.02


def test_a_result_that_was_removed_is_made_anew(comfyui, small, clip, jobs, sampled_segments):
    """ComfyUI holds the node's output, and would not run it again by itself."""
    import folder_paths

    edit, link = whole_graph(comfyui, small, frames=17)
    saver = edit.nodes[save(edit, link, "whole_removed_a")[0]]["inputs"]
    comfyui.run(edit.nodes).check()
    saver["filename_prefix"] = "whole_removed_b"
    comfyui.run(edit.nodes, warm=True).check()
    assert len(sampled_segments) == 1
    shutil.rmtree(folder_paths.get_temp_directory())
    for name in ("whole_removed_c", "whole_removed_d"):
        saver["filename_prefix"] = name
        comfyui.run(edit.nodes, warm=True).check()
        assert len(sampled_segments) == 2
    assert len(list((comfyui.base / "output").glob("whole_removed_?_0*.mp4"))) == 4


def test_a_pasted_copy_of_the_node_knows_of_a_removed_result(
    comfyui, small, clip, jobs, sampled_segments
):
    """ComfyUI gives the copy the output of the node that it was copied from."""
    import folder_paths

    edit, link = whole_graph(comfyui, small, frames=17)
    pasted = edit.add("SAMAEditWholeVideo", **edit.nodes[link[0]]["inputs"])
    savers = [edit.nodes[save(edit, of, "whole_pasted")[0]]["inputs"] for of in (link, pasted)]
    comfyui.run(edit.nodes).check()
    assert len(sampled_segments) == 1
    shutil.rmtree(folder_paths.get_temp_directory())
    savers[1]["filename_prefix"] = "whole_pasted_again"
    comfyui.run(edit.nodes, warm=True).check()
    assert len(sampled_segments) == 2


def test_a_result_of_an_earlier_run_that_was_removed_is_made_anew(
    comfyui, small, clip, jobs, sampled_segments, monkeypatch
):
    """ComfyUI, as it is usually started, keeps what nodes gave with other inputs; a result that is
    there is not made anew for one that is not.
    """
    import execution
    import folder_paths

    ram = execution.CacheType.RAM_PRESSURE
    monkeypatch.setattr(comfyui._executor, "cache_type", ram)
    edit, link = whole_graph(comfyui, small, frames=17)
    inputs = edit.nodes[link[0]]["inputs"]
    saver = edit.nodes[save(edit, link, "whole_earlier")[0]]["inputs"]

    def run(seed: int, name: str) -> None:
        inputs["seed"], saver["filename_prefix"] = seed, f"whole_earlier_{name}"
        comfyui.run(edit.nodes, warm=name != "a").check()

    results = Path(folder_paths.get_temp_directory()) / "sama_results"
    before = set(results.glob("*.mp4"))
    run(1, "a")
    (first,) = set(results.glob("*.mp4")) - before
    run(2, "b")
    assert len(sampled_segments) == 2
    first.unlink()
    run(1, "c")
    run(2, "d")
    assert len(sampled_segments) == 3


@pytest.mark.parametrize("refused", [(), ("link",), ("link", "symlink")])
def test_what_reads_the_result_goes_on_when_it_was_saved(
    comfyui,
    small,
    clip,
    jobs,
    monkeypatch,
    refused,
):
    """Trim Video and SAMA Source Video hold the file; on disks without links it is moved."""

    def refuse(*_given):
        raise OSError("no links here")

    for name in refused:
        monkeypatch.setattr(os, name, refuse)
    tag = f"whole_held_{len(refused)}"
    edit, link = whole_graph(comfyui, small, frames=17)
    trim = {"start_time": 0.25, "duration": 0.5, "strict_duration": False}
    part = edit.add("Video Slice", video=link, **trim)
    frames = {"frames": 5, "start": 0, "stride": 1, "area": 1024, "fps": 24.0}
    source = edit.add("SAMASourceVideo", video=link, **frames)
    comfyui.run(edit.nodes, keep=[part[0], source[0]]).check()
    save(edit, link, f"{tag}_whole")
    comfyui.run(edit.nodes, keep=[part[0], source[0]], warm=True).check()
    assert not list(jobs.iterdir())
    save(edit, link, f"{tag}_again")
    if len(refused) < 2:
        save(edit, part, f"{tag}_part")
        finished = edit.add("SAMAFinishVideo", frames=source, clip_info=output(source, 1))
        save(edit, finished, f"{tag}_other")
    comfyui.run(edit.nodes, warm=True).check()


@pytest.mark.parametrize("when", ["write_piece", "join_pieces"])
def test_another_clip_in_its_place_gives_no_result(
    comfyui,
    small,
    clip,
    jobs,
    monkeypatch,
    when,
):
    from sama_core.comfyui import whole_decode, whole_video

    path = comfyui.base / "input" / "whole_replaced.mp4"
    shutil.copy(clip, path)
    edit, link = whole_graph(comfyui, small, frames=17)
    edit.nodes[loader(edit)]["inputs"]["file"] = path.name
    save(edit, link, f"whole_replaced_{when}")
    owner = whole_decode if when == "write_piece" else whole_video
    original = getattr(owner, when)

    def replace(*given):
        other = path.with_name("whole_other.mp4")
        write_clip(other, list(moving_shapes(FRAMES, WIDTH, HEIGHT))[::-1], Fraction(12))
        os.replace(other, path)
        return original(*given)

    with monkeypatch.context() as changed:
        changed.setattr(owner, when, replace)
        result = comfyui.run(edit.nodes)
    assert "got another clip in its place" in result.errors[0]
    (left,) = jobs.iterdir()
    assert not (left / "edit.mp4").exists()
    assert not list((comfyui.base / "output").glob(f"whole_replaced_{when}_0*"))
    if when == "write_piece":
        assert not list((left / "pieces").iterdir())


def test_an_edit_that_cannot_be_found_again_leaves_nothing(comfyui, small, clip, jobs, monkeypatch):
    """As with another pack's patch on the model, which no key can describe."""
    import folder_paths

    from sama_core.comfyui import whole_decode, whole_video

    identify, said = whole_video.identify, []

    def obscure(run):
        found, run.stages.show = identify(run), said.append
        found.why_not = "model.attachments['their pack']: a generator"
        return found

    monkeypatch.setattr(whole_video, "identify", obscure)

    def fail(*_given):
        raise RuntimeError("broken off")

    monkeypatch.setattr(whole_decode, "write_piece", fail)
    edit, link = whole_graph(comfyui, small, frames=17)
    with pytest.raises(AssertionError, match="broken off"):
        edit.values(link)
    temporary = Path(folder_paths.get_temp_directory()) / "sama_whole_videos"
    assert not list(temporary.iterdir())
    remark = "(not kept: model.attachments['their pack']: a generator)"
    assert any(remark in line and "encoding the source" in line for line in said)


def test_the_store_node_lists_what_is_left_of_a_removal(comfyui, small, jobs, store):
    """A kill in the middle of it may leave latents without the file that describes them."""
    key = 5 * "0123abcd"
    (jobs / key / "segments").mkdir(parents=True)
    (jobs / key / "segments" / "000000.safetensors").write_bytes(bytes(2000))
    node = {"1": {"class_type": "SAMASegmentStore", "inputs": {"action": "show", "confirm": ""}}}
    report = comfyui.run(node, keep=["1"]).check().values["1"][0]
    assert f"1 edit of whole videos, not finished or not saved: {key} (" in report


def test_odd_sides_that_comfyui_will_not_encode_are_refused_first(
    comfyui, small, jobs, sampled_segments
):
    path = comfyui.base / "input" / "whole_odd.mp4"
    write_clip(path, moving_shapes(5, WIDTH + 1, HEIGHT + 1), Fraction(12))
    edit, link = whole_graph(comfyui, small)
    edit.nodes[loader(edit)]["inputs"]["file"] = path.name
    saver = edit.nodes[save(edit, link, "whole_odd")[0]]["inputs"]
    again = {"encoding": "re-encode", "encoding.crf": 30.0, "encoding.color_space": "auto"}
    for name, value in again.items():  # as later and as older ComfyUIs name them
        saver |= {f"codec.{name}": value, f"format.codec.{name}": value}
    saver |= {"codec": "h264", "format.codec": "h264"}
    result = comfyui.run(edit.nodes)
    assert "even sides for a file that ComfyUI encodes again" in result.errors[0]
    assert not sampled_segments


def test_results_do_not_pile_up_in_the_temporary_folder(comfyui, small, clip, jobs, monkeypatch):
    """The latest can be saved once more; those of edits long ago are gone."""
    from sama_core.comfyui import whole_result

    monkeypatch.setattr(whole_result, "RESULTS", 2)
    videos = []
    for seed in (1, 2, 3):
        edit, link = whole_graph(comfyui, small, frames=5, seed=seed)
        save(edit, link, f"whole_pile_{seed}")
        videos.append(comfyui.run(edit.nodes, keep=[link[0]]).check().values[link[0]][0])
    folder = comfyui.base / "temp" / "sama_results"
    assert len(list(folder.iterdir())) == 2
    assert [video.is_there() for video in videos] == [False, True, True]
    videos[2].save_to(str(comfyui.base / "output" / "whole_pile_again.mp4"))


def test_settings_that_lost_nothing_are_not_kept_in_mind(comfyui):
    """Each seed is another setting: a ComfyUI that runs for months would hold all of them."""
    from sama_core.comfyui.whole_result import _losses, count_losses

    before = dict(_losses)
    assert count_losses("1", {"seed": 123456789, "instruction": "not asked yet"}) == 0
    assert dict(_losses) == before
