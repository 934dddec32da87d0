"""Starting and stopping ComfyUI, with small stand-ins for its main.py where a real one would not
misbehave."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sama_core.launch.places import PACK_NAME, PACK_ROOT
from sama_core.launch.progress import LaunchError
from sama_core.launch.server import process as server
from sama_core.launch.server.process import (
    Server,
    job_folder,
    prepare_base,
    server_options,
)
from sama_core.launch.setup.comfyui_source import ComfyUI

from ..stand_ins import ANSWERING, answering


@pytest.fixture
def stand_in(tmp_path):
    """A function that gives a Server for a main.py of the test's own."""

    def make(program: str, **options) -> Server:
        folder = tmp_path / "ComfyUI"
        folder.mkdir(exist_ok=True)
        (folder / "main.py").write_text(program)
        return Server(
            Path(sys.executable),
            ComfyUI(folder, fetched=False),
            [],
            tmp_path / "server.log",
            **options,
        )

    return make


def test_a_server_that_ends_while_starting_shows_its_last_words(stand_in):
    with (
        stand_in("import sys; print('first'); sys.exit('the last word')") as running,
        pytest.raises(LaunchError) as caught,
    ):
        running.wait_ready()
    text = str(caught.value)
    assert text.startswith("ComfyUI: ended while starting (exit code 1).")
    assert "the last word" in text and str(running.log) in text


def test_a_server_killed_by_the_system_points_to_memory(stand_in):
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with stand_in(program) as running, pytest.raises(LaunchError, match="memory ran out"):
        running.wait_ready()


def test_a_port_that_someone_took_in_between(stand_in):
    words = "OSError: [Errno 98] error while attempting to bind: address already in use"
    program = f"import sys; sys.exit({words!r})"
    with (
        stand_in(program, port=4321) as running,
        pytest.raises(LaunchError, match="port 4321: got in use"),
    ):
        running.wait_ready()


def test_a_server_that_had_the_port_before_is_not_taken_for_ours(stand_in):
    """It answers while ours is still importing; then ours finds the port taken."""
    words = "OSError: [Errno 98] error while attempting to bind: address already in use"
    program = f"import sys, time; time.sleep(1); sys.exit({words!r})"
    body = json.dumps({"system": {"argv": ["main.py", "--base-directory", "/another"]}}).encode()
    with answering((200, {}, body)) as url:
        running = stand_in(program, port=int(url.rpartition(":")[2]))
        running.options = ["--base-directory", "/ours"]
        with running, pytest.raises(LaunchError, match=r"port \d+: got in use"):
            running.wait_ready()


def test_a_pack_that_did_not_import_is_told(stand_in):
    line = f"   0.0 seconds (IMPORT FAILED): /x/custom_nodes/{PACK_NAME}"
    with (
        stand_in(ANSWERING.format(line=line)) as running,
        pytest.raises(LaunchError, match="could not import it"),
    ):
        running.wait_ready()


def test_another_packs_failure_is_not_ours(stand_in):
    with stand_in(ANSWERING.format(line="(IMPORT FAILED): /x/custom_nodes/other")) as running:
        running.wait_ready()
        assert running.alive()
    assert not running.alive()


def test_a_server_that_never_answers(stand_in):
    with (
        stand_in("import threading; threading.Event().wait()") as running,
        pytest.raises(LaunchError, match="did not answer within 0 s"),
    ):
        running.wait_ready(limit=0)


def test_a_server_that_will_not_end_is_killed(stand_in, monkeypatch):
    monkeypatch.setattr(server, "STOP_SECONDS", 0.05)
    program = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ANSWERING.format(
        line=""
    )
    with stand_in(program) as running:
        running.wait_ready()
        process = running.process
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("system", "kept", "arguments"),
    [
        ("posix", False, {"start_new_session": True}),
        ("posix", True, {"start_new_session": True}),
        ("nt", False, {}),
        # CREATE_NEW_PROCESS_GROUP and CREATE_NO_WINDOW
        ("nt", True, {"creationflags": 0x00000200 | 0x08000000}),
    ],
)
def test_ctrl_c_in_the_terminal_does_not_reach_a_server_that_is_kept(
    stand_in, monkeypatch, system, kept, arguments
):
    """On Windows a process belongs to its parent's console, unless it is started without one."""
    given = {}
    running = stand_in("", kept_id="a" if kept else None)

    def start(command, **keywords):
        given.update(keywords)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    with monkeypatch.context() as here, pytest.raises(KeyboardInterrupt):
        here.setattr(server, "os", SimpleNamespace(name=system))
        running.__enter__()
    how = ("start_new_session", "creationflags")
    assert {name: value for name, value in given.items() if name in how} == arguments


