"""What `batch --ray` says before it needs a cluster, and the parts that need none."""

import pytest

from sama_core.launch.cli import main
from sama_core.launch.cluster import own_python
from sama_core.launch.cluster.node_server import NodeServer
from sama_core.launch.cluster.slots import Slot
from sama_core.launch.places import Places
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.client import Client
from sama_core.launch.server.comfy_place import Place

FEW = ("--instruction", "make it red")


@pytest.fixture
def run(places, tmp_path, monkeypatch, capsys):
    """`batch` without a cluster: the command must end before it needs one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(b"a")
    monkeypatch.setattr("sama_core.launch.setup.environment.Environment.ready", lambda *given: None)

    def command(*arguments: str) -> str:
        assert main(["batch", "clips", *FEW, *arguments], places) == 1
        return capsys.readouterr().err

    return command


def test_without_ray_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr(own_python, "has_package", lambda name: False)
    said = run("--ray", "auto")
    assert "no package ray" in said and "-m pip install ray -c" in said


def test_it_goes_on_in_the_environments_python(tmp_path, monkeypatch):
    places, begun = Places(work=tmp_path), []
    monkeypatch.setattr(own_python, "has_package", lambda name: False)
    monkeypatch.setattr(own_python.subprocess, "call", lambda command, **given: 0)
    monkeypatch.setattr(own_python.os, "name", "posix")
    monkeypatch.setattr(own_python.os, "execve", lambda *given: begun.append(given))
    monkeypatch.setattr(own_python.sys, "argv", ["run.py", "batch", "clips"])
    with pytest.raises(SystemExit):  # where execve comes back, as it never does
        own_python.go_on_with("ray", "--ray", places)
    ((python, command, environment),) = begun
    assert python == places.python and command == [str(python), "run.py", "batch", "clips"]
    monkeypatch.setenv("SAMA_CONTINUED", environment["SAMA_CONTINUED"])
    with pytest.raises(LaunchError, match="no package ray"):
        own_python.go_on_with("ray", "--ray", places)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (("--ray", "127.0.0.1:1"), ["--ray 127.0.0.1:1", "refused", "ray start"]),
        (("--ray", "auto", "--keep"), ["--keep", "one of the two"]),
        (("--ray", "auto", "--server", "http://127.0.0.1:1"), ["--server", "one of the two"]),
        (("--ray", "auto", "--ray-slots", "tpu:1"), ["tpu:1", "gpu:N or cpu:N"]),
        (("--ray", "auto", "--ray-slots", "gpu:0"), ["gpu:0"]),
    ],
)
def test_wrong_options_are_named(run, given, parts):
    said = run(*given)
    assert all(part in said for part in parts), said


def test_slots_are_counted_on_living_nodes():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 7.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 3.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    assert Slot.read("gpu:1").fit_into(nodes) == 2
    assert Slot.read("cpu:3").fit_into(nodes) == 3
    assert Slot.read("cpu:3").options == {"num_gpus": 0, "num_cpus": 3}
    with pytest.raises(LaunchError, match="10 cpu, 2 gpu|2 gpu, 10 cpu"):
        Slot.read("cpu:8").fit_into(nodes)


def test_a_node_takes_a_clip_that_it_sees_and_no_other(tmp_path):
    node = NodeServer({"pack": ".", "comfyui": None, "variables": {}}, "127.0.0.1")
    (tmp_path / "job/input").mkdir(parents=True)
    node._place = Place(Client("http://127.0.0.1:1"), folder=tmp_path / "job")
    clip = tmp_path / "a b.mov"
    clip.write_bytes(b"12345")
    changed = clip.stat().st_mtime
    name = node.take_clip(str(clip), 5, changed + 1.5)
    assert (tmp_path / "job/input" / name).read_bytes() == b"12345" and name.endswith(".mov")
    assert node.take_clip(str(clip), 6, changed) is None, "another size"
    assert node.take_clip(str(clip), 5, changed + 60) is None, "another time"
    assert node.take_clip(str(tmp_path / "absent.mov"), 5, changed) is None
    node.remove_files(name, [])
    assert list((tmp_path / "job/input").iterdir()) == []
