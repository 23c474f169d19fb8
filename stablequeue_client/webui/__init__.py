"""The extension inside a WebUI: what the WebUI's script starts. Only ``host/`` imports the WebUI."""

from __future__ import annotations


def start_or_tell() -> None:
    """Called by ``scripts/stablequeue.py`` at each start and each "Reload UI". Never raises.

    What our package needs may be missing or broken; then the WebUI gets a tab with one sentence instead.
    """
    try:
        from stablequeue_client.webui.shell.loading import begin

        begin()
    except Exception as error:  # whatever is wrong with us, the WebUI goes on
        from stablequeue_client.webui.host.broken import show

        show(error)
