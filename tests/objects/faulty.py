"""A proxy before an object store that answers as networks and servers do on a bad day, and counts what it is asked."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["500", "503", "cut", "slow", "short", "flipped"]
_HOP = {"connection", "transfer-encoding", "keep-alive", "server", "date"}


@dataclass(frozen=True)
class Asked:
    """One request: its method, its path without the query, and the query."""

    method: str
    path: str
    query: str


@dataclass
class Faulty:
    """The proxy of one test.

    Attributes:
        asked: all requests so far.
        fault: says what goes wrong with a request, given how often the same one has come before; None for nothing.
        delay: seconds of a slow answer.
    """

    upstream: str
    asked: list[Asked] = field(default_factory=list)
    fault: Callable[[Asked, int], Fault | None] = lambda _asked, _before: None
    delay: float = 1.0
    url: str = ""
    answered: int = 0

    def idle(self) -> None:
        """Wait until every request has been answered."""
        while self.answered < len(self.asked):
            time.sleep(0.01)

    def shards(self, method: str = "GET") -> list[str]:
        """The paths of requests for shard files."""
        return [one.path for one in self.asked if one.method == method and "/c/" in one.path]

    def times(self, fault: Fault, times: int, inside: str = "", methods: str = "GET PUT POST") -> None:
        """Let the first `times` requests of each kind fail whose path has `inside` in it."""
        self.fault = lambda asked, before: (
            fault if before < times and inside in asked.path and asked.method in methods else None
        )

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Pass a request on, or do to it what `fault` says."""
        parts = urlsplit(handler.path)
        asked = Asked(handler.command, parts.path, parts.query)
        with _LOCK:
            before = sum(one == asked for one in self.asked)
            self.asked.append(asked)
            fault = self.fault(asked, before)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if fault in ("500", "503"):
            content = b"<Error><Code>SlowDown</Code></Error>"
            handler.send_response(int(fault))
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
            return
        if fault == "slow":
            time.sleep(self.delay)
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=60)
        try:
            headers = {key: value for key, value in handler.headers.items() if key.lower() not in _HOP}
            connection.request(handler.command, handler.path, body or None, headers)
            got = connection.getresponse()
            content = got.read()
            kept = [(key, value) for key, value in got.getheaders() if key.lower() not in {*_HOP, "content-length"}]
            length = got.getheader("Content-Length") if handler.command == "HEAD" else str(len(content))
        finally:
            connection.close()
        if fault == "flipped" and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        if fault == "short":
            content, length = content[:-1], str(len(content) - 1)
        handler.send_response(got.status)
        for key, value in kept:
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(length or 0))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if fault == "cut":
            handler.wfile.write(content[: len(content) // 2])
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.close()
            return
        handler.wfile.write(content)


_LOCK = threading.Lock()


def served(faulty: Faulty) -> ThreadingHTTPServer:
    """Serve the proxy on a free port of this machine; `shutdown` and `server_close` end it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                faulty.answer(self)
            except OSError:  # the client has left
                self.close_connection = True
            finally:
                with _LOCK:
                    faulty.answered += 1

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    faulty.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
