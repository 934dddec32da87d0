"""The edit command, end to end on a real server, and what it says when it cannot work."""

import io
import json
import re
import shutil
import sys
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from sama_core.clip import ClipRange, FileSource, Fit
from sama_core.launch.cli import main, parser
from sama_core.launch.commands import edit as edit_module
from sama_core.launch.commands.edit import (
    FITS,
    area_pixels,
)
from sama_core.launch.places import Places
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server import comfy_place
from sama_core.launch.server import kept as kept_module
from sama_core.launch.server.client import Client, Output
from sama_core.launch.server.comfy_place import Place, own_place
from sama_core.launch.server.edit_graph import unique_name
from sama_core.launch.setup.environment import Environment

from ...harness import held_runs
from ...harness.comfy_home import comfy_source
from ...harness.held_runs import TEXT, hold
from ...harness.moving_shapes import moving_shapes
from ...harness.write_clip import write_clip
from ..stand_ins import answering

STEP = "sampling, step "


class Acting(Stages):
    """Stages that do something once, at the first sampling step."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def step(self, done, total, note=""):
        super().step(done, total, note)
        act, self.act = self.act, lambda: None
        act()


def facts(path: Path) -> tuple:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return (
            stream.width,
            stream.height,
            stream.average_rate,
            sum(1 for _ in container.decode(stream)),
        )


@pytest.fixture
def run(places, comfy_server, tmp_path, monkeypatch, capsys):
    """A function that runs `edit` on the shared server; returns (exit code, standard output,
    standard error)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, server: str | None = None, places=places) -> tuple[int, str, str]:
        code = main(["edit", "--server", server or comfy_server.url, *arguments], places)
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def no_set_up(monkeypatch):
    """Set-up is done: the interpreter and the ComfyUI of this test run."""
    monkeypatch.setattr(Environment, "ready", lambda self, asked=None, tests=False: comfy_source())


def test_an_edit_gives_back_size_rate_and_count(run, clip, tmp_path):
    code, printed, _ = run(
        "--video", str(clip), "--instruction", "make it red", "--steps", "2", "--seed", "7"
    )
    result = tmp_path / "källa klip 1_sama_seed7.mp4"
    assert code == 0 and facts(result) == (64, 48, Fraction(25, 2), 9)
    assert f"Done: {result}" in printed and "No SAMA-14B here: editing with SAMA-Shapes" in printed
    assert "Clip: 9 frames, 64x48, 12.5 fps\n" in printed
    stages = [line.split()[0] for line in printed.splitlines() if line.startswith("  ")]
    assert stages == ["set-up", "load", "encode", "sampling", "decode", "save", "total"]


def test_options_reach_the_workflow_and_nothing_is_overwritten(run, clip, tmp_path):
    for expected in ("out.mp4", "out_2.mp4"):
        assert (
            run(
                "--video",
                str(clip),
                "--steps",
                "1",
                "--cfg",
                "1",
                "--frames",
                "5",
                "--area",
                "64x64",
                "--out",
                "out.mp4",
            )[0]
            == 0
        )
        assert facts(tmp_path / expected) == (64, 48, Fraction(25, 2), 5)
    with av.open(str(tmp_path / "out.mp4")) as container:
        prompt = container.metadata["prompt"]
    assert (
        '"steps": 1' in prompt
        and '"cfg": 1.0' in prompt
        and '"area": 4096' in prompt
        and '"frames": 5' in prompt
    )


def test_a_lora_is_put_behind_the_model_of_the_wanted_form(run, clip, tmp_path):
    few = ["--video", str(clip), "--steps", "1", "--cfg", "1", "--frames", "1", "--out", "out.mp4"]
    lora = "sama_shapes_anchor.safetensors"
    form = ["--weight-dtype", "fp8_e4m3fn"]
    assert run(*few, "--lora", lora, "--lora-strength", "0.5", *form)[0] == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        graph = json.loads(container.metadata["prompt"])
    loader = next(key for key, node in graph.items() if node["class_type"] == "SAMALoadModel")
    edit = next(node for node in graph.values() if node["class_type"] == "SAMAEditWholeVideo")
    assert edit["inputs"]["model"] == ["lora", 0]
    assert graph[loader]["inputs"]["weight_dtype"] == "fp8_e4m3fn"
    assert graph["lora"]["inputs"] == {"model": [loader, 0], "lora_name": lora, "strength": 0.5}
    code, _, error = run(*few, "--lora", "absent.safetensors")
    assert code == 1 and "--lora: got absent.safetensors, needs a file of models/loras: " in error
    assert lora in error


