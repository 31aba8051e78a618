"""A local HTTP server that misbehaves on demand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class Site:
    """Files by path, the requests that came, and what goes wrong with the next ones."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []  # path, Range
        self.cuts: list[int] = []  # the next answers stop after so many bytes
        self.statuses: list[int] = []  # the next answers have this status and no body
        self.ranges = True  # whether Range is honoured
        self.url = ""


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, wanted = unquote(self.path), self.headers.get("Range")
            site.requests.append((path, wanted))
            if site.statuses:
                return self._plain(site.statuses.pop(0))
            body = site.files.get(path)
            if body is None:
                return self._plain(404)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.ranges else 0
            if start and start >= len(body):
                return self._plain(416)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            rest = body[start:]
            self.wfile.write(rest[: site.cuts.pop(0)] if site.cuts else rest)
            return None

        def _plain(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    return Handler


@contextmanager
def serving() -> Iterator[Site]:
    """A site on its own port."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    # It looks so often whether it is to end.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
