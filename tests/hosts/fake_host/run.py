"""A runnable WebUI without torch: the real Gradio of a family, its ``modules`` as far as extensions use them.

    python tests/hosts/fake_host/run.py --family forge|classic --port N --data DIR [--cards N] [--bare]
        [--no-extension] [--no-install] [-- further options of the host, such as --listen or --ckpt-dir D]

Run it with the Python of an environment made from ``tests/hosts/<family>-pins.txt``. The checkout stands in
``DIR/extensions`` as a link and is loaded as a host does it: install.py as a process of its own, scripts
executed, javascript and style.css linked. StableQueue's own data goes to ``DIR-stablequeue`` unless
STABLEQUEUE_DATA says otherwise. One line ``ready {...}`` on stdout gives the addresses.

The control address answers tests: ``POST /reload`` (waits for the new page), ``GET /counts`` (threads,
descriptors, children, routes), ``POST /run`` (Python to execute in the host; its ``result`` as JSON).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", choices=("forge", "classic"), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--cards", type=int, default=0, help="cards without a file on each page of the browser"
    )
    parser.add_argument("--bare", action="store_true", help="no sample models")
    parser.add_argument("--no-extension", action="store_true")
    parser.add_argument("--no-install", action="store_true", help="do not run install.py first")
    known, rest = parser.parse_known_args()
    known.rest = [word for word in rest if word != "--"]
    return known


def write_safetensors(path: Path, metadata: dict[str, str], payload: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Any] = {
        "w": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}
    }
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + payload)


def sample_models(models: Path, embeddings: Path, family: str) -> None:
    """A few files of each kind, all of different content."""
    for number, (name, metadata) in enumerate(
        {
            "Stable-diffusion/alpha.safetensors": {},
            "Stable-diffusion/sub/beta.safetensors": {},
            "Lora/detail.safetensors": {"ss_output_name": "detail_alias", "ss_base_model_version": "sd_v1"},
            "Lora/styles/ink.safetensors": {"ss_base_model_version": "sdxl_base_v1-0"},
            "VAE/soft.safetensors": {},
            **({"text_encoder/clip_l.safetensors": {}} if family == "forge" else {}),
        }.items()
    ):
        write_safetensors(models / name, metadata, bytes([number]) * 4096)
    write_safetensors(embeddings / "badhands.safetensors", {}, b"e" * 512)


def prepare(known: argparse.Namespace) -> None:
    data: Path = known.data
    extensions = data / "extensions"
    extensions.mkdir(parents=True, exist_ok=True)
    if not known.bare and not (data / "models").exists():
        embeddings = data / "embeddings" if known.family == "forge" else data / "models" / "embeddings"
        sample_models(data / "models", embeddings, known.family)
    for name in ("models/Stable-diffusion", "models/Lora", "models/VAE"):
        (data / name).mkdir(parents=True, exist_ok=True)
    link = extensions / "stablequeue"
    if known.no_extension or link.exists():
        return
    if os.name == "nt":  # a link needs a right there that few have
        shutil.copytree(CHECKOUT, link, ignore=shutil.ignore_patterns(".git", ".venv*", "__pycache__"))
    else:
        link.symlink_to(CHECKOUT, target_is_directory=True)


def host_path(family: str) -> list[str]:
    return [str(HERE / "host"), str(HERE / family)]


def run_installer(extension: Path, family: str) -> None:
    """As the hosts: a process of its own, the host on PYTHONPATH, its failure tells and stops nothing."""
    script = extension / "install.py"
    if not script.is_file():
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(host_path(family))}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, cwd=extension, capture_output=True, text=True
    )
    if done.stdout:
        print(done.stdout, end="")
    if done.returncode != 0:
        print(f"*** Error running install.py: {done.returncode}\n{done.stderr}", file=sys.stderr)


def environment(known: argparse.Namespace) -> None:
    os.environ.setdefault("STABLEQUEUE_DATA", str(known.data.absolute()) + "-stablequeue")
    os.environ["FAKE_HOST_CARDS"] = str(known.cards)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(known.data.absolute() / "tmp" / "gradio")
    os.environ.setdefault("MPLCONFIGDIR", str(known.data.absolute() / "tmp" / "matplotlib"))


class Control(BaseHTTPRequestHandler):
    """For tests alone; on this computer alone."""

    def do_GET(self) -> None:
        self._answer(counts if self.path == "/counts" else None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self._answer({"/reload": reload_ui, "/run": lambda: execute(body)}.get(self.path))

    def _answer(self, call: Any) -> None:
        try:
            status, value = (200, call()) if call else (404, "no such order")
        except Exception:
            status, value = 500, traceback.format_exc()
        content = json.dumps(value, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def counts() -> dict[str, Any]:
    import psutil
    import webui
    from modules import script_callbacks, shared

    me = psutil.Process()
    routes = [getattr(route, "path", "") for route in shared.app.routes]  # type: ignore[attr-defined]
    return {
        "pages": webui.started,
        "main_seconds": script_callbacks.seconds,
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "descriptors": me.num_handles() if os.name == "nt" else me.num_fds(),
        "children": [child.pid for child in me.children(recursive=True)],
        "routes": sorted(routes),
        "rss": me.memory_info().rss,
    }


def reload_ui() -> dict[str, Any]:
    import webui
    from modules import shared

    before = webui.started
    shared.state.request_restart()
    deadline = time.monotonic() + 60
    while webui.started == before:
        if time.monotonic() > deadline:
            raise TimeoutError("no new page within 60 s")
        time.sleep(0.02)
    return counts()


def execute(source: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(source, "<test>", "exec"), names)
    return names.get("result")


def tell_when_ready(port: int) -> None:
    import webui

    control = HTTPServer(("127.0.0.1", 0), Control)
    threading.Thread(target=control.serve_forever, name="fake-host-control", daemon=True).start()
    while not webui.started:
        time.sleep(0.02)
    about = {
        "url": f"http://127.0.0.1:{port}",
        "control": f"http://127.0.0.1:{control.server_port}",
        "pid": os.getpid(),
    }
    print("ready " + json.dumps(about), flush=True)


def main() -> None:
    known = parse()
    prepare(known)
    environment(known)
    if not known.no_install and not known.no_extension:
        run_installer(known.data / "extensions" / "stablequeue", known.family)
    # The host's folder stands where webui.py is; its working directory is what Gradio serves files from.
    os.chdir(known.data)
    sys.path[:0] = host_path(known.family)
    sys.path.remove(str(HERE))
    sys.argv = ["webui.py", "--data-dir", str(known.data.absolute()), "--port", str(known.port), *known.rest]
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, line_buffering=True)
    import webui

    threading.Thread(target=tell_when_ready, args=(known.port,), daemon=True).start()
    webui.main()


if __name__ == "__main__":
    main()
