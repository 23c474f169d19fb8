"""Executed by the WebUI at each start and each "Reload UI"; everything else lies in the package.

A package stays as this process has loaded it, so this file may be the newer one of the two.
"""

from stablequeue_client import webui

if hasattr(webui, "start_or_tell"):
    webui.start_or_tell()
else:  # loaded from a version that cannot tell
    from stablequeue_client.webui.host import updated

    updated.show()
