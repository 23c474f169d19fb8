"""A real HTTP server that answers what a test tells it, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HUB_ID = "hub-1"
HEALTH = {"service": "stablequeue-hub", "hub_id": HUB_ID, "protocol": {"min": 1, "max": 1}}


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Say:
    """One answer. ``length`` None: the true one."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    length: int | None = None


def say_json(value: Any, status: int = 200, **headers: str) -> Say:
    return Say(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def say_error(code: str, status: int, details: dict[str, Any] | None = None, **headers: str) -> Say:
    error = {"code": code, "message": f"{code}.", "remedy": "Mend it.", "details": details or {}}
    return say_json({"error": error}, status, **headers)


class ScriptedHub:
    """Answers with ``answer(asked)``. Use in ``with``."""

    def __init__(self, answer: Callable[[Asked], Say]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body go out one by one; 40 ms an answer otherwise

            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, self.path, dict(self.headers), body)
                hub.asked.append(asked)
                said = hub.answer(asked)
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header(
                    "Content-Length", str(len(said.body) if said.length is None else said.length)
                )
                self.end_headers()
                self.wfile.write(said.body)
                self.close_connection = said.length is not None

            def log_message(self, *_: Any) -> None:
                pass

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler._handle)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> ScriptedHub:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