@pytest.mark.parametrize("ending", ["png", "mp4"])
def test_only_what_is_white_in_a_mask_changes(run, clip, tmp_path, ending):
    """One picture, or a video; of the clip of 64x48 the left half is white."""
    mask = np.zeros((48, 64, 3), np.uint8)
    mask[:, :32] = 255
    if ending == "png":
        Image.fromarray(mask).save(tmp_path / "mask.png")
    else:
        write_clip(tmp_path / "mask.mp4", [mask] * 9, Fraction(25, 2))
    few = ["--video", str(clip), "--steps", "1", "--cfg", "1", "--fit", "stretch"]
    assert run(*few, "--mask", f"mask.{ending}", "--out", "out.mp4")[0] == 0
    edited, source = (
        np.stack(list(FileSource(str(path)).frames(ClipRange()))).astype(int)
        for path in (tmp_path / "out.mp4", clip)
    )
    left, right = (
        np.abs(edited - source)[:, :, part].mean() for part in (slice(30), slice(34, 64))
    )
    assert right < 4 and left > 8


def test_the_fit_that_edits_all_can_be_asked_for(run, clip, tmp_path):
    """What the remark on unedited sides advises is an option, with all of the node's choices."""
    assert tuple(map(str, Fit)) == FITS
    few = ["--video", str(clip), "--steps", "1", "--cfg", "1", "--frames", "1", "--out"]
    advice = "25% of the picture stays unedited: fit 'stretch' edits all of it."
    assert advice in run(*few, "crop.mp4")[1]
    code, printed, _ = run(*few, "stretch.mp4", "--fit", "stretch")
    assert code == 0 and "stays unedited" not in printed
    with av.open(str(tmp_path / "stretch.mp4")) as container:
        assert '"fit": "stretch"' in container.metadata["prompt"]


def saved_under(path: Path) -> str:
    """The name that the server was to give the clip, as the graph inside the file says."""
    with av.open(str(path)) as container:
        graph = json.loads(container.metadata["prompt"])
    return next(
        node["inputs"]["filename_prefix"]
        for node in graph.values()
        if node["class_type"] == "SaveVideo"
    )


def test_the_same_edit_again_after_its_result_was_moved_away(run, comfy_server, clip, tmp_path):
    """The server has the edit and its saved file in memory; what it hands over is this job's, and
    nothing else."""
    command = [
        "--video",
        str(clip),
        "--instruction",
        "make it blue",
        "--steps",
        "2",
        "--seed",
        "12",
        "--out",
        "o.mp4",
    ]
    output = comfy_server.base / "output" / "video"
    assert run(*command)[0] == 0
    for saved in output.glob("*.mp4"):
        write_clip(saved, moving_shapes(3, 32, 32), Fraction(5))
    assert run(*command)[0] == 0
    for saved in output.glob("*.mp4"):
        saved.unlink()
    code, printed, _ = run(*command)
    assert code == 0 and "sampling" not in printed  # only saving was done again
    results = [tmp_path / name for name in ("o.mp4", "o_2.mp4", "o_3.mp4")]
    assert [facts(path) for path in results] == [(64, 48, Fraction(25, 2), 9)] * 3
    names = {saved_under(path) for path in results}
    assert len(names) == 3
    assert all(re.fullmatch(r"video/källa klip 1 seed 12 [0-9a-f]{12}", name) for name in names)


def test_no_character_of_the_clips_name_can_change_where_the_server_saves():
    name = unique_name(Path('a:b*c?"<|>%width%..mp4'), 3)
    assert re.fullmatch(r"video/a_b_c_{6}width_\. seed 3 [0-9a-f]{12}", name), name


def test_a_long_name_leaves_room_for_what_the_server_adds():
    name = unique_name(Path("木" * 83 + ".mp4"), 2**64 - 1)
    assert name.startswith("video/" + "木" * 50 + " seed 18446744073709551615 ")
    assert len(f"{name}_00001_.mp4".removeprefix("video/").encode()) <= 255


