"""SAMA Keep Pair through the real executor, and the trainer on what it kept."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sama_core.clip import ClipRange, FileSource
from sama_core.training.rows.append_row import append_row
from sama_core.training.rows.frames import look_at, read_row
from sama_core.training.rows.rows import read_rows

from ..comfyui.graphs import Graph
from ..harness.write_clip import write_clip


class Bench(Graph):
    """A graph, and what SAMA Keep Pair makes of its inputs."""

    def __init__(self, comfyui):
        super().__init__()
        self.comfyui = comfyui

    def video(self, name, level, frames=9, rate=8, size=(32, 48)):
        """A clip that becomes brighter; `level` is its first brightness."""
        pictures = [np.full((*size, 3), level + 5 * number, np.uint8) for number in range(frames)]
        write_clip(self.comfyui.base / "input" / name, pictures, rate)
        return self.add("LoadVideo", file=name)

    def image(self, colour):
        return self.add("EmptyImage", width=33, height=17, batch_size=1, color=colour)

    def keep(self, source, result, **changes):
        """The run, and the node's id."""
        settings = {"instruction": "make it  brighter", "collection": "pairs", "accept": True}
        link = self.add("SAMAKeepPair", source=source, result=result, **{**settings, **changes})
        return self.comfyui.run(self.nodes, keep=[link[0]]), link[0]

    @property
    def folder(self) -> Path:
        return self.comfyui.base / "output" / "sama_pairs"

    def rows(self, collection="pairs") -> list[dict]:
        lines = (self.folder / collection / "rows.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def bench(comfyui):
    made = Bench(comfyui)
    shutil.rmtree(made.folder, ignore_errors=True)
    return made


def test_an_accepted_pair_is_kept_and_trains(bench):
    """As files of one length, and a row that the trainer reads as it is."""
    result, key = bench.keep(bench.video("a.mp4", 40), bench.video("b.mp4", 120))
    result.check()
    (row,) = bench.rows()
    assert row["instruction"] == "make it brighter"
    assert row["source"] == f"make-it-brighter_{row['id']}_source.mp4"
    assert row["target"] == f"make-it-brighter_{row['id']}_target.mp4"
    rows_file = bench.folder / "pairs" / "rows.jsonl"
    said = result.outputs[key]["text"][0].splitlines()
    assert said == [
        "Kept as pair 1 of output/sama_pairs/pairs",
        "9 frames of 48x32 at 8 per second",
        f'data = "{rows_file}"',
    ]
    (found,), bad = read_rows(rows_file, 1)
    assert not bad and not look_at(found).rates_differ
    from sama_core.geometry import ClipShape

    source, target = read_row(found, ClipShape(9, 32, 48))
    levels = torch.arange(9)[:, None, None, None] * 5
    torch.testing.assert_close(source, ((40 + levels) / 255).expand_as(source), atol=0.02, rtol=0)
    torch.testing.assert_close(target, ((120 + levels) / 255).expand_as(target), atol=0.02, rtol=0)


def test_the_same_pair_is_kept_once_and_another_is_added(bench):
    source, target = bench.video("a.mp4", 40), bench.video("b.mp4", 120)
    for _ in range(2):
        result, key = bench.keep(source, target, instruction="make it brighter")
        result.check()
    assert result.outputs[key]["text"][0].startswith("Kept already, as pair 1 of ")
    bench.keep(source, target, instruction="make it darker")[0].check()
    bench.keep(target, source, instruction="make it darker")[0].check()
    assert [row["instruction"] for row in bench.rows()] == [
        "make it brighter",
        "make it darker",
        "make it darker",
    ]
    assert len(list((bench.folder / "pairs").iterdir())) == 7


def test_files_that_were_removed_are_written_again(bench):
    source, target = bench.video("a.mp4", 40), bench.video("b.mp4", 120)
    bench.keep(source, target)[0].check()
    (row,) = bench.rows()
    gone = bench.folder / "pairs" / row["target"]
    gone.unlink()
    bench.keep(source, target, fps=1.0)[0].check()
    assert gone.is_file() and len(bench.rows()) == 1


def test_what_is_not_accepted_is_not_even_run(bench):
    """The clips are asked for where they are kept: here one does not exist."""
    source = bench.video("a.mp4", 40)
    failing = bench.add(
        "SAMASourceVideo", video=source, frames=1, start=999, stride=1, area=0, fps=8.0
    )
    result, key = bench.keep(source, failing, accept=False, instruction="")
    result.check()
    said = "Not kept. Turn accept on and run again to keep this pair."
    assert list(result.outputs[key]["text"]) == [said]
    assert not bench.folder.exists()


def test_clips_of_other_lengths_and_rates_become_one_pair(bench):
    result, key = bench.keep(
        bench.video("a.mp4", 40, frames=9, rate=8), bench.video("b.mp4", 120, frames=25, rate=16)
    )
    result.check()
    assert "18 frames of 48x32 at 16 per second" in result.outputs[key]["text"][0]
    (row,) = bench.rows()
    for role, frames in (("source", 18), ("target", 18)):
        clip = FileSource(bench.folder / "pairs" / row[role])
        assert sum(1 for _ in clip.frames(ClipRange())) == frames and clip.facts().fps == 16


def test_two_images_are_kept_as_they_are(bench):
    result, _ = bench.keep(bench.image(0x102030), bench.image(0xFF0000), collection="stills 1")
    result.check()
    (row,) = bench.rows("stills 1")
    target = np.asarray(Image.open(bench.folder / "stills 1" / row["target"]))
    assert target.shape == (17, 33, 3) and (target == [255, 0, 0]).all()
    (found,), _ = read_rows(bench.folder / "stills 1", 1)
    assert found.is_image


@pytest.mark.parametrize(
    "name", ["../out", "a/b", "..", ".hidden", "con", "", "x" * 65, "a\\b", "C:", "dot."]
)
def test_names_never_leave_the_folder(bench, name):
    result, _ = bench.keep(bench.video("a.mp4", 40), bench.video("b.mp4", 120), collection=name)
    with pytest.raises(AssertionError, match="the plain name of a folder"):
        result.check()
    assert not bench.folder.exists()


def test_what_is_no_pair_is_refused(bench):
    for other, level, size, words, said in (
        ("same.mp4", 40, (32, 48), "x", "got the same frames, needs an edit"),
        ("tall.mp4", 120, (64, 48), "x", "needs the shape of its source, 48x32"),
        ("b.mp4", 120, (32, 48), " \n ", "The instruction is empty"),
    ):
        graph = Bench(bench.comfyui)
        clips = graph.video("a.mp4", 40), graph.video(other, level, size=size)
        with pytest.raises(AssertionError, match=said):
            graph.keep(*clips, instruction=words)[0].check()
    assert not bench.folder.exists()


# --- rows ----------------------------------------------------------------------------------------


def test_rows_of_several_writers_are_all_there(tmp_path):
    file = tmp_path / "new" / "rows.jsonl"
    writers = [
        threading.Thread(target=append_row, args=(file, {"id": f"{number}", "n": number}))
        for number in range(12)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = file.read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["n"] for line in lines) == list(range(12))
    assert [path.name for path in file.parent.iterdir()] == ["rows.jsonl"]


def test_other_lines_stay_as_they_are(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"source": "a"}\nnot json', encoding="utf-8")
    assert append_row(file, {"id": "x", "instruction": "größer"}) == 3
    assert append_row(file, {"id": "x"}) == 3
    assert file.read_text(encoding="utf-8") == (
        '{"source": "a"}\nnot json\n{"id": "x", "instruction": "größer"}\n'
    )


def test_a_lock_that_another_program_holds(tmp_path, monkeypatch):
    from sama_core.errors import InputError
    from sama_core.training.rows import append_row as module

    monkeypatch.setattr(module, "PATIENCE", 0.0)
    file = tmp_path / "rows.jsonl"
    lock = tmp_path / ".rows.jsonl.lock"
    lock.touch()
    with pytest.raises(InputError, match="another program is writing it"):
        append_row(file, {"id": "x"})
    monkeypatch.setattr(module, "STALE", -1.0)
    assert append_row(file, {"id": "x"}) == 1 and not lock.exists()


def test_a_pair_that_was_removed_is_kept_again(bench):
    """ComfyUI takes a node that has run from its cache: the report alone would be there."""
    source, result = bench.image(0), bench.image(255)
    run, node = bench.keep(source, result)
    run.check()
    (target,) = bench.folder.rglob("*_target.png")
    for lost in (lambda: shutil.rmtree(bench.folder), target.unlink):
        lost()
        again = bench.comfyui.run(bench.nodes, keep=[node], warm=True).check()
        assert len(list(bench.folder.rglob("*.png"))) == 2 and len(bench.rows()) == 1
        assert "pair 1" in again.values[node][0]
    same = bench.comfyui.run(bench.nodes, keep=[node], warm=True).check()
    cached = [data["nodes"] for event, data in same.messages if event == "execution_cached"]
    assert node in cached[0]
