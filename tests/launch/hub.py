"""A model hub on 127.0.0.1: HEAD and GET `resolve`, the redirect to storage, ETags, sizes, ranges
and accidents."""

import hashlib
import http.server
import re
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """`files` maps `repo/path` to bytes.

    `cuts` holds, for each coming transfer, after how many bytes it breaks.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.checksums: dict[str, str] = {}
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        hub = self

        class Handler(_Handler):
            owner = hub

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # The library treats a redirect to another host differently, as the public hub's storage is
        # one.
        self.storage = f"http://localhost:{self._server.server_port}/storage"

    def __enter__(self) -> "Hub":
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return self

    def __exit__(self, *failure) -> None:
        self._server.shutdown()
        self._server.server_close()

    def checksum(self, name: str) -> str:
        """What the hub says the file's sha256 is, which need not be so."""
        return self.checksums.get(name) or hashlib.sha256(self.files[name]).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Hub

    def do_HEAD(self):
        self._answer(send_body=False)

    def do_GET(self):
        self._answer(send_body=True)

    def _answer(self, send_body: bool) -> None:
        resolve = re.fullmatch(r"/(.+)/resolve/main/(.+)", self.path)
        name = f"{resolve[1]}/{resolve[2]}" if resolve else self.path.removeprefix("/storage/")
        if name not in self.owner.files:
            self._head(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
        elif resolve:
            self._head(
                302,
                {
                    "Location": f"{self.owner.storage}/{name}",
                    "X-Repo-Commit": COMMIT,
                    "X-Linked-ETag": f'"{self.owner.checksum(name)}"',
                    "ETag": '"pointer"',
                    "X-Linked-Size": str(len(self.owner.files[name])),
                    "Content-Length": "0",
                },
            )
        elif send_body:
            self._send(self.owner.files[name])
        else:
            self._head(200, {"Content-Length": str(len(self.owner.files[name]))})

    def _send(self, body: bytes) -> None:
        asked = self.headers.get("Range")
        self.owner.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        headers = {"Content-Length": str(len(body) - start), "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._head(206 if asked else 200, headers)
        if self.owner.cuts:
            self.wfile.write(body[start : start + self.owner.cuts.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(body[start:])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *arguments) -> None:
        pass
