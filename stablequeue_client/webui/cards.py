"""Marks for the cards of the WebUI's own browser of checkpoints, LoRAs and embeddings."""

from __future__ import annotations

from stablequeue_client.model_files import Kind
from stablequeue_client.webui.runtime import Runtime


def marks(rt: Runtime, kind: Kind) -> bytes:
    """The marks of all cards of a kind as JSON (docs/extension-api.md); the same bytes until one changes."""
    raise NotImplementedError
