"""Several edits of whole videos in one graph: what its nodes still use is not removed."""

import shutil
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("cache", ["CLASSIC", "RAM_PRESSURE"])
def test_what_a_node_of_the_running_graph_holds_stays(
    comfyui, small, clip, jobs, monkeypatch, sampled_segments, cache
):
    """Four edits, of which one is made anew, then all are saved under other names: the other three
    are not. What no node of the graph holds goes: ComfyUI may hold that for a long time.
    """
    import execution

    from sama_core.comfyui import whole_result

    monkeypatch.setattr(whole_result, "RESULTS", 2)
    monkeypatch.setattr(comfyui._executor, "cache_type", execution.CacheType[cache])
    results = comfyui.base / "temp" / "sama_results"
    shutil.rmtree(results, ignore_errors=True)
    edit, first = whole_graph(comfyui, small, frames=1, seed=0)
    inputs = edit.nodes[first[0]]["inputs"]
    links = [first, *(edit.add("SAMAEditWholeVideo", **{**inputs, "seed": n}) for n in (1, 2, 3))]
    to_save = {"format": "auto", "codec": "auto"}
    savers = [edit.add("SaveVideo", video=link, filename_prefix="", **to_save) for link in links]

    def run(tag: str) -> None:
        for number, saver in enumerate(savers):
            edit.nodes[saver[0]]["inputs"]["filename_prefix"] = f"whole_{cache}_{tag}_{number}"
        comfyui.run(edit.nodes, warm=tag != "first").check()

    run("first")
    for seed in (4, 5, 6):
        inputs["seed"] = seed
        run(f"seed{seed}")
    assert len(sampled_segments) == 4 + 3
    assert len(list((comfyui.base / "output").glob(f"whole_{cache}_*.mp4"))) == 4 * 4
    assert len(list(results.iterdir())) == 4 + 1  # with the latest of those that are not used
    for link, saver in list(zip(links, savers, strict=True))[1:]:
        del edit.nodes[link[0]], edit.nodes[saver[0]]
    savers = savers[:1]
    for seed in (7, 8):
        inputs["seed"] = seed
        run(f"alone{seed}")
    assert len(list(results.iterdir())) == 2


def test_a_signature_stands_for_a_node_and_all_before_it():
    from sama_core.comfyui.running_graph import sign_nodes, sign_running_nodes

    graph = {
        "1": {"class_type": "Load", "inputs": {"file": "a"}},
        "2": {"class_type": "Edit", "inputs": {"video": ["1", 0], "size": [1, 2]}},
        "3": {"class_type": "Edit", "inputs": {"size": [1, 2], "video": ["1", 0]}},
        "4": {"class_type": "Edit", "inputs": {"size": [1, 2], "video": ["1", 1]}},
        "5": {"class_type": "Load", "inputs": {"file": "b"}},
        "6": {"class_type": "Edit", "inputs": {"size": [1, 2], "video": ["5", 0]}},
        "7": {"class_type": "Round", "inputs": {"video": ["8", 0]}},
        "8": {"class_type": "Round", "inputs": {"video": ["7", 0], "gone": ["99", 0]}},
    }
    signs = sign_nodes(graph)
    assert signs["2"] == signs["3"]
    assert len(set(signs.values())) == len(graph) - 1
    assert sign_running_nodes() == {}
