"""Gate 0 in the WebUI: is everything here that the next generation names?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stablequeue_client.webui.runtime import Runtime


def register(rt: Runtime) -> None:
    """Have the host's page tell our script what txt2img and img2img would generate with."""
    raise NotImplementedError


def check(rt: Runtime, values: Mapping[str, Any]) -> dict[str, Any]:
    """The line for these values (docs/extension-api.md). From local values only; never waits for a hub."""
    raise NotImplementedError
