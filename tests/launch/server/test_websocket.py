"""The websocket client against a scripted server, byte by byte."""

import base64
import hashlib
import socket
import struct
import threading

import pytest

from sama_core.launch.server.websocket import BINARY, TEXT, Closed, Message, WebSocket

LONGEST = 120
"""Seconds for what the other side does at once, also on a busy machine."""
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Script:
    """A server that shakes hands once and then sends what the test says."""

    def __init__(self, status: str = "101 Switching Protocols", key: bytes | None = None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}/ws?clientId=me"
        self.status, self.key = status, key
        self.request = b""
        self.shaken = threading.Event()
        threading.Thread(target=self._shake, daemon=True).start()

    def _shake(self) -> None:
        self.peer, _ = self.listener.accept()
        while b"\r\n\r\n" not in self.request:
            self.request += self.peer.recv(4096)
        lines = self.request.split(b"\r\n")
        sent = next(
            line.partition(b": ")[2] for line in lines if line.startswith(b"Sec-WebSocket-Key")
        )
        accept = base64.b64encode(hashlib.sha1((self.key or sent) + GUID).digest())
        self.peer.sendall(
            b"HTTP/1.1 %s\r\nUpgrade: websocket\r\nSEC-WEBSOCKET-ACCEPT: %s\r\n\r\n"
            % (self.status.encode(), accept)
        )
        self.shaken.set()

    def send(self, data: bytes) -> None:
        assert self.shaken.wait(LONGEST)
        self.peer.sendall(data)


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A server's frame: never masked."""
    head = bytes([(0x80 if final else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + struct.pack(">H", len(payload)) + payload
    return head + b"\x7f" + struct.pack(">Q", len(payload)) + payload


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def listening(script):
    client = WebSocket(script.url, timeout=LONGEST)
    yield client
    client.close()


def test_the_request_asks_for_the_right_thing(script, listening):
    assert script.request.startswith(b"GET /ws?clientId=me HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
def test_messages_of_every_length_form(script, listening, size):
    script.send(frame(BINARY, b"x" * size))
    assert listening.receive(LONGEST) == Message(BINARY, b"x" * size)


def test_fragments_are_joined_around_a_ping(script, listening):
    script.send(
        frame(TEXT, b"one ", final=False)
        + frame(9, b"beat")
        + frame(0, b"two ", final=False)
        + frame(0, b"three")
    )
    assert listening.receive(LONGEST) == Message(TEXT, b"one two three")
    pong = script.peer.recv(100)
    mask, masked = pong[2:6], pong[6:]
    assert (
        pong[:2] == bytes([0x8A, 0x84])
        and bytes(b ^ mask[i % 4] for i, b in enumerate(masked)) == b"beat"
    )


def test_several_messages_in_one_packet(script, listening):
    script.send(frame(TEXT, b"a") + frame(TEXT, b"b"))
    assert [listening.receive(LONGEST).data for _ in range(2)] == [b"a", b"b"]


def test_a_frame_in_pieces_survives_a_timeout(script, listening):
    whole = frame(TEXT, b"x" * 200)
    script.send(whole[:3])
    assert listening.receive(0.01) is None
    script.send(whole[3:150])
    assert listening.receive(0.01) is None
    script.send(whole[150:])
    assert listening.receive(LONGEST) == Message(TEXT, b"x" * 200)


@pytest.mark.parametrize("goodbye", [frame(8, b"\x03\xe8"), None])
def test_the_end_is_told(script, listening, goodbye):
    if goodbye:
        script.send(goodbye)
    else:
        assert script.shaken.wait(LONGEST)
        script.peer.close()
    with pytest.raises(Closed):
        listening.receive(LONGEST)


@pytest.mark.parametrize("script", [Script(status="404 Not Found"), Script(key=b"another key")])
def test_what_is_no_websocket_is_refused(script):
    with pytest.raises(Closed, match="no websocket there"):
        WebSocket(script.url, timeout=LONGEST)


def test_nobody_there():
    with pytest.raises(OSError):
        WebSocket("ws://127.0.0.1:9/ws", timeout=LONGEST)
