"""`run.py batch` on stand-in servers: retries, resume, copies, locks, disks, reports."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sama_core.launch.batch import batch_outputs, batch_run
from sama_core.launch.batch.batch_run import Batch
from sama_core.launch.batch.row_work import RowWork
from sama_core.launch.batch.scheduler import Scheduler
from sama_core.launch.commands import batch as batch_command
from sama_core.launch.commands import planned_machine
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.server.workflow import EDITOR, load_workflow

from .stand_in_comfy import StandIn, edit_of

RED = ("--instruction", "make it red")


LONGEST = 120
"""Seconds for what another thread does at once, also on a busy machine."""


@pytest.fixture
def left_out(monkeypatch) -> threading.Event:
    """Set when the batch has left a server out; such a one is asked again after 50 ms."""
    told = threading.Event()

    def make(workers, work, ended, say):
        def tell(line):
            say(line)
            if "is left out until it does" in line:
                told.set()

        return Scheduler(workers, work, ended, tell, pause=0.05)

    monkeypatch.setattr(batch_run, "Scheduler", make)
    return told


def report(out: Path) -> list[dict]:
    with (out / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def states(out: Path) -> list[str]:
    return [line["state"] for line in report(out)]


def test_the_tree_of_results_mirrors_the_sources(run, server, clips, tmp_path):
    names = ("a.mp4", 'sub folder/it\'s "b".mov', "sub folder/deep/ü 💥\n.webm")
    clips(*names, "notes.txt", "sub folder/.hidden.mp4")
    code, printed, _ = run("clips", *RED, "--server", server.url, "--seed", "7")
    out = tmp_path / "clips_sama"
    assert code == 0 and "Not clips, left alone: 1 .txt." in printed
    for name in names:
        result = (out / name).with_suffix(".mp4")
        assert result.read_bytes() == edit_of(f"clip {name}".encode(), "make it red", 7)
    found = [path for path in out.rglob("*.mp4") if ".sama_batch" not in path.parts]
    assert len(found) == 3 and list((out / ".sama_batch" / "parts").iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode there")
def test_a_name_that_is_no_utf_8(run, server, clips, tmp_path):
    (clips() / "a\udcff.mp4").write_bytes(b"clip")
    for _ in range(2):
        assert run("clips", *RED, "--server", server.url)[0] == 0
    out = tmp_path / "clips_sama"
    assert (out / "a\udcff.mp4").is_file() and len(server.edits) == 1
    assert 'href="a%FF.mp4"' in (out / "report.html").read_text(encoding="utf-8")


def test_thirty_clips_over_two_servers_with_one_killed(run, clips, tmp_path, left_out):
    """Complete and right; what the killed server had is made by the other one, which does ten edits
    before, however late a thread is."""
    names = [f"shot {number:02}.mp4" for number in range(30)]
    clips(*names)
    with StandIn() as stays, StandIn() as dies:
        dies.hang_after = 5
        work = stays.work
        stays.work = lambda *given: (
            len(stays.edits) < 10 or left_out.wait(LONGEST),
            work(*given),
        )
        killer = threading.Thread(target=lambda: (dies.hung.wait(LONGEST), dies.kill()))
        killer.start()
        code, printed, _ = run("clips", *RED, "--server", stays.url, "--server", dies.url)
        killer.join()
    out = tmp_path / "clips_sama"
    assert code == 0 and states(out) == ["done"] * 30
    assert "died, and its edit is made again" in printed and "is left out until it does" in printed
    for name in names:
        assert (out / name).read_bytes() == edit_of(f"clip {name}".encode(), "make it red", 1)
    assert len(dies.edits) == 6 and len(stays.edits) == 25
    assert [line["tries"] for line in report(out)].count("1") == 1


@pytest.mark.usefixtures("left_out")
def test_a_server_that_comes_back_is_used_again(run, clips, tmp_path):
    """It was started again in the middle of an edit, and knows nothing of it."""
    clips("a.mp4", "b.mp4", "c.mp4")
    with StandIn() as server:
        server.hang_after = 1

        def replace():
            server.hung.wait(LONGEST)
            server.kill()
            server.hang_after = None
            server.start()

        again = threading.Thread(target=replace)
        again.start()
        code, _printed, _ = run("clips", *RED, "--server", server.url)
        again.join()
    assert code == 0 and states(tmp_path / "clips_sama") == ["done"] * 3
    assert len(server.edits) == 4


def test_a_row_whose_server_dies_each_time_fails_after_two_retries(run, clips, tmp_path):
    clips("a.mp4", "poison.mp4")
    with StandIn() as server:
        deaths = []
        work = server.work

        def die(prompt_id, graph, client_id):
            loader = next(n for n in graph.values() if n["class_type"] == "LoadVideo")
            if server.files[loader["inputs"]["file"]] != b"clip poison.mp4":
                return work(prompt_id, graph, client_id)
            deaths.append(prompt_id)
            server.kill()
            return server.start()

        server.work = die
        code, _, _ = run("clips", *RED, "--server", server.url)
    assert code == 1 and len(deaths) == 3
    assert states(tmp_path / "clips_sama") == ["done", "failed"]


def test_a_failed_row_is_reported_and_the_others_go_on(run, server, clips, tmp_path):
    clips("a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "clips" / "empty.mp4").touch()
    server.refuse = {b"clip b.mp4"}
    code, printed, _ = run("clips", *RED, "--server", server.url)
    out = tmp_path / "clips_sama"
    assert code == 1 and states(out) == ["done", "failed", "done", "failed"]
    lines = report(out)
    assert "SAMA Edit" in lines[1]["error"] and "it cannot be edited" in lines[1]["error"]
    assert "got an empty file, needs a video file" in lines[3]["error"]
    assert "2 of 4 rows are done" in printed
    server.refuse = set()
    server.edits.clear()
    run("clips", *RED, "--server", server.url)
    assert len(server.edits) == 1 and states(out) == ["done", "done", "done", "failed"]


def test_a_clip_that_changes_before_its_turn_is_not_edited_as_the_one_it_was(
    run, server, clips, tmp_path, monkeypatch
):
    """The edit is known by the content that was read; the next run edits the new one."""
    folder, send = clips("a.mp4", "b.mp4"), RowWork.send

    def change(work, place, row):
        sent = send(work, place, row)
        if row.name.name == "a.mp4":
            (folder / "b.mp4").write_bytes(b"another clip")
        return sent

    command = [str(folder), "--instruction", "red", "--server", server.url]
    with monkeypatch.context() as patch:
        patch.setattr(RowWork, "send", change)
        code, said, _ = run(*command)
    assert code == 1 and "b.mp4: got a file that changed since it was looked at" in said
    assert not (tmp_path / "clips_sama" / "b.mp4").exists()
    assert run(*command)[0] == 0
    assert b"edited another clip" in (tmp_path / "clips_sama" / "b.mp4").read_bytes()


def test_a_full_disk_at_the_begin_names_the_output_folder(
    run, server, clips, tmp_path, monkeypatch
):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sama_core.launch.batch.batch_run.hold_folder", full)
    code, _, error = run(str(clips("a.mp4")), "--instruction", "red", "--server", server.url)
    assert code == 1 and f"output folder {tmp_path / 'clips_sama'}: got a full disk" in error


def test_started_again_it_does_only_what_is_missing(run, server, clips, tmp_path):
    """By content and settings: a renamed clip is there, a changed one and a new seed are not."""
    clips("a.mp4", "b.mp4")
    command = ("clips", *RED, "--server", server.url)
    assert run(*command)[0] == 0 and len(server.edits) == 2
    assert run(*command)[0] == 0 and len(server.edits) == 2
    (tmp_path / "clips" / "a.mp4").rename(tmp_path / "clips" / "renamed.mp4")
    os.utime(tmp_path / "clips" / "b.mp4")
    assert run(*command)[0] == 0 and len(server.edits) == 2
    out = tmp_path / "clips_sama"
    assert (out / "renamed.mp4").read_bytes() == (out / "a.mp4").read_bytes()
    (tmp_path / "clips" / "b.mp4").write_bytes(b"another clip")
    assert run(*command)[0] == 0 and len(server.edits) == 3
    assert (out / "b.mp4").read_bytes() == edit_of(b"clip b.mp4", "make it red", 1)
    assert (out / "b_2.mp4").read_bytes() == edit_of(b"another clip", "make it red", 1)
    (out / "b_2.mp4").unlink()
    assert run(*command)[0] == 0 and len(server.edits) == 4
    assert run(*command, "--seed", "2")[0] == 0 and len(server.edits) == 6


def test_the_same_clip_twice_is_edited_once_and_copied(run, server, clips, tmp_path):
    clips("a.mp4")
    (tmp_path / "clips" / "same.mov").write_bytes(b"clip a.mp4")
    assert run("clips", *RED, "--server", server.url)[0] == 0
    out = tmp_path / "clips_sama"
    assert len(server.edits) == 1
    assert (out / "a.mp4").read_bytes() == (out / "same.mp4").read_bytes()
    assert [line["copied"] for line in report(out)] == ["", "a.mp4"]


def test_a_table_edits_one_clip_in_several_ways(run, server, clips, tmp_path):
    clips("a.mp4", "b.mp4")
    (tmp_path / "clips" / "shots.csv").write_text(
        "\ufeffClip;Instruction;Seed\na.mp4;make it red;1\na.mp4;make it red;2\n"
        'b.mp4;"make it\nblue";1\na.mp4;make it red;1\n',
        encoding="utf-8",
    )
    assert run("clips/shots.csv", "--out", "o", "--server", server.url)[0] == 0
    assert len(server.edits) == 3
    results = {line["row"]: line["result"] for line in report(tmp_path / "o")}
    assert results == {
        "2": "a_seed1.mp4", "3": "a_seed2.mp4", "4": "b.mp4", "6": "a_seed1.mp4"
    }  # fmt: skip
    assert (tmp_path / "o/b.mp4").read_bytes() == edit_of(b"clip b.mp4", "make it\nblue", 1)


def test_masks_count_by_their_content(run, server, clips, tmp_path):
    """Each row has its own; another content is another edit, and an absent one a failed row."""
    clips("a.mp4")
    for name, content in (("one.png", b"1"), ("same.png", b"1"), ("other.png", b"2")):
        (tmp_path / "clips" / name).write_bytes(content)
    table = tmp_path / "clips/shots.csv"
    table.write_text("clip,mask\n" + "".join(f"a.mp4,{name}.png\n" for name in ("one", "gone")))
    code, printed, _ = run(str(table), *RED, "--server", server.url)
    out = tmp_path / "clips/shots_sama"
    assert (
        code == 1 and states(out) == ["done", "failed"] and "gone.png: got no such file" in printed
    )
    table.write_text("clip,mask\n" + "".join(f"a.mp4,{name}.png\n" for name in ("same", "other")))
    assert run(str(table), *RED, "--server", server.url)[0] == 0
    assert len(server.edits) == 2
    table.write_text("clip,mask\na.mp4,film.mp4\n")
    (tmp_path / "clips/film.mp4").write_bytes(b"3")
    code, printed, _ = run(str(table), *RED, "--frames", "--server", server.url)
    assert code == 1 and "got a video, needs a picture where --frames is" in printed


def test_other_files_are_never_replaced(run, server, clips, tmp_path):
    clips("a.mp4")
    (tmp_path / "o").mkdir()
    (tmp_path / "o/a.mp4").write_bytes(b"the user's own")
    run("clips", *RED, "--out", "o", "--server", server.url)
    assert (tmp_path / "o/a.mp4").read_bytes() == b"the user's own"
    assert (tmp_path / "o/a_2.mp4").is_file()


def test_two_batches_into_one_folder(run, server, clips, tmp_path):
    """The second is refused while the first one's process lives, and not after it was killed."""
    clips("a.mp4")
    own = tmp_path / "clips_sama/.sama_batch"
    own.mkdir(parents=True)
    program = (
        "import sys, time; from pathlib import Path\n"
        "from sama_core.launch.batch.folder_lock import hold_folder\n"
        "with hold_folder(Path('x'), Path(sys.argv[1])): print('held', flush=True); time.sleep(99)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(own / "lock")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    try:
        assert first.stdout.readline() == b"held\n"
        code, _, error = run("clips", *RED, "--server", server.url)
        assert code == 1 and f"another batch that works there (process {first.pid})" in error
        assert server.edits == []
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    assert run("clips", *RED, "--server", server.url)[0] == 0


def test_a_full_disk_leaves_nothing_half_written(run, server, clips, tmp_path, monkeypatch):
    clips("a.mp4", "b.mp4", "c.mp4")
    write, written = batch_outputs._write_part, []

    def fill_up(part, chunks):
        written.append(part)
        if len(written) == 2:
            part.write_bytes(b"half of")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(part, chunks)

    monkeypatch.setattr(batch_outputs, "_write_part", fill_up)
    code, _, error = run("clips", *RED, "--server", server.url)
    out = tmp_path / "clips_sama"
    assert code == 1 and "got a full disk, needs room for the results" in error
    assert states(out) == ["done", "not done", "not done"]
    assert [path.name for path in out.rglob("*.mp4")] == ["a.mp4"]
    assert list((out / ".sama_batch" / "parts").iterdir()) == []
    server.edits.clear()
    assert run("clips", *RED, "--server", server.url)[0] == 0
    assert len(server.edits) == 2 and states(out) == ["done"] * 3


def test_killed_between_file_and_ledger_it_is_made_again_at_its_place(run, server, clips, tmp_path):
    clips("a.mp4")
    assert run("clips", *RED, "--server", server.url)[0] == 0
    ledger = tmp_path / "clips_sama/.sama_batch/ledger.jsonl"
    lines = ledger.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["writing", "done", "measured"]
    ledger.write_text(lines[0] + "\n" + lines[1][:20])
    assert run("clips", *RED, "--server", server.url)[0] == 0 and len(server.edits) == 2
    assert [path.name for path in (tmp_path / "clips_sama").glob("*.mp4")] == ["a.mp4"]
    events = [line.split('"')[3] for line in ledger.read_text().splitlines()]
    assert events == ["writing", "done", "writing", "done", "measured"]


@pytest.fixture
def ctrl_c_works():
    """Also where the tests were started in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_works")
def test_ctrl_c_stops_and_the_next_run_goes_on(run, clips, tmp_path, monkeypatch):
    clips("a.mp4", "b.mp4")
    ends = Batch._end

    def press(self, *arguments):
        ends(self, *arguments)
        signal_main()

    def signal_main():
        import _thread

        _thread.interrupt_main()

    with StandIn() as server:
        server.hang_after = 1
        monkeypatch.setattr(Batch, "_end", press)
        code, _, error = run("clips", *RED, "--server", server.url)
        assert code == 1 and "Stopped. No incomplete file is left" in error
        assert server.cancelled == list(server.queued)
        assert states(tmp_path / "clips_sama") == ["done", "not done"]
        monkeypatch.setattr(Batch, "_end", ends)
        server.hang_after = None
        assert run("clips", *RED, "--server", server.url)[0] == 0
        assert len(server.edits) in (2, 3)


@pytest.mark.parametrize(
    ("pack", "sentence"),
    [
        ({}, "needs the SAMA pack. Install ComfyUI-SAMA there"),
        ({"version": "0.0.9"}, "got 0.0.9, needs "),
    ],
)
def test_a_server_without_the_pack_or_with_another_version(run, clips, tmp_path, pack, sentence):
    clips("a.mp4")
    with StandIn(pack=pack) as server:
        code, _, error = run("clips", *RED, "--server", server.url)
    assert code == 1 and sentence in error and server.url in error
    assert not (tmp_path / "clips_sama").exists()


def test_of_two_servers_one_may_be_missing_at_the_start(run, server, clips, tmp_path):
    clips("a.mp4")
    away = ("--server", "http://127.0.0.1:9")
    code, printed, _ = run("clips", *RED, *away, "--server", server.url)
    assert code == 0 and "127.0.0.1:9: got no answer" in printed and len(server.edits) == 1
    code, _, error = run("clips", *RED, *away)
    assert code == 1 and "server at http://127.0.0.1:9: got no answer" in error


def test_a_dry_run_tells_what_is_to_do_and_writes_nothing(
    run, server, clips, tmp_path, monkeypatch
):
    """On a processor that was timed."""
    monkeypatch.setattr(planned_machine, "processor", lambda: "AMD EPYC")
    monkeypatch.setattr(planned_machine, "nvidia_card", lambda: None)
    clips("a.mp4", "b.mp4")
    command = ("clips", *RED, "--server", server.url)
    code, printed, _ = run(*command, "--dry-run")
    assert "Time: " in printed and "s of sampling for 2 edits on one server" in printed
    assert code == 0 and "2 rows: 0 done, 0 whose clip cannot be read, 2 edits to make" in printed
    assert not (tmp_path / "clips_sama").exists() and server.edits == []
    run(*command)
    clips("c.mp4")
    printed = run(*command, "--dry-run")[1]
    assert "done        a.mp4 → a.mp4" in printed and "to do       c.mp4 → c.mp4" in printed
    assert "3 rows: 2 done" in printed


def test_frames_and_spread_exclude_each_other_before_anything_starts(run, clips, tmp_path):
    clips("a.mp4")
    code, _, error = run("clips", *RED, "--frames", "--spread")
    assert code == 1 and error.strip() == (
        "--frames: got --spread too, needs one of the two. Spread clips become videos; leave one "
        "of the two out."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


@pytest.mark.parametrize("frames", ["20", "4098", "-1"])
def test_segments_that_the_node_would_refuse(run, clips, frames):
    """They are longer than their overlap by five frames."""
    graph = load_workflow(PACK_ROOT)
    (editor,) = (node["inputs"] for node in graph.values() if node["class_type"] == EDITOR)
    assert batch_command.LEAST_SEGMENT == editor["overlap_frames"] + 5
    code, _, error = run(str(clips("a.mp4")), *RED, "--spread", f"--segment-frames={frames}")
    assert code == 1 and f"--segment-frames: got {frames}, needs 21 to 4097" in error


def test_frames_is_a_switch(run, clips, capsys):
    """It takes neither the source for its value nor a number, as the option of `edit` does."""
    clips("a.txt")
    assert "got 1 .txt, needs a clip" in run("--frames", "clips", *RED)[2]
    with pytest.raises(SystemExit):
        run("clips", *RED, "--frames", "9")
    assert "unrecognized arguments: 9 (--frames takes no number here: --first N edits the" in (
        capsys.readouterr().err
    )


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.cells, self.links = [], []

    def handle_starttag(self, tag, attributes):
        if tag == "td":
            self.cells.append("")
        if tag == "a":
            self.links.append(dict(attributes)["href"])
        assert tag not in {"script", "b"}

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_the_page_shows_names_as_text(run, server, clips, tmp_path):
    """A name or an instruction with marks of HTML is no HTML, and links lead to the files."""
    clips("<b>bold & 'x'.mp4", "=1+1.mp4")
    run("clips", "--instruction", "<script>alert(1)</script>", "--server", server.url)
    out = tmp_path / "clips_sama"
    page = _Cells()
    page.feed((out / "report.html").read_text(encoding="utf-8"))
    assert "<b>bold & 'x'.mp4" in page.cells and "<script>alert(1)</script>" in page.cells
    assert page.links == ["%3Cb%3Ebold%20%26%20%27x%27.mp4", "%3D1%2B1.mp4"]
    assert [line["clip"] for line in report(out)] == ["<b>bold & 'x'.mp4", "'=1+1.mp4"]
