"""Executed by the WebUI at each start and each "Reload UI"; everything else lies in the package."""

from stablequeue_client.webui import start

start()