def test_without_a_video_it_takes_the_packs_own(run, tmp_path):
    """As the README says: no settings but the instruction; those of SAMA-Shapes are taken."""
    code, printed, _ = run("--instruction", "make the circle red")
    assert code == 0 and "Clip: 17 frames, 256x256, 12 fps, the one in the pack" in printed
    assert facts(tmp_path / "moving_shapes_sama_seed1.mp4") == (256, 256, 12, 17)
    with av.open(str(tmp_path / "moving_shapes_sama_seed1.mp4")) as container:
        prompt = container.metadata["prompt"]
    assert (
        '"steps": 0' in prompt and '"cfg": -1.0' in prompt and "sama_shapes.safetensors" in prompt
    )
    assert '"area": 0' in prompt


def test_a_picture_of_source_above_edit(run, no_set_up, clip, tmp_path):
    """Five columns of 64x48 with gaps of 8; the upper row is the source, the lower one the edit."""
    for name in ("sheet.png", "sheet_2.png"):
        code, printed, _ = run(
            "--video", str(clip), "--steps", "1", "--out", "out.mp4", "--picture", "sheet.png"
        )
        assert code == 0 and f"\nPicture: {tmp_path / name}\n" in printed
    with Image.open(tmp_path / "sheet.png") as picture:
        sheet = np.asarray(picture.convert("RGB")).astype(int)
    assert sheet.shape == (2 * 48 + 8, 5 * 64 + 4 * 8, 3)
    for row, path in ((0, clip), (56, tmp_path / "out.mp4")):
        frames = list(FileSource(str(path)).frames(ClipRange()))
        for column, number in enumerate((0, 2, 4, 6, 8)):
            left = column * 72
            assert (sheet[row : row + 48, left : left + 64] == frames[number]).all()
    assert (sheet[48:56] == 255).all() and list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("probed", [True, False])
