"""The worker that `run.py batch` starts itself, with a small stand-in for ComfyUI's main.py."""

import io
import threading
import time
from threading import Barrier

import pytest

from sama_core.launch.batch.server_choice import answering
from sama_core.launch.batch.workers import OwnWorker
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server.client import Client, Unreachable
from sama_core.launch.server.comfy_place import Place
from sama_core.launch.server.kept import stop_kept
from sama_core.launch.setup.comfyui_source import ComfyUI

from ..stand_ins import ANSWERING


@pytest.fixture
def comfyui(tmp_path) -> ComfyUI:
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text(ANSWERING.format(line="started"))
    return ComfyUI(folder, fetched=True)


def test_it_is_started_again_when_it_has_died_and_ends_with_the_batch(comfyui, places):
    worker = OwnWorker(comfyui, places, keep=False)
    first = worker.connect()
    assert worker.connect().client.url == first.client.url
    first.server.process.kill()
    first.server.process.wait()
    second = worker.connect()
    assert second.client.url != first.client.url and second.client.is_reached()
    worker.close()
    assert not second.client.is_reached() and list(places.jobs.iterdir()) == []
    with pytest.raises(LaunchError, match="stopped"):
        worker.connect()


def test_all_servers_are_asked_at_once():
    """One that is switched off takes a minute; the batch begins with the others."""
    both = Barrier(2, timeout=120)

    class Slow:
        def __init__(self, name: str):
            self.name = name

        def connect(self) -> Place:
            both.wait()
            if self.name == "b":
                raise Unreachable("b: got no answer")
            return Place(Client("http://nowhere:1"))

    said = io.StringIO()
    clients = answering([Slow("a"), Slow("b")], Stages(said))
    assert [client.url for client in clients] == ["http://nowhere:1"]
    assert said.getvalue() == "b: got no answer It is left out until it answers.\n"


def test_a_kept_one_outlives_the_batch(comfyui, places):
    told = """(b'{"system": {}, "id": "' + os.environb[b"SAMA_KEPT_ID"] + b'"}')"""
    program = ANSWERING.format(line="started").replace("""b'{"system": {}}'""", told)
    (comfyui.folder / "main.py").write_text(f"import os\n{program}")
    said: list[str] = []
    worker = OwnWorker(comfyui, places, keep=True, say=said.append)
    place = worker.connect()
    worker.close()
    assert Client(place.client.url).is_reached() and "serve --stop` ends it" in said[-1]
    assert stop_kept(places) == place.client.url


def test_a_start_that_is_under_way_is_given_up(comfyui, places):
    """Ctrl-C while a server loads: it is not waited for."""
    (comfyui.folder / "main.py").write_text("import time; time.sleep(600)")
    worker, failed = OwnWorker(comfyui, places, keep=False), []

    def connect():
        try:
            worker.connect()
        except LaunchError as error:
            failed.append(str(error))

    thread = threading.Thread(target=connect)
    thread.start()
    while thread.is_alive() and not (places.jobs.is_dir() and list(places.jobs.iterdir())):
        time.sleep(0.01)
    worker.close()
    thread.join(120)
    assert failed == ["stopped"] and list(places.jobs.iterdir()) == []
