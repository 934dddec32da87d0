"""SAMA Clip Folder through the real executor: what it lists, refuses, says and sees anew."""

import os
import re
import shutil
from fractions import Fraction

import pytest

from sama_core.clip import FileSource

from ..comfyui.graphs import Edit, Graph, output, whole_edit
from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip

NOT_INSIDE = "a folder inside ComfyUI's input folder"


@pytest.fixture
def shots(comfyui):
    """A folder of the input folder, empty before and gone after."""
    folder = comfyui.base / "input" / "shots"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def put(folder, *names, frames=5, size=(48, 32)):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(folder / name, moving_shapes(frames + 4 * number, *size), Fraction(12))


def ask(comfyui, warm=False, **inputs):
    """The run, its videos and its names."""
    graph = Graph()
    node = graph.add("SAMAClipFolder", **{"folder": "shots", "start": 0, "count": 0} | inputs)
    graph.nodes[node[0]]["inputs"].setdefault("subfolders", False)
    result = comfyui.run(graph.nodes, keep=[node[0]], warm=warm)
    return result, *result.values.get(node[0], (None, None))[:2]


def paths(videos):
    return [os.path.basename(video.get_stream_source()) for video in videos]


def why(result) -> str:
    """The error; before a run ComfyUI repeats it for each input that it may come from."""
    repeated = re.compile(r".*for node: (folder|subfolders) - ", re.DOTALL)
    (said,) = {repeated.sub("", error) for error in result.errors}
    return said


# --- lists -------------------------------------------------------------------------------------


def test_a_folder_runs_through_a_whole_edit(comfyui, small, shots):
    """Clips of several lengths, edited by SAMA-Shapes; every result has its clip's name."""
    put(shots, "clip 10.mp4", "clip 2.mp4", 'it\'s "ö" 👩‍🚀.mp4')
    (shots / "notes.txt").write_text("no clip")
    edit = Edit(comfyui, small, area=0, frames=0).use_shapes()
    folder = edit.add("SAMAClipFolder", folder="shots", start=0, count=0, subfolders=False)
    edit.nodes[edit.source[0]]["inputs"] |= {"video": folder, "frames": 0}
    edited = whole_edit(edit, steps=1, cfg=1.0)
    finish = edit.add("SAMAFinishVideo", frames=edited, clip_info=output(edit.source, 1))
    prefix = edit.add(
        "StringConcatenate", string_a="folder_run/", string_b=output(folder, 1), delimiter=""
    )
    edit.add("SaveVideo", video=finish, filename_prefix=prefix, format="auto", codec="auto")
    result = comfyui.run(edit.nodes).check()
    made = comfyui.base / "output" / "folder_run"
    frames = {path.name: FileSource(str(path)).facts().frame_count for path in made.iterdir()}
    shutil.rmtree(made)
    assert frames == {
        "clip 10_00001_.mp4": 5,
        "clip 2_00001_.mp4": 9,
        "it's _ö_ 👩‍🚀_00001_.mp4": 13,
    }
    assert result.outputs[folder[0]]["text"] == [
        'All 3 clips, from clip 2.mp4 to it\'s "ö" 👩�🚀.mp4; left out: 1 other file.'
    ]


def test_videos_are_cores_and_nothing_is_decoded(comfyui, shots, monkeypatch):
    from comfy_api.latest import InputImpl

    put(shots, "b.mp4", "a.mp4")
    monkeypatch.setattr(
        InputImpl.VideoFromFile, "get_components", lambda *_: pytest.fail("decoded")
    )
    _, videos, names = ask(comfyui)
    assert paths(videos) == ["a.mp4", "b.mp4"] and names == ["a", "b"]
    assert {type(video) for video in videos} == {InputImpl.VideoFromFile}


def test_a_part(comfyui, shots):
    put(shots, *(f"{number}.mp4" for number in (1, 2, 3, 10)))
    result, videos, names = ask(comfyui, start=1, count=2)
    assert names == ["2", "3"] and paths(videos) == ["2.mp4", "3.mp4"]
    assert ask(comfyui, start=2, count=9)[2] == ["3", "10"]
    graph = {"1": {"class_type": "SAMAClipFolder", "inputs": {"folder": "shots", "start": 3}}}
    graph["1"]["inputs"] |= {"count": 1, "subfolders": False}
    result = comfyui.run(graph, keep=["1"]).check()
    assert result.outputs["1"]["text"] == ["1 of 4 clips: 10.mp4."]
    assert why(ask(comfyui, start=4)[0]).strip() == (
        "1 SAMAClipFolder: sama_core.errors.InputError: start: got 4, needs 0 to 3: the folder's "
        "last clip is number 3. Set a smaller number; 0 is the first clip."
    )


def test_names_do_not_depend_on_the_part(comfyui, shots):
    put(shots, "a.mov", "a.mp4")
    assert ask(comfyui)[2] == ["a_mov", "a_mp4"] and ask(comfyui, start=1)[2] == ["a_mp4"]


def test_folders_below_keep_their_names(comfyui, shots):
    put(shots, "day 2/a.mp4", "b.mp4")
    assert ask(comfyui)[2] == ["b"]
    assert ask(comfyui, subfolders=True)[2] == ["b", "day 2/a"]
    assert ask(comfyui, folder="shots/day 2")[2] == ["a"]


