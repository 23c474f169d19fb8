"""Stored words as the page's: marks, sources of digests, events and orders as sentences. Pure."""

from __future__ import annotations

from typing import Any

from stablequeue_client.shared.views.labels import FILE_MARKS
from stablequeue_client.shared.views.values import MarkName
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.orders import Order

_CELL_MARKS: dict[str, MarkName] = {
    "available": "here",
    "unhashed": "reading",
    "unavailable": "removed",
    "unreachable": "away",
    "unknown": "unknown",
}
_SOURCES = {
    "computed": "computed from the file",
    "registered": "stated when it was registered",
    "claim:sidecar": "The .sha256 file beside it",
    "claim:civitai": "The .civitai.info file beside it",
    "claim:header": "The file's header",
    "claim:webui_cache": "The WebUI's own hash cache",
}
_AVAILABILITY_EVENTS = {
    "available": "read, and confirmed here",
    "unhashed": "probably here, not read yet",
    "unavailable": "removed",
}
_EVENTS = {
    "metadata_received": "header received",
    "model_registered": "registered by hand",
}
_WEBUIS = {"forge": "Forge", "classic": "Forge Classic", "a1111": "A1111"}
CAPABILITY_LISTS = {
    "architectures": "Can load",
    "samplers": "Samplers",
    "schedulers": "Schedulers",
    "upscalers": "Upscalers",
    "controlnet_models": "ControlNet models",
    "scripts": "Scripts",
    "alwayson_scripts": "Always-on scripts",
}
"""Fields of ``ServerCapabilities``, as people see them."""
_ORDERS = {
    "rescan": "Asked to check its folders.",
    "sync": "Asked to report now.",
    "accept_removals": "Asked to treat the missing files as removed.",
    "put_back": "Asked to put a file back.",
}
_HASHING_ORDERS = {
    "now": "Asked to read now.",
    "later": "Asked to read later.",
    "pause": "Asked to pause reading.",
}


def file_mark(state: str, *, probably: bool = False) -> MarkName:
    """The mark of a file in this state; ``probably``: somebody says which model it is."""
    if state == "unhashed" and probably:
        return "probably"
    return FILE_MARKS.get(state, "unknown")


def cell_mark(availability: str, *, reachable: bool) -> MarkName:
    """The mark of a model on a server. ``unreachable`` on a server that is heard of means its folder."""
    if availability == "unreachable" and reachable:
        return "folder"
    return _CELL_MARKS.get(availability, "unknown")


def source_text(source: str) -> str:
    """Return who computed or stated a digest."""
    return _SOURCES.get(source, source.removeprefix("claim:"))


def event_text(action: str, details: dict[str, Any]) -> str:
    """Return what happened, as half a sentence."""
    if action == "availability_changed":
        return _AVAILABILITY_EVENTS.get(str(details.get("to")), action)
    return _EVENTS.get(action, action.replace("_", " "))


def webui_text(capabilities: ServerCapabilities) -> str:
    """ "Forge 2.0". A version that only says the family again, as Classic's, is left out."""
    version = "" if capabilities.webui_version == capabilities.webui else capabilities.webui_version
    return f"{_WEBUIS.get(capabilities.webui, capabilities.webui)} {version}".strip()


def gpu_text(capabilities: ServerCapabilities) -> str:
    """ "RTX 4090 24 GB"; "" where it has none."""
    memory = capabilities.gpu_memory_mb
    name = capabilities.gpu.removeprefix("NVIDIA ").removeprefix("GeForce ")
    return f"{name} {max(1, round(memory / 1024))} GB".strip() if memory else name


def order_text(order: Order) -> str:
    """An order that its server has not taken over yet."""
    if order.kind == "hashing":
        return _HASHING_ORDERS.get(order.mode or "", "Asked to change when it reads.")
    return _ORDERS[order.kind]
