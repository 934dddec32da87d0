"""`run.py serve`: the server, the port, the browser."""

import os
import signal
import socket
import sys

import pytest

from sama_core.launch.cli import main
from sama_core.launch.commands import serve as serve_module
from sama_core.launch.commands.serve import take_name, take_port
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.client import Client
from sama_core.launch.server.ports import free_port
from sama_core.launch.server.process import Server, prepare_base


@pytest.fixture
def ctrl_c_works():
    """A job in the background of a shell script is started with Ctrl-C switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_serve_opens_the_browser_and_stops_on_ctrl_c(
    places, no_set_up, ctrl_c_works, monkeypatch, capsys
):
    opened = []

    def look_then_press_ctrl_c(server):
        assert server.options[server.options.index("--preview-method") + 1] == "auto"
        opened.append(Client(server.url).is_reached())
        os.kill(os.getpid(), signal.SIGINT)
        server.process.wait()

    monkeypatch.setattr(serve_module, "browser_here", lambda: True)
    monkeypatch.setattr(serve_module.webbrowser, "open", opened.append)
    monkeypatch.setattr(Server, "wait", look_then_press_ctrl_c)
    assert main(["serve"], places) == 0
    url, answered = opened
    assert answered is True and not Client(url).is_reached()
    printed = capsys.readouterr().out
    assert f"ComfyUI with SAMA: {url}" in printed and "Stopping ComfyUI." in printed
    assert "No SAMA-14B here: editing with SAMA-Shapes" in printed


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["starting", "first_page", "listed_trio", "browser_here"])
def test_a_stop_at_any_moment_of_the_start_ends_as_a_later_one(
    places, no_set_up, ctrl_c_works, monkeypatch, capsys, moment, number
):
    """The signal is a real one; it comes as ComfyUI starts, or as it has just become ready."""
    servers = []

    def stop(*given):
        os.kill(os.getpid(), number)

    begin = Server.__enter__
    monkeypatch.setattr(Server, "__enter__", lambda self: servers.append(self) or begin(self))
    if moment == "starting":
        monkeypatch.setattr(Server, "_is_at", stop)
    else:
        monkeypatch.setattr(serve_module, moment, stop)
    assert main(["serve"], places) == 0
    said = capsys.readouterr()
    assert "Stopping ComfyUI." in said.out and said.err == ""
    assert not Client(servers[0].url).is_reached()


def test_the_first_start_opens_the_first_workflow_and_later_ones_what_was_open(places):
    url = "http://127.0.0.1:8188"
    first = url + "/?template=1%20Edit%20a%20video&source=ComfyUI-SAMA"
    assert serve_module.first_page(url, places) == first
    assert (PACK_ROOT / "workflows" / f"{serve_module.FIRST_WORKFLOW}.json").is_file()
    settings = places.base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    for written in ("", "[]", '{"Comfy.TutorialCompleted": false}', '{"other": 1}'):
        settings.write_text(written)
        assert serve_module.first_page(url, places) == first, written
    settings.write_text('{"Comfy.TutorialCompleted": true}')
    assert serve_module.first_page(url, places) == url


def test_serve_has_the_packs_clips_in_its_own_input_folder_alone(places, no_set_up):
    """The artist's ComfyUI, if there is one, keeps its input folder as it is."""
    prepare_base(places)
    (places.base / "input" / "mine.mp4").write_bytes(b"mine")
    serve_module.provide_clips(places)
    serve_module.provide_clips(places)
    clips = {path.name: path.read_bytes() for path in (places.base / "input").iterdir()}
    assert clips == {
        "mine.mp4": b"mine",
        "moving_shapes.mp4": (PACK_ROOT / "workflows/moving_shapes.mp4").read_bytes(),
        "moving_shapes_49.mp4": (PACK_ROOT / "workflows/moving_shapes_49.mp4").read_bytes(),
        "swap_source.mp4": (PACK_ROOT / "workflows/swap_source.mp4").read_bytes(),
        "swap_target.mp4": (PACK_ROOT / "workflows/swap_target.mp4").read_bytes(),
    }
    assert [path.name for path in no_set_up.iterdir()] == ["main.py"]


def test_serve_on_a_port_in_use_says_so_before_set_up(places, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)], places) == 1
    assert f"port {port}: got not usable" in capsys.readouterr().err
    assert not places.runtime.exists()