@pytest.mark.parametrize("accident", [KeyboardInterrupt, LaunchError])
def test_whatever_happens_the_server_is_stopped(stand_in, accident):
    with contextlib.suppress(accident), stand_in(ANSWERING.format(line="")) as running:
        process = running.process
        raise accident
    assert process.returncode is not None


def test_the_base_directory_links_the_pack(places):
    prepare_base(places)
    link = places.base / "custom_nodes" / PACK_NAME
    assert link.resolve() == PACK_ROOT.resolve()
    assert (places.models / "diffusion_models").is_dir()
    link.unlink()
    link.symlink_to(places.base)
    prepare_base(places)
    assert link.resolve() == PACK_ROOT.resolve()


def test_the_artists_own_models_are_found(places, tmp_path):
    prepare_base(places)
    assert "--extra-model-paths-config" not in server_options(
        places, ComfyUI(tmp_path, fetched=True)
    )
    options = server_options(places, ComfyUI(tmp_path, fetched=False))
    config = json.loads(Path(options[-1]).read_text())["comfyui"]
    assert config["base_path"] == str(tmp_path)
    assert config["diffusion_models"].split("\n") == ["models/diffusion_models", "models/unet"]


def test_two_comfyuis_at_once_have_each_their_own_models(places, tmp_path):
    prepare_base(places)
    first, second = (tmp_path / name for name in "ab")
    options = server_options(places, ComfyUI(first, fetched=False))
    server_options(places, ComfyUI(second, fetched=False))
    config = json.loads(Path(options[-1]).read_text())["comfyui"]
    assert config["base_path"] == str(first)


def test_a_jobs_folder_is_gone_afterwards_and_old_ones_are_swept(places):
    old = places.jobs / "edit-old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    with contextlib.suppress(KeyboardInterrupt), job_folder(places) as folder:
        assert (folder / "output").is_dir() and not old.exists()
        raise KeyboardInterrupt
    assert list(places.jobs.iterdir()) == []


def test_what_a_killed_command_had_finished_is_kept(places, capsys):
    """It was killed between ComfyUI's end of the edit and its own."""
    old = places.jobs / "edit-old"
    (old / "output" / "video").mkdir(parents=True)
    (old / "output" / "video" / "a_1.mp4").write_bytes(b"an edit")
    for path in (old / "output" / "video" / "a_1.mp4", old):
        os.utime(path, (0, 0))
    with job_folder(places):
        assert not old.exists()
    kept = places.edits / "results" / "a_1.mp4"
    assert kept.read_bytes() == b"an edit" and kept.stat().st_mtime > 1e9, "its days begin now"
    assert f"lies for 14 days in {kept}" in capsys.readouterr().out


def test_old_logs_of_jobs_that_failed_are_swept(places):
    """Each has a name of its own, and only a job that went well removes its own."""
    failed, fresh, serve = (
        places.log(name) for name in ("comfyui-edit-a", "comfyui-edit-b", "serve-8188")
    )
    for log in (failed, fresh, serve):
        log.touch()
    with job_folder(places) as running:
        own = places.log(f"comfyui-{running.name}")
        for log in (failed, serve, own):
            log.touch()
            os.utime(log, (0, 0))
        with job_folder(places):
            pass
    assert [log.exists() for log in (failed, fresh, serve, own)] == [False, True, True, True]


def test_the_folder_of_a_job_that_takes_days_is_kept(places, monkeypatch):
    monkeypatch.setattr(server, "TOUCH_SECONDS", 0.01)
    with job_folder(places) as running:
        os.utime(running, (0, 0))
        until = time.monotonic() + 120
        while not running.stat().st_mtime and time.monotonic() < until:
            time.sleep(0.01)
        with job_folder(places):
            assert (running / "input").is_dir()
    assert list(places.jobs.iterdir()) == []


def test_a_job_that_ends_while_another_begins_is_no_error(places, monkeypatch):
    gone = places.jobs / "edit-gone"
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([gone]))
    with job_folder(places) as folder:
        assert folder.is_dir()