@pytest.mark.parametrize("name", ["two\nlines.mp4", 'it\'s "x".mp4', "👩‍🚀 käse.mp4"])
def test_any_name_is_read(comfyui, shots, name):
    put(shots, name)
    _, (video,), _ = ask(comfyui)
    assert video.get_frame_count() == 5 and os.path.basename(video.get_stream_source()) == name


def test_one_video_may_be_used_twice(comfyui, shots):
    put(shots, "a.mp4")
    (shots / "b.mp4").symlink_to("a.mp4")
    graph = Graph()
    folder = graph.add("SAMAClipFolder", folder="shots", start=0, count=0, subfolders=False)
    sources = [
        graph.add(
            "SAMASourceVideo", video=folder, frames=0, start=start, stride=1, area=1024, fps=24.0
        )
        for start in (0, 2)
    ]
    values = comfyui.run(graph.nodes, keep=[source[0] for source in sources]).check().values
    assert [list(values[source[0]][4]) for source in sources] == [[5, 5], [3, 3]]


# --- what is left out --------------------------------------------------------------------------


def test_clips_that_cannot_be_read_are_left_out_and_named(comfyui, shots):
    put(shots, "a.mp4", "d.mp4")
    (shots / "b.mp4").write_bytes(b"")
    (shots / "c.mp4").write_text("no video")
    (shots / "e.mp4").write_bytes((shots / "a.mp4").read_bytes()[:200])
    graph = Graph()
    node = graph.add("SAMAClipFolder", folder="shots", start=0, count=0, subfolders=False)
    result = comfyui.run(graph.nodes, keep=[node[0]]).check()
    assert result.values[node[0]][1] == ["a", "d"]
    (said,) = result.outputs[node[0]]["text"]
    empty = (
        "video 'b.mp4': got an empty file (0 bytes), needs a video that plays (mp4, mov, webm, "
        "mkv, avi or gif). Choose another file, or export this one again."
    )
    assert said.splitlines()[:2] == [
        "2 of 5 clips, from a.mp4 to d.mp4; left out: 3 clips that cannot be read.",
        empty,
    ]
    assert "video 'c.mp4'" in said and "video 'e.mp4'" in said
    _, _, names = ask(comfyui, start=3)
    assert names == ["d"]
    assert "video 'b.mp4': got an empty file" in why(ask(comfyui, start=1, count=2)[0])


def test_a_folder_without_clips_is_refused_before_anything_runs(comfyui, shots):
    (shots / "notes.txt").write_text("x")
    result, *_ = ask(comfyui)
    assert result.node_errors and "execution_start" not in [event for event, _ in result.messages]
    assert why(result) == (
        "folder 'shots': got no clip, but 1 other file, needs at least one video file, such as "
        "mp4, mov, mkv, webm or avi. Put clips there or choose another folder. For clips in "
        "folders below it, turn subfolders on."
    )


@pytest.mark.parametrize(
    "name", ["..", "shots/..", "../input/shots", "/etc", "C:\\clips", "..\\x", "a\0b", "//host/x"]
)
def test_no_name_leads_out_of_the_input_folder(comfyui, shots, name):
    put(shots, "a.mp4")
    said = why(ask(comfyui, folder=name)[0])
    assert f"needs {NOT_INSIDE}. Choose a folder of its list" in said and "folder: got" in said


@pytest.mark.parametrize("name", ["gone", "", "shots/a.mp4", "shots/"])
def test_other_names_are_refused(comfyui, shots, name):
    put(shots, "a.mp4")
    said = why(ask(comfyui, folder=name)[0])
    assert f"folder: got {name!r}, which is not in its list, needs a folder in" in said


def test_a_link_that_leads_out_is_refused(comfyui, shots, tmp_path):
    put(tmp_path, "secret.mp4")
    (shots / "away").symlink_to(tmp_path)
    said = why(ask(comfyui, folder="shots/away")[0])
    assert "'shots/away', a link that leads out of ComfyUI's input folder" in said
    put(shots, "a.mp4")
    (shots / "far.mp4").symlink_to(tmp_path / "secret.mp4")
    graph = Graph()
    node = graph.add("SAMAClipFolder", folder="shots", start=0, count=0, subfolders=True)
    result = comfyui.run(graph.nodes, keep=[node[0]]).check()
    assert result.values[node[0]][1] == ["a"]
    assert result.outputs[node[0]]["text"] == [
        "1 of 1 clips: a.mp4; left out: 2 links to another place."
    ]


# --- queued again ------------------------------------------------------------------------------


def test_a_new_file_is_seen_and_an_old_folder_is_not_read_again(comfyui, shots):
    put(shots, "a.mp4")
    assert ask(comfyui)[2] == ["a"]

    def runs(result):
        return [data["node"] for event, data in result.messages if event == "executing"]

    again, *_ = ask(comfyui, warm=True)
    assert "1" not in runs(again.check())
    put(shots, "b.mp4")
    assert ask(comfyui, warm=True)[2] == ["a", "b"]
    os.utime(shots / "b.mp4", (1, 1))
    changed, *_ = ask(comfyui, warm=True)
    assert "1" in runs(changed.check())