def test_serve_without_a_port_takes_a_free_one_if_the_usual_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        usual = taken.getsockname()[1]
        monkeypatch.setattr(serve_module, "USUAL_PORT", usual)
        with take_port(None, "127.0.0.1") as port:
            assert port != usual
    with take_port(None, "127.0.0.1") as port:
        assert port == usual


def test_two_that_are_begun_at_once_have_a_port_each(monkeypatch):
    """Neither listens yet: that takes ComfyUI seconds."""
    monkeypatch.setattr(serve_module, "USUAL_PORT", free_port())
    with take_port(None, "127.0.0.1") as first:
        with take_port(None, "127.0.0.1") as second:
            assert first == serve_module.USUAL_PORT != second
        another = r"port \d+: got not usable \(another run\.py starts ComfyUI there\)"
        with (
            pytest.raises(LaunchError, match=another),
            take_port(first, "127.0.0.1"),
        ):
            pass
    with take_port(first, "127.0.0.1") as port:
        assert port == first


def test_port_0_is_any_free_one_that_nobody_else_gets():
    with take_port(0, "127.0.0.1") as first, take_port(0, "127.0.0.1") as second:
        assert 0 < first != second > 0


def test_a_free_port_is_looked_for_where_it_is_listened_on_and_is_claimed(monkeypatch):
    """Two that look at once may find the same one."""
    found, other, usual = free_port(), free_port(), free_port()
    offered, asked = [found, found, other], []

    def offer(host: str) -> int:
        asked.append(host)
        return offered.pop(0)

    monkeypatch.setattr(serve_module, "free_port", offer)
    monkeypatch.setattr(serve_module, "USUAL_PORT", usual)
    with (
        take_port(None, "0.0.0.0") as first,
        take_port(None, "0.0.0.0") as second,
        take_port(None, "0.0.0.0") as third,
    ):
        assert (first, second, third) == (usual, found, other)
    assert asked == ["0.0.0.0"] * 3


def serve_until_ready(places, monkeypatch, *options: str) -> list[str]:
    """Serves until it is ready, and returns what ComfyUI was started with."""
    started = []

    def stop(server):
        started.extend(server.options)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(serve_module, "browser_here", lambda: False)
    monkeypatch.setattr(Server, "wait", stop)
    assert main(["serve", *options], places) == 0
    return started


def test_ports_that_are_chosen_anew_leave_one_database_and_one_log(
    places, no_set_up, ctrl_c_works, monkeypatch
):
    program = no_set_up / "main.py"
    database = 'import sys; open(sys.argv[sys.argv.index("--database-url") + 1][10:], "a").close()'
    program.write_text(f"{database}\n{program.read_text()}")
    for _ in range(2):
        serve_until_ready(places, monkeypatch, "--port", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(serve_module, "USUAL_PORT", taken.getsockname()[1])
        serve_until_ready(places, monkeypatch)
    left = [*(places.base / "user").glob("*.db"), *places.log("serve").parent.glob("serve*")]
    assert [path.name for path in left] == ["comfyui-free-1.db", "serve-free-1.log"]


def test_the_usual_port_and_one_that_was_given_keep_their_own_database(
    places, no_set_up, ctrl_c_works, monkeypatch
):
    given, usual = free_port(), free_port()
    monkeypatch.setattr(serve_module, "USUAL_PORT", usual)
    for port, options in ((given, ("--port", str(given))), (usual, ())):
        database = places.base / "user" / f"comfyui-{port}.db"
        assert f"sqlite:///{database}" in serve_until_ready(places, monkeypatch, *options)
        assert places.log(f"serve-{port}").is_file()


def test_two_servers_on_free_ports_share_no_file(tmp_path):
    with take_name(tmp_path) as first:
        with take_name(tmp_path) as second:
            assert (first, second) == ("free-1", "free-2")
        with take_name(tmp_path) as again:
            assert again == second
    assert list(tmp_path.iterdir()) == []


def test_serve_tells_when_comfyui_ends_by_itself(places, no_set_up, monkeypatch, capsys):
    monkeypatch.setattr(serve_module, "browser_here", lambda: False)

    def end(server):
        server.process.kill()
        server.process.wait()

    monkeypatch.setattr(Server, "wait", end)
    assert main(["serve"], places) == 1
    assert "ComfyUI: ended" in capsys.readouterr().err


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="screens are told by variables on Linux alone"
)
def test_no_browser_without_a_screen(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert serve_module.browser_here() is False
