"""A reverse proxy before a hub: with a limit for bodies as nginx has one, and what a test makes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ELSEWHERE = b"<html><head><title>Another site of this address</title></head></html>"
TOO_SLOW = b"<html><head><title>504 Gateway Time-out</title></head></html>"
TOO_LARGE = b"<html><head><title>413 Request Entity Too Large</title></head></html>"


@dataclass(frozen=True)
class Passing:
    """A request on its way. ``path`` with its query; ``size``: bytes of its body."""

    method: str
    path: str
    size: int
    body: bytes


class Proxy:
    """Passes everything on to ``target``. ``limit``: bytes of a body; ``refuses``: the status with which a
    request is refused as HTML, None to pass it; ``patience_s``: how long it waits for the hub;
    ``prefix``: the path below which it shows it. The hub hears its own name in Host, as nginx does it. Use in
    ``with``."""

    def __init__(
        self,
        target: str,
        *,
        limit: int = 1 << 20,
        refuses: Callable[[Passing], int | None] = lambda passing: None,
        patience_s: float = 90.0,
        prefix: str = "",
    ) -> None:
        self.limit, self.refuses = limit, refuses
        self.passed: list[Passing] = []
        self.refused: list[tuple[Passing, int]] = []
        proxy, address = self, urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _handle(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                if not self.path.startswith(f"{prefix}/"):
                    self._say(404, [("Content-Type", "text/html")], ELSEWHERE)
                    return
                passing = Passing(self.command, self.path.removeprefix(prefix), size, body)
                status = 413 if size > proxy.limit else proxy.refuses(passing)
                if status is not None:
                    proxy.refused.append((passing, status))
                    self._say(status, [("Content-Type", "text/html")], TOO_LARGE)
                    return
                proxy.passed.append(passing)
                hub = HTTPConnection(address.hostname or "", address.port, timeout=patience_s)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                hub.request(self.command, passing.path, body, headers)
                try:
                    answer = hub.getresponse()
                except TimeoutError:
                    proxy.refused.append((passing, 504))
                    self._say(504, [("Content-Type", "text/html")], TOO_SLOW)
                else:
                    self._say(answer.status, answer.getheaders(), answer.read())
                finally:
                    hub.close()

            def _say(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "date", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler._handle)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
