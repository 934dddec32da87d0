"""The HTTP client, against a real ComfyUI wherever one can give the answer."""

import json
import os

import pytest

from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server.client import Client, Output, Refused, Unreachable, normal_url
from sama_core.launch.server.follow import Follower, saved_file
from sama_core.launch.server.websocket import TEXT
from sama_core.launch.server.workflow import refusal

from ..stand_ins import answering


def copy_graph(file: str) -> dict:
    return {
        "1": {"class_type": "LoadVideo", "inputs": {"file": file}},
        "2": {
            "class_type": "SaveVideo",
            "inputs": {
                "video": ["1", 0],
                "filename_prefix": "copy",
                "format": "auto",
                "codec": "auto",
            },
        },
    }


def test_upload_queue_follow_fetch(comfy_server, clip):
    client = Client(comfy_server.url)
    client.check()
    name = client.upload(clip)
    assert name == "k_lla_klip_1.mp4"
    assert client.upload(clip) == name
    graph, stages = copy_graph(name), Stages()
    socket = client.listen()
    entry = Follower(client, socket, graph, stages).wait(client.queue(graph))
    socket.close()
    fetched = b"".join(client.fetch(saved_file(entry, graph)))
    assert fetched == (comfy_server.base / "output" / "copy_00001_.mp4").read_bytes()
    stages.finish()
    assert "save" in stages.seconds()


def test_two_commands_that_send_the_same_clip_have_a_file_each(comfy_server, clip):
    names = [Client(comfy_server.url, uploads).upload(clip) for uploads in ("", "0a", "0b")]
    assert [name.replace("k_lla_klip_1.mp4", "") for name in names] == ["", "0a/", "0b/"]
    for name in names:
        assert (comfy_server.base / "input" / name).read_bytes() == clip.read_bytes()
    comfy_server.client.queue(copy_graph(names[1]))  # it is a name that ComfyUI takes


@pytest.mark.parametrize(
    ("status", "needs"),
    [
        (500, "failed to write its 3 MB, needs room"),
        (413, "did not take its 3 MB, needs a ComfyUI"),
    ],
)
def test_a_clip_that_is_not_taken(tmp_path, monkeypatch, status, needs):
    """A full disk gives a status of 500, a clip that is too large 413."""
    (tmp_path / "a.mp4").write_bytes(bytes(3_000_000))
    monkeypatch.setattr(Client, "is_reached", lambda self: True)
    with answering((status, {}, b"")) as url, pytest.raises(LaunchError, match=needs):
        Client(url).upload(tmp_path / "a.mp4")


@pytest.mark.parametrize("change", ["longer", "shorter", "same size", "gone"])
def test_a_clip_that_changes_while_it_is_sent(tmp_path, monkeypatch, change):
    clip, sent = tmp_path / "a.mp4", []
    clip.write_bytes(bytes(3000))
    monkeypatch.setattr("sama_core.launch.server.client.CHUNK", 1000)

    def take(self, path, data, headers):
        for part in data:
            sent.append(part)
            if len(sent) == 2:
                clip.write_bytes(bytes({"longer": 5000, "shorter": 1500}.get(change, 3000)))
                os.utime(clip, (1, 1))
                if change == "gone":
                    clip.unlink()
        assert sum(map(len, sent)) == int(headers["Content-Length"])
        return b'{"name": "a.mp4"}'

    monkeypatch.setattr(Client, "_request", take)
    with pytest.raises(LaunchError, match=r"a\.mp4: got a file that (changed since|is gone)"):
        Client("http://nowhere").upload(clip)


def test_what_the_server_offers(comfy_server):
    client = Client(comfy_server.url)
    assert client.node("SAMAEdit")["display_name"] == "SAMA Edit"
    assert client.node("NoSuchNode") is None
    assert client.choices("SAMALoadModel", "model_name") == ["sama_shapes.safetensors"]
    assert "euler" in client.choices("KSampler", "sampler_name")
    assert client.choices("KSampler", "steps") == [] == client.choices("NoSuchNode", "x")
    assert client.history("00000000-0000-0000-0000-000000000000") is None


