"""The extension inside a WebUI. The only place that imports gradio, modules, modules_forge or launch.

Host modules are imported inside functions, so that nearly every file here can be imported without a host.
"""

from __future__ import annotations


def start() -> None:
    """Called by ``scripts/stablequeue.py`` at each start and each "Reload UI". Never raises.

    What our package needs may be missing or broken; then the WebUI gets a tab with one sentence instead.
    """
    try:
        from stablequeue_client.webui.loading import begin

        begin()
    except Exception as error:  # whatever is wrong with us, the WebUI goes on
        from stablequeue_client.webui.broken import show

        show(error)
