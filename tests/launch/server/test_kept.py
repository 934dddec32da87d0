"""The server that --keep leaves running, with a small stand-in for ComfyUI's main.py."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sama_core.launch.cli import main
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server import kept as kept_module
from sama_core.launch.server.client import Lost, Unreachable
from sama_core.launch.server.comfy_place import own_place
from sama_core.launch.server.kept import find_kept, read_record, start_kept, stop_kept
from sama_core.launch.setup.comfyui_source import ComfyUI

STAND_IN = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        told = {"system": {}, "version": "x", "id": os.environ.get("SAMA_KEPT_ID")}
        self.wfile.write(json.dumps(told).encode())
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def comfyui(tmp_path) -> ComfyUI:
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text(STAND_IN)
    return ComfyUI(folder, fetched=True)


@pytest.fixture
def kept(comfyui, places):
    """A server that was left running; ended whatever happens."""
    made = start_kept(comfyui, places, Stages(io.StringIO()))
    yield made
    stop_kept(places)
    with contextlib.suppress(ProcessLookupError):
        os.kill(made.pid, signal.SIGKILL)


def test_it_is_found_again_and_ended(kept, comfyui, places, capsys):
    assert find_kept(places, comfyui, print) == kept and kept.answers()
    assert (Path(kept.folder) / "input").is_dir()
    assert main(["serve", "--stop"], places) == 0
    assert f"Ended ComfyUI at {kept.url}." in capsys.readouterr().out
    assert not kept.answers() and read_record(places) is None and not Path(kept.folder).exists()
    assert main(["serve", "--stop"], places) == 0
    assert "No ComfyUI was left running." in capsys.readouterr().out


def test_commands_have_folders_of_their_own_for_clips(kept, comfyui, places):
    """The one that is done first leaves the other's clip where it is."""
    stages, clips = Stages(io.StringIO()), Path(kept.folder) / "input"
    with own_place(comfyui, places, stages) as first:
        (clips / first.client.uploads).mkdir()
        with own_place(comfyui, places, stages) as second:
            (clips / second.client.uploads).mkdir()
            (clips / second.client.uploads / "a.mp4").touch()
        assert [path.name for path in clips.iterdir()] == [first.client.uploads]
    assert first.folder == second.folder == Path(kept.folder) and not list(clips.iterdir())


@pytest.mark.parametrize("ended", [True, False])
def test_an_edit_on_it_that_is_lost_says_whether_it_ended(kept, comfyui, places, ended):
    """Nobody has a window of it to look at."""
    stages = Stages(io.StringIO())
    said = f"{kept.url}, which was left running, ended .*log: {kept.log}" if ended else "^cut off$"
    with (
        pytest.raises(Lost, match=re.compile(said, re.DOTALL)),
        own_place(comfyui, places, stages),
    ):
        if ended:
            stop_kept(places)
        raise Lost("cut off")


@pytest.mark.parametrize("ended", ["stop", "killed"])
def test_what_nobody_fetched_is_kept_when_it_ends(kept, comfyui, places, capsys, ended):
    """An edit whose command was stopped just before its end."""
    (Path(kept.folder) / "output" / "video").mkdir(parents=True)
    (Path(kept.folder) / "output" / "video" / "a_1.mp4").write_bytes(b"an edit")
    if ended == "stop":
        assert main(["serve", "--stop"], places) == 0
    else:
        os.kill(kept.pid, signal.SIGKILL)
        while kept.answers():
            time.sleep(0.05)
        assert find_kept(places, comfyui, print) is None
    found = places.edits / "results" / "a_1.mp4"
    assert found.read_bytes() == b"an edit" and not Path(kept.folder).exists()
    assert f"lies for 14 days in {found}" in capsys.readouterr().out


def test_that_of_another_user_is_left_to_them(kept, places, monkeypatch, capsys):
    kill = os.kill

    def refuse(pid, number):
        if number:
            raise PermissionError(1, "Operation not permitted")
        kill(pid, number)

    with monkeypatch.context() as patch:
        patch.setattr(kept_module.os, "kill", refuse)
        assert main(["serve", "--stop"], places) == 1
    error = capsys.readouterr().err
    assert f"got a process of another user, number {kept.pid}" in error
    assert read_record(places) == kept and kept.answers()


