"""Shows every view in every state, without a hub.

python -m tests.samples.preview --port 8399     open the list it prints in a browser
python -m tests.samples.preview --out previews  the same as files
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import sys
import zlib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from markupsafe import Markup

from stablequeue_client.shared.views import assets, views
from stablequeue_client.shared.views.values import Notice

from .samples import SAMPLES, Sample

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# What a link inside a state shows when the state itself is of another view.
_NEIGHBOURS = {
    "models": "models-four-servers",
    "model": "model",
    "servers": "servers",
    "join": "join-question",
    "keys": "keys",
    "queue": "queue",
    "job": "job-finished",
    "new": "new-job",
}


def png_of(name: str, width: int = 64, height: int = 96) -> bytes:
    """A picture whose colours follow from ``name``."""
    red, green, blue = hashlib.sha256(name.encode()).digest()[:3]
    rows = b"".join(
        b"\0"
        + bytes((red * y // height, green, blue * x // width)[c] for x in range(width) for c in range(3))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def contents(suffix: str = "") -> Markup:
    """The list of all states."""
    items = Markup("").join(
        Markup('<li><a href="{0}{1}">{0}</a></li>').format(name, suffix) for name in SAMPLES
    )
    return Markup('<!doctype html><meta charset="utf-8"><title>Previews</title><ul>{}</ul>').format(items)


def write_files(folder: Path) -> int:
    """Every state as NAME.html with its style sheet beside it. How many."""
    (folder / "static").mkdir(parents=True, exist_ok=True)
    for name in assets.ASSETS:
        found = assets.asset(name)
        if found:
            (folder / "static" / name).write_bytes(found[0])
    for name, sample in SAMPLES.items():
        page = sample.page(".").replace('="/static/', '="./static/')
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    (folder / "index.html").write_text(contents(".html"), encoding="utf-8")
    return len(SAMPLES)


class PreviewServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1 only. ``/NAME/`` is a state's page, ``/NAME/views/...`` its fragments."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        if "static" in parts:
            found = assets.asset(parts[-1])
            if found:
                self._send(*found)
            else:
                self._missing()
        elif "pictures" in parts:
            self._send(png_of(self.path), "image/png")
        elif parts == [""]:
            self._send_html(contents("/"))
        elif parts[0] not in SAMPLES:
            self._missing()
        elif len(parts) > 1:
            self._send_fragment(SAMPLES[parts[0]], parts[2:])
        else:
            self._send_html(SAMPLES[parts[0]].page(f"/{parts[0]}"))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._send_html(views.notice(Notice("Done (a preview changes nothing).")))

    def _send_fragment(self, sample: Sample, path: list[str]) -> None:
        if sample.away:
            self._send(b"", "text/plain", HTTPStatus.SERVICE_UNAVAILABLE)
        elif path == ["first-line"]:
            self._send_html(views.first_line(sample.line))
        elif path and path[0] in (sample.view, *_NEIGHBOURS):
            shown = sample if path[0] == sample.view else SAMPLES[_NEIGHBOURS[path[0]]]
            self._send_html(shown.fragment())
        else:
            self._missing()

    def _missing(self) -> None:
        self._send(b"Not found", "text/plain", HTTPStatus.NOT_FOUND)

    def _send_html(self, html: Markup) -> None:
        tag = views.etag(html)
        if self.headers.get("If-None-Match") == tag:
            self._send(b"", "text/html; charset=utf-8", HTTPStatus.NOT_MODIFIED, tag)
        else:
            body = html.encode()
            self._send(body, "text/html; charset=utf-8", HTTPStatus.OK, tag)

    def _send(self, body: bytes, content_type: str, status: int = HTTPStatus.OK, tag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.samples.preview", description=__doc__)
    parser.add_argument("--port", type=int, default=8399, help="where to listen on 127.0.0.1 (default: 8399)")
    parser.add_argument("--out", type=Path, help="write files into this folder instead")
    options = parser.parse_args(argv)
    if options.out:
        sys.stdout.write(f"{write_files(options.out)} previews: {options.out / 'index.html'}\n")
        return 0
    server = PreviewServer(options.port)
    sys.stdout.write(f"Previews: {server.address}/  (Ctrl+C ends)\n")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
