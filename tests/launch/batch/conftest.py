"""What the tests of batches share."""

import pytest

from sama_core.launch.batch.job_process import JobProcess
from sama_core.launch.cli import main
from sama_core.launch.setup.environment import Environment

from ...harness.comfy_home import comfy_source
from .stand_in_comfy import StandIn

SIZE = {"frames": 17, "width": 256, "height": 256}


@pytest.fixture
def run(places, tmp_path, monkeypatch, capsys):
    """A function that runs `batch` in the test's folder, set-up being done; (exit code, standard
    output, standard error).

    Pictures are not read: stand-ins give none.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Environment, "ready", lambda self, asked=None: comfy_source())
    monkeypatch.setattr(JobProcess, "run", lambda self, job, *arguments: SIZE)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(["batch", *arguments], places)
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def server():
    """A stand-in server."""
    with StandIn() as one:
        yield one


@pytest.fixture
def clips(tmp_path):
    """A function that writes clips, each with other content, into the folder `clips`."""

    def write(*names: str):
        for name in names:
            path = tmp_path / "clips" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"clip {name}".encode())
        (tmp_path / "clips").mkdir(exist_ok=True)
        return tmp_path / "clips"

    return write
