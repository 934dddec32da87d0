"""The part of RFC 6455 that listening to ComfyUI needs: connect, receive, answer pings, close."""

import base64
import contextlib
import os
import socket
import ssl
import struct
from dataclasses import dataclass
from hashlib import sha1
from urllib.parse import urlsplit

ACCEPT_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Closed(ConnectionError):
    """The other side ended the connection."""


@dataclass(frozen=True)
class Message:
    """One whole message."""

    kind: int
    """TEXT or BINARY."""
    data: bytes
    """Its content."""


class WebSocket:
    """A connection that only listens."""

    def __init__(self, url: str, timeout: float = 30.0):
        """Connects to a ws or wss `url`.

        Raises OSError if that fails or takes `timeout` seconds.
        """
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        raw = socket.create_connection(
            (parts.hostname, parts.port or (443 if secure else 80)), timeout
        )
        try:
            self._socket = (
                ssl.create_default_context().wrap_socket(raw, server_hostname=parts.hostname)
                if secure
                else raw
            )
            self._buffer = bytearray()
            self._message = bytearray()
            self._kind = CONTINUED
            self._handshake(parts.netloc.rpartition("@")[2], f"{parts.path or '/'}?{parts.query}")
        except BaseException:
            raw.close()
            raise

    def receive(self, timeout: float) -> Message | None:
        """The next message, or None after `timeout` seconds.

        Raises Closed when the connection ends.
        """
        self._socket.settimeout(timeout)
        while True:
            frame = self._take_frame()
            if frame is None:
                try:
                    received = self._socket.recv(65536)
                except TimeoutError:
                    return None
                if not received:
                    raise Closed("the connection ended")
                self._buffer += received
                continue
            message = self._handle(*frame)
            if message is not None:
                return message

    def close(self) -> None:
        """Tells the server, if it can be reached, and closes the socket."""
        with contextlib.suppress(OSError):
            self._send(CLOSE, b"")
        self._socket.close()

    def _handshake(self, host: str, target: str) -> None:
        key = base64.b64encode(os.urandom(16))
        self._socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            received = self._socket.recv(4096)
            if not received:
                raise Closed("the connection ended during the handshake")
            self._buffer += received
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        expected = base64.b64encode(sha1(key + ACCEPT_KEY).digest()).decode()
        if " 101" not in status or headers.get("sec-websocket-accept") != expected:
            raise Closed(f"no websocket there: {status}")

    def _take_frame(self) -> tuple[bool, int, bytes] | None:
        """`(final, opcode, payload)` of the next frame in the buffer; None if it is incomplete."""
        have = self._buffer
        if len(have) < 2:
            return None
        final, opcode, length, at = bool(have[0] & 0x80), have[0] & 0x0F, have[1] & 0x7F, 2
        if length >= 126:
            size, form = (2, ">H") if length == 126 else (8, ">Q")
            if len(have) < at + size:
                return None
            length, at = struct.unpack_from(form, have, at)[0], at + size
        if len(have) < at + length:
            return None
        payload = bytes(have[at : at + length])
        del have[: at + length]
        return final, opcode, payload

    def _handle(self, final: bool, opcode: int, payload: bytes) -> Message | None:
        if opcode == PING:
            self._send(PONG, payload)
        elif opcode == CLOSE:
            raise Closed("the server ended the connection")
        elif opcode in (TEXT, BINARY, CONTINUED):
            self._kind = opcode or self._kind
            self._message += payload
            if final:
                whole, self._message = bytes(self._message), bytearray()
                return Message(self._kind, whole)
        return None

    def _send(self, opcode: int, payload: bytes) -> None:
        """Sends one short control frame, masked as clients must."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)