def test_a_file_that_is_no_video(run, tmp_path, places, probed):
    """With an environment it is noticed before anything is sent, without one by the server's
    nodes."""
    notes = tmp_path / "notes.mp4"
    notes.write_text("no video at all")
    code, _, error = run(
        "--video", str(notes), places=places if probed else Places(work=tmp_path / "empty")
    )
    assert code == 1 and "notes" in error and "video" in error
    assert list(tmp_path.glob("*_sama*")) == [] == list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--video", "absent.mp4"],
            "absent.mp4: got no such file, needs a video file. Check the path.",
        ),
        (["--video", "."], "got a folder, needs a video file"),
        (["--video", "empty.mp4"], "got an empty file, needs a video file"),
        (["--instruction", "  "], "--instruction: got an empty text"),
        (["--steps", "-1"], "--steps: got -1, needs 1 or more"),
        (["--frames", "0"], "--frames: got 0, needs 1 or more"),
        (["--seed", "-1"], "--seed: got -1"),
        (["--cfg", "-0.5"], "--cfg: got -0.5"),
        (["--lora-strength", "21"], "--lora-strength: got 21.0, needs 20 or less"),
        (["--cfg", "nan"], "--cfg: got nan, needs a number"),
        (["--cfg", "inf"], "--cfg: got inf, needs 100 or less"),
        (
            ["--seed", str(2**70)],
            "--seed: got 1180591620717411303424, needs 18,446,744,073,709,551,615 or less",
        ),
        (["--steps", "1001"], "--steps: got 1001, needs 1,000 or less"),
        (["--seed", "9" * 400], "--seed: got "),
        (["--area", "100000x100000"], "--area: got 10000000000, needs 16,777,216 or less"),
        (["--video", ""], "got a folder, needs a video file"),
        (["--keep", "--server", "x"], "--keep: got --server beside it, needs a ComfyUI that this"),
        (["--out", "x.avi"], "--out: got x.avi, needs a name ending in .mp4"),
        (
            ["--mask", "absent.png"],
            "absent.png: got no such file, needs a picture or a video, white",
        ),
        (["--picture", "x.jpg"], "--picture: got x.jpg, needs a name ending in .png"),
        (["--picture", "absent/x.png"], "absent/x.png, needs an existing folder. Make"),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(
    tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert main(["edit", *arguments], Places(work=tmp_path / "work")) == 1
    error = capsys.readouterr().err.strip()
    assert sentence in error and len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty.mp4"]


def test_names_that_the_terminal_cannot_show(tmp_path, monkeypatch):
    """As in a pipe on Windows, or a name that is no UTF-8."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stderr", narrow)
    assert main(["edit", "--video", "\U0001f4a5\udcff.mp4"], Places(work=tmp_path)) == 1
    narrow.seek(0)
    assert "\\U0001f4a5\\ufffd.mp4: got no such file" in narrow.read()


def test_a_server_that_is_not_there(run, clip, tmp_path):
    code, _, error = run("--video", str(clip), server="http://127.0.0.1:9")
    assert code == 1 and "server at http://127.0.0.1:9: got no answer" in error
    assert list(tmp_path.glob("*.mp4")) == []


def test_a_server_without_the_pack(run, clip):
    with answering((200, {}, b'{"system": {}}')) as url:
        code, _, error = run("--video", str(clip), server=url)
    assert code == 1 and "needs the SAMA pack. Install ComfyUI-SAMA there" in error


def test_a_value_the_node_refuses_is_told_in_its_words(run, clip, monkeypatch):
    """As a node of another version may."""
    monkeypatch.setitem(edit_module.LIMITS, "steps", (1, 10**9))
    code, _, error = run("--video", str(clip), "--steps", "100000")
    assert (
        code == 1 and error.strip().startswith("SAMA Edit Whole Video (node ") and "steps" in error
    )


def test_a_full_disk_at_the_end(run, clip, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sama_core.launch.places.os.fsync", full)
    code, _, error = run("--video", str(clip), "--steps", "1")
    assert code == 1 and "got a full disk" in error
    assert list(tmp_path.glob("*.mp4")) == [] == list(tmp_path.glob(".*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full")
def test_an_output_that_cannot_be_written_does_not_cost_the_edit(run, clip, tmp_path, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, _, error = run("--video", str(clip), "--steps", "1", "--cfg", "1", "--frames", "5")
    result = tmp_path / "källa klip 1_sama_seed1.mp4"
    assert code == 1 and facts(result) == (64, 48, Fraction(25, 2), 5)
    assert f"Done: {result}" in error and "[" not in error
    assert error.splitlines()[-1].startswith(
        "Standard output: got 'No space left on device', needs"
    )


def test_ctrl_c_takes_our_work_off_someone_elses_server(comfy_server, places, clip, tmp_path):
    def press() -> None:
        raise KeyboardInterrupt

    options = parser().parse_args(
        [
            "edit",
            "--server",
            comfy_server.url,
            "--video",
            str(clip),
            "--steps",
            "1000",
            "--seed",
            "11",
            "--out",
            str(tmp_path / "out.mp4"),
        ]
    )
    with pytest.raises(KeyboardInterrupt), hold(comfy_server.base, TEXT, says=STEP):
        edit_module.edit(options, places, Acting(press))
    client = Client(comfy_server.url)
    comfy_server.wait_idle()
    last = list(client._json("/history").values())[-1]
    assert "execution_interrupted" in [kind for kind, _ in last["status"]["messages"]]
    assert not (tmp_path / "out.mp4").exists()


def test_ctrl_c_is_one_sentence(run, clip, monkeypatch):
    def press(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(edit_module, "run_edit", press)
    code, _, error = run("--video", str(clip))
    assert (code, error.strip()) == (
        1,
        "Stopped. No incomplete file is left; the same command goes on with what is finished.",
    )


def test_a_server_of_its_own_that_dies_in_mid_edit(places, clip, tmp_path, no_set_up, monkeypatch):
    running = []

    class Watched(comfy_place.Server):
        def __enter__(self):
            running.append(self)
            return super().__enter__()

    monkeypatch.setattr(comfy_place, "Server", Watched)
    options = parser().parse_args(
        ["edit", "--video", str(clip), "--steps", "1000", "--out", str(tmp_path / "out.mp4")]
    )

    def kill() -> None:
        running[0].process.kill()

    held_runs.install(places.base)
    with (
        pytest.raises(
            LaunchError, match=r"ComfyUI: ended in the middle of the work \(exit code -9\)"
        ),
        hold(places.base, TEXT, says=STEP),
    ):
        edit_module.edit(options, places, Acting(kill))
    assert not running[0].alive() and not (tmp_path / "out.mp4").exists()
    assert list(places.jobs.iterdir()) == []


def test_a_server_of_its_own_is_gone_after_the_edit(places, clip, tmp_path, no_set_up, capsys):
    out = tmp_path / "out.mp4"
    assert main(["edit", "--video", str(clip), "--steps", "1", "--out", str(out)], places) == 0
    assert facts(out)[3] == 9
    assert "start ComfyUI" in capsys.readouterr().out
    assert list(places.jobs.iterdir()) == []
    assert list((places.base / "output").iterdir()) == [] == list((places.base / "input").iterdir())
    assert [path.name for path in (places.runtime / "logs").glob("comfyui-*")] == []


class StoppedAt(Stages):
    """Stages in which Ctrl-C is pressed where a step has this note."""

    def __init__(self, note: str):
        super().__init__()
        self.note = note

    def step(self, done, total, note=""):
        if self.note in note:
            raise KeyboardInterrupt


def test_an_edit_that_was_stopped_goes_on(places, tmp_path, no_set_up, capsys):
    """A clip of two segments, stopped in the second one, with a server of its own each time."""
    source, out = tmp_path / "long.mp4", tmp_path / "out.mp4"
    write_clip(source, moving_shapes(frames=89, width=64, height=48), Fraction(25, 2))
    few = ["--steps", "1", "--cfg", "1", "--area", "64x64"]
    command = ["edit", "--video", str(source), *few, "--out", str(out)]
    held_runs.install(places.base)
    second = "segment 2 of 2"
    with pytest.raises(KeyboardInterrupt), hold(places.base, TEXT, says=STEP + ".*" + second):
        edit_module.edit(parser().parse_args(command), places, StoppedAt(second))
    jobs = places.edits / "sama_whole_videos"
    assert [path.name for path in jobs.glob("*/segments/*")] == ["000000.safetensors"]
    assert "An earlier run" not in capsys.readouterr().out
    assert main(command, places) == 0 and facts(out)[3] == 89
    told = "An earlier run has finished 1 of 2 segments: it goes on from there."
    assert told in capsys.readouterr().out
    assert list(jobs.iterdir()) == [] == list(places.jobs.iterdir())


def test_a_finished_edit_that_cannot_be_written_is_kept(
    places, clip, tmp_path, no_set_up, monkeypatch, capsys
):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sama_core.launch.places.os.fsync", full)
    few = ["--steps", "1", "--cfg", "1", "--frames", "1", "--out", str(tmp_path / "out.mp4")]
    assert main(["edit", "--video", str(clip), *few], places) == 1
    error = capsys.readouterr().err.strip()
    (kept,) = (places.edits / "results").iterdir()
    assert "got a full disk" in error and error.endswith(f"for 14 days it lies in {kept}")
    assert facts(kept)[3] == 1 and not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("when", ["run_graph", "saved_file", "fetch"])
def test_a_finished_edit_is_kept_where_its_fetching_is_stopped(
    places, tmp_path, monkeypatch, capsys, when
):
    """The server has saved it, and cleared what it was made of."""
    saver = {"class_type": "SaveVideo", "inputs": {"filename_prefix": "video/a seed 1 0a"}}
    does = {"run_graph": {}, "saved_file": Output("a seed 1 0a_1.mp4", "video", "output")}
    folder = tmp_path / "server"
    (folder / "output" / "video").mkdir(parents=True)
    (folder / "output" / "video" / "a seed 1 0a_1.mp4").write_bytes(b"an edit")
    (folder / "output" / "video" / "a seed 1 0b_1.mp4").write_bytes(b"that of another command")
    (folder / "output" / "video" / ".a seed 1 0a_1.part.mp4").write_bytes(b"half of one")

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(edit_module, "make_graph", lambda *arguments: {"1": saver})
    for name, value in does.items():
        what = stop if name == when else lambda *arguments, value=value: value
        monkeypatch.setattr(edit_module, name, what)
    place = Place(SimpleNamespace(fetch=stop), None, folder)
    with pytest.raises(KeyboardInterrupt):
        edit_module.run_edit(place, tmp_path, tmp_path / "out.mp4", None, places, Stages())
    (kept,) = (places.edits / "results").iterdir()
    assert kept.read_bytes() == b"an edit" and str(kept) in capsys.readouterr().out


def test_what_a_server_of_ours_finished_until_its_end_is_kept(places, monkeypatch, capsys):
    """At Ctrl-C it may be about to save."""

    class Saving:
        url, port = "http://127.0.0.1:9", 9

        def __init__(self, python, comfyui, options, *arguments, **more):
            self.output = Path(options[options.index("--output-directory") + 1])

        def __enter__(self):
            return self

        def __exit__(self, *failure):
            (self.output / "video").mkdir()
            (self.output / "video" / "a_1.mp4").write_bytes(b"an edit")

        def wait_ready(self, tick): ...
        def alive(self):
            return True

    monkeypatch.setattr(comfy_place, "Server", Saving)
    with pytest.raises(KeyboardInterrupt), own_place(comfy_source(), places, Stages()):
        raise KeyboardInterrupt
    kept = places.edits / "results" / "a_1.mp4"
    assert kept.read_bytes() == b"an edit" and list(places.jobs.iterdir()) == []
    assert f"lies for 14 days in {kept}" in capsys.readouterr().out


def test_a_stop_while_the_server_ends_says_that_the_edit_is_done(
    places, clip, no_set_up, tmp_path, monkeypatch, capsys
):
    @contextmanager
    def place(*given):
        yield None
        raise KeyboardInterrupt

    done = tmp_path / "done.mp4"
    monkeypatch.setattr(edit_module, "own_place", place)
    monkeypatch.setattr(edit_module, "run_edit", lambda *given: done)
    assert main(["edit", "--video", str(clip)], places) == 1
    assert f"Done: {done}" in capsys.readouterr().out


def test_a_clip_that_changes_before_it_is_sent_is_not_edited(
    places, clip, tmp_path, no_set_up, monkeypatch, capsys
):
    """What was said of it is not so any more."""
    clip = Path(shutil.copy(clip, tmp_path))
    monkeypatch.setattr(edit_module, "describe_clip", lambda *given: clip.write_bytes(b"another"))
    monkeypatch.setattr(
        edit_module,
        "own_place",
        lambda *given: given[-1]() or nullcontext(Place(SimpleNamespace())),
    )
    monkeypatch.setattr(edit_module, "make_graph", lambda *arguments: {})
    assert main(["edit", "--video", str(clip)], places) == 1
    error = capsys.readouterr().err
    assert f"{clip}: got a file that changed since it was looked at" in error


@pytest.mark.parametrize(
    ("text", "pixels"), [("832x480", 399360), ("64X48", 3072), (" 4096 ", 4096)]
)
def test_areas(text, pixels):
    assert area_pixels(text) == pixels


@pytest.mark.parametrize("text", ["", "x", "832x", "10x10", "-5", "1e6"])
def test_impossible_areas(text, capsys):
    with pytest.raises(ValueError):
        area_pixels(text)
    with pytest.raises(SystemExit):
        main(["edit", f"--area={text}"])
    assert "needs WxH such as 832x480" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [False, True])
def test_the_clip_is_read_while_the_server_starts(places, monkeypatch, keep):
    """And a failure of either leaves no process and no files behind."""
    seen = []

    class Still:
        url = "http://127.0.0.1:9"

        def __init__(self, *arguments, **more): ...
        def __enter__(self):
            seen.append("begun")
            return self

        def __exit__(self, failure, *rest):
            seen.append(f"ended by {failure.__name__}")

        def wait_ready(self, tick):
            seen.append("waited for")
            raise LaunchError("not ready")

    def refuse():
        raise LaunchError("no clip")

    monkeypatch.setattr(comfy_place, "Server", Still)
    monkeypatch.setattr(kept_module, "Server", Still)
    comfyui, stages = comfy_source(), Stages()
    for meanwhile in (lambda: seen.append("clip read"), refuse):
        with pytest.raises(LaunchError), own_place(comfyui, places, stages, keep, meanwhile):
            pass
    ended = "ended by LaunchError"
    assert seen == ["begun", "clip read", "waited for", ended, "begun", ended]
    for folder in (places.jobs, places.runtime / "kept"):
        assert not folder.exists() or list(folder.iterdir()) == []
