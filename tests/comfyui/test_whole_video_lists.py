"""SAMA Edit Whole Video behind SAMA Clip Folder: all results of a run can be had until its end."""

import shutil
from pathlib import Path

from . import test_whole_video as whole
from .graphs import Edit, output
from .test_whole_video import FRAMES, whole_graph

clip, jobs = whole.clip, whole.jobs


def folder_graph(comfyui, small, clip: Path, names: list[str]) -> tuple[Edit, list]:
    """Edits a folder of copies of `clip`, one frame of each, and saves the edits."""
    folder = comfyui.base / "input" / "whole_list"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in names:
        shutil.copy(clip, folder / f"{name}.mp4")
    edit, link = whole_graph(comfyui, small, frames=1)
    clips = edit.add("SAMAClipFolder", folder="whole_list", start=0, count=0, subfolders=False)
    edit.nodes[link[0]]["inputs"]["video"] = clips
    names = output(clips, 1)
    edit.add("SaveVideo", video=link, filename_prefix=names, format="auto", codec="auto")
    return edit, link


def test_copies_of_one_clip_are_all_saved(comfyui, clip, tmp_path):
    """They are one job, which is cleared when the first of them is saved."""
    from sama_core.comfyui.whole_result import WholeVideo
    from sama_core.long.whole_job import WholeJob

    job = WholeJob(tmp_path / "job")
    job.begin({})
    shutil.copy(clip, job.result)
    first, second, third = (WholeVideo(job) for _ in range(3))
    assert third.get_frame_count() == FRAMES
    first.save_to(str(tmp_path / "first.mp4"))
    assert not job.folder.exists()
    job.begin({})  # the next run's
    for video, name in ((second, "second.mp4"), (third, "third.mp4")):
        assert video.is_there() and video.get_frame_count() == FRAMES
        video.save_to(str(tmp_path / name))
    assert job.folder.exists()


def test_all_results_of_a_run_stay_until_its_end(
    comfyui, small, clip, jobs, monkeypatch, sampled_segments
):
    """Two nodes read three edits, one after the other; then one of the files goes, and that edit
    alone is made anew.
    """
    from sama_core.comfyui import whole_result

    monkeypatch.setattr(whole_result, "RESULTS", 2)
    results = comfyui.base / "temp" / "sama_results"
    shutil.rmtree(results, ignore_errors=True)
    names = ["whole_many_a", "whole_many_b", "whole_many_c"]
    edit, link = folder_graph(comfyui, small, clip, names)
    for count, name in enumerate(names):  # other files with the same frames
        with open(comfyui.base / "input" / "whole_list" / f"{name}.mp4", "ab") as file:
            file.write(b"\0\0\0\x08free" * count)
    again = edit.add(
        "SaveVideo", video=link, filename_prefix="whole_again", format="auto", codec="auto"
    )
    comfyui.run(edit.nodes).check()
    saved = comfyui.base / "output"
    assert len(sampled_segments) == 3 == len(list(saved.glob("whole_again_0*.mp4")))

    min(results.iterdir(), key=lambda path: path.stat().st_ctime_ns).unlink()
    edit.nodes[again[0]]["inputs"]["filename_prefix"] = "whole_anew"
    comfyui.run(edit.nodes, warm=True).check()
    assert len(sampled_segments) == 4 and len(list(saved.glob("whole_anew_0*.mp4"))) == 3