def test_it_outlives_the_command_that_started_it(comfyui, places, tmp_path):
    program = (
        "import io, sys; from pathlib import Path\n"
        "from sama_core.launch.places import Places\n"
        "from sama_core.launch.progress import Stages\n"
        "from sama_core.launch.server.kept import start_kept\n"
        "from sama_core.launch.setup.comfyui_source import ComfyUI\n"
        "Places.python = property(lambda self: Path(sys.executable))\n"
        "Places.runtime = property(lambda self: Path(sys.argv[2]))\n"
        "start_kept(ComfyUI(Path(sys.argv[1]), True), Places(), Stages(io.StringIO()))\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", program, str(comfyui.folder), str(places.runtime)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        assert find_kept(places, comfyui, print) is not None
    finally:
        assert stop_kept(places)


def test_a_stale_record_is_removed(kept, comfyui, places):
    os.kill(kept.pid, signal.SIGKILL)
    while kept.answers():
        time.sleep(0.05)
    assert find_kept(places, comfyui, print) is None
    assert read_record(places) is None and not Path(kept.folder).exists()


def test_another_server_at_its_address_is_left_alone(kept, comfyui, places):
    """The process and the address of the record belong to another program by now."""
    record = places.runtime / kept_module.RECORD
    record.write_text(json.dumps({**json.loads(record.read_text()), "id": "another"}))
    assert find_kept(places, comfyui, print) is None and stop_kept(places) is None
    assert kept.answers()
    os.kill(kept.pid, signal.SIGKILL)


def test_a_busy_one_is_neither_forgotten_nor_replaced(kept, comfyui, places, monkeypatch):
    os.kill(kept.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as impatient:
            impatient.setattr(kept_module, "LOOK_SECONDS", 0.3)
            for ask in (lambda: find_kept(places, comfyui, print), lambda: stop_kept(places)):
                with pytest.raises(Unreachable, match=f"end its process, number {kept.pid}"):
                    ask()
        assert read_record(places) == kept and Path(kept.folder).is_dir()
    finally:
        os.kill(kept.pid, signal.SIGCONT)
    assert find_kept(places, comfyui, print) == kept


def test_two_that_start_at_once_leave_one(comfyui, places):
    """The other one would have no record, and nothing would ever end it."""
    with ThreadPoolExecutor(2) as both:
        starts = [both.submit(start_kept, comfyui, places, Stages(io.StringIO())) for _ in "ab"]
        first, second = (start.result() for start in starts)
    try:
        assert first == second == read_record(places)
    finally:
        for one in {first, second}:
            os.kill(one.pid, signal.SIGKILL)


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"url": 1}'])
def test_a_damaged_record_is_none(places, comfyui, text):
    places.runtime.mkdir(parents=True, exist_ok=True)
    (places.runtime / kept_module.RECORD).write_text(text)
    assert find_kept(places, comfyui, print) is None


def test_another_version_is_ended_and_another_comfyui_is_told(kept, comfyui, places, monkeypatch):
    with pytest.raises(LaunchError, match=r"End it with `python3 run\.py serve --stop`"):
        find_kept(places, replace(comfyui, folder=comfyui.folder.parent), print)
    assert kept.answers()
    monkeypatch.setattr(kept_module, "VERSION", "9.9.9")
    lines: list[str] = []
    assert find_kept(places, comfyui, lines.append) is None
    assert "not 9.9.9: it is ended" in lines[0] and not kept.answers()


def test_a_command_takes_it_and_leaves_it_running(kept, comfyui, places):
    stream = io.StringIO()
    with own_place(comfyui, places, Stages(stream)) as place:
        assert place.client.url == kept.url and place.server is None
        assert str(place.folder) == kept.folder
    assert kept.answers() and "`python3 run.py serve --stop` ends it" in stream.getvalue()