def test_the_server_greets_on_the_socket(comfy_server):
    socket = Client(comfy_server.url).listen()
    message = socket.receive(120)
    socket.close()
    assert message.kind == TEXT and json.loads(message.data)["type"] == "status"


def test_a_bad_graph_is_refused_with_the_nodes_own_words(comfy_server):
    graph = copy_graph("absent.mp4")
    with pytest.raises(Refused) as caught:
        Client(comfy_server.url).queue(graph)
    assert refusal(graph, caught.value.body) == "LoadVideo (node 1): Invalid video file: absent.mp4"


def test_a_result_that_is_gone_names_itself(comfy_server):
    with pytest.raises(
        LaunchError,
        match="gone.mp4: could not be fetched from .*no longer in that ComfyUI's output",
    ):
        list(Client(comfy_server.url).fetch(Output("gone.mp4", "", "output")))


def test_nobody_there():
    for call in (lambda client: client.check(), lambda client: client.listen()):
        with pytest.raises(
            Unreachable, match=r"^server at http://127.0.0.1:9: got no answer .*Start it or check"
        ):
            call(Client("127.0.0.1:9"))
    assert not Client("127.0.0.1:9").is_reached()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"{}"),
        (404, b"no"),
        (200, b"null"),
        (200, b'"system"'),
        (200, b'["system"]'),
        (200, b"\xff\xfe"),
    ],
)
def test_something_else_there(status, body):
    with (
        answering((status, {}, body)) as url,
        pytest.raises(LaunchError, match="Check the address"),
    ):
        Client(url).check()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"null"])
def test_a_page_in_place_of_an_answer(clip, body):
    """As a sign-in page before the server gives to everything."""
    with answering((200, {}, body)) as url:
        for ask in (lambda client: client.upload(clip), lambda client: client.queue({})):
            with pytest.raises(LaunchError, match="an answer that is not ComfyUI's"):
                ask(Client(url))


@pytest.mark.parametrize("host", ["a..b", "a" * 300, "\U0001f4a5", "\udcff"])
def test_names_that_no_host_has(host):
    with pytest.raises(Unreachable, match="got no answer"):
        Client(f"http://{host}").check()


def test_a_refusal_says_where_to_look():
    with (
        answering((500, {}, b"oh")) as url,
        pytest.raises(Refused, match="and look at that ComfyUI's own window.$"),
    ):
        Client(url).queue({})


def test_a_refusal_whose_connection_ends_is_still_one():
    """As of a proxy that gives up: more is promised than comes."""
    with answering((502, {"Content-Length": "100"}, b"Bad Gatew")) as url:
        with pytest.raises(Refused, match="refused /system_stats with status 502"):
            Client(url).check()
        assert not Client(url).is_reached() and Client(url).pack() is None


def test_a_clip_too_large_for_the_server(clip):
    with answering((413, {}, b"too large")) as url:
        client = Client(url)
        client.is_reached = lambda: True
        with pytest.raises(LaunchError, match="--max-upload-size"):
            client.upload(clip)


def test_a_result_that_ends_early_is_noticed():
    half = (200, {"Content-Length": "100"}, b"half")
    with answering(half) as url, pytest.raises(LaunchError, match="before the whole"):
        list(Client(url).fetch(Output("a.mp4", "", "output")))


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("localhost:8188", "http://localhost:8188"),
        ("http://a/b/", "http://a/b"),
        ("https://a", "https://a"),
    ],
)
def test_addresses(given, whole):
    assert normal_url(given) == whole


@pytest.mark.parametrize("given", ["", "ftp://a", "http://", "http://a:port", "http://[::1"])
def test_impossible_addresses(given):
    with pytest.raises(LaunchError, match="--server: got"):
        normal_url(given)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    """Requests would go to a host of that name; messages and reports name the server."""
    with pytest.raises(LaunchError, match=r"name or password, .*ssh -L") as refused:
        Client("http://me:secret@somewhere:8188")
    assert "secret" not in str(refused.value)


def test_a_proxy_for_the_internet_is_not_used(comfy_server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert Client(comfy_server.url).is_reached()
