"""The host's life: initialise, make the page, wait for "Reload UI" or the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
import traceback
from threading import Thread
from typing import Any

from modules import gradio_extensions, shared
from modules_forge import main_thread

gradio_extensions.install()

from modules import (  # noqa: E402 - after gradio was changed, as in the hosts
    extensions,
    script_callbacks,
    scripts,
    sd_models,
    sd_vae,
    ui,
    ui_extra_networks,
)
from modules.shared_cmd_options import cmd_opts  # noqa: E402

started = 0
"""How many pages were made; a test waits for the next one."""


class AnyThreadEventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """A loop for any thread, as the hosts set it: without one, Gradio 4's ``close`` closes nothing."""

    def get_event_loop(self) -> asyncio.AbstractEventLoop:
        try:
            return super().get_event_loop()
        except RuntimeError:
            self.set_event_loop(self.new_event_loop())
            return super().get_event_loop()


def initialize_rest() -> None:
    extensions.list_extensions()
    sd_models.list_models()
    scripts.load_scripts()
    sd_vae.refresh_vae_list()
    ui_extra_networks.initialize()
    ui_extra_networks.register_default_pages()


def server_name() -> str | None:
    return cmd_opts.server_name or ("0.0.0.0" if cmd_opts.listen else None)


def credentials() -> list[tuple[str, ...]] | None:
    text = cmd_opts.gradio_auth or ""
    return [tuple(pair.split(":", 1)) for pair in text.split(",") if pair] or None


def setup_middleware(app: Any) -> None:
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.gzip import GZipMiddleware

    app.user_middleware = [x for x in app.user_middleware if x.cls.__name__ != "CORSMiddleware"]
    app.user_middleware.insert(0, Middleware(GZipMiddleware, minimum_size=1000))
    app.user_middleware.insert(
        0, Middleware(CORSMiddleware, allow_methods=["*"], allow_headers=["*"], allow_credentials=True)
    )
    app.build_middleware_stack()


def api_only_worker() -> None:
    """``--nowebui``: an app without a page."""
    global started
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()
    setup_middleware(app)
    script_callbacks.before_ui_callback()
    script_callbacks.app_started_callback(None, app)
    shared.app = app  # type: ignore[attr-defined] - for the control server alone
    started += 1
    uvicorn.run(app, host=server_name() or "127.0.0.1", port=cmd_opts.port or 7861, log_level="warning")


def wait_for_port() -> None:
    """Until the last page's port is free (the hosts sleep half a second)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", cmd_opts.port or 7860))
                return
            except OSError:
                time.sleep(0.05)


def webui_worker() -> None:
    global started
    while True:
        script_callbacks.before_ui_callback()
        shared.demo = ui.create_ui()
        if not cmd_opts.no_gradio_queue:
            shared.demo.queue(64)
        app, _, _ = shared.demo.launch(
            share=False,
            server_name=server_name(),
            server_port=cmd_opts.port,
            auth=credentials(),
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            allowed_paths=cmd_opts.gradio_allowed_path,
            app_kwargs={"docs_url": "/docs", "redoc_url": "/redoc"},
            root_path=f"/{cmd_opts.subpath}" if cmd_opts.subpath else "",
        )
        setup_middleware(app)
        ui.setup_ui_api(app)
        script_callbacks.app_started_callback(shared.demo, app)
        shared.app = app  # type: ignore[attr-defined] - for the control server alone
        started += 1
        while True:
            command = shared.state.wait_for_server_command(timeout=5)
            if command in ("stop", "restart"):
                break
        shared.demo.close()
        wait_for_port()
        if command == "stop":
            os._exit(0)
        script_callbacks.app_reload_callback()
        script_callbacks.script_unloaded_callback()
        initialize_rest()


def _work() -> None:
    try:
        (api_only_worker if cmd_opts.nowebui else webui_worker)()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    asyncio.set_event_loop_policy(AnyThreadEventLoopPolicy())
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    initialize_rest()
    Thread(target=_work, daemon=True).start()
    main_thread.loop()


if __name__ == "__main__":
    sys.exit(main())
