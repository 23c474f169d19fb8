"""Which architecture a model has, by the name of its base model. Pure.

Base models are called as file headers tell (``SD 1.5``, ``SDXL``, ``Flux``) or as Civitai does (``SDXL 1.0``,
``Pony``, ``Illustrious``, ``Flux.1 D``); architectures as in ``ServerCapabilities``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Literal

_NAMES: tuple[tuple[str, str], ...] = (
    (r"sd ?1(\.\d)?\b", "sd1"),
    (r"sd ?2(\.\d)?\b", "sd2"),
    (r"sd ?3(\.\d)?\b", "sd3"),
    (r"sdxl\b", "sdxl"),
    (r"pony(?! v7)\b", "sdxl"),  # Pony V7 is another architecture
    (r"(illustrious|noobai|animagine)\b", "sdxl"),
    (r"flux(\.1)?(?!\.)\b", "flux"),  # Flux.2 is another one
    (r"chroma\b", "chroma"),
)
_PATTERNS = tuple((re.compile(pattern), architecture) for pattern, architecture in _NAMES)
_SAID: dict[str, str] = {
    "sd1": "SD 1.5",
    "sd2": "SD 2",
    "sd3": "SD 3",
    "sdxl": "SDXL",
    "flux": "Flux",
    "chroma": "Chroma",
}


@lru_cache(maxsize=256)
def architecture_of(base_model: str | None) -> str | None:
    """``sd1``, ``sdxl``, ``flux``, ...; None for a base model that is not known, or none of these."""
    name = " ".join((base_model or "").lower().split())
    return next((architecture for pattern, architecture in _PATTERNS if pattern.match(name)), None)


def architecture_text(architecture: str) -> str:
    """As people call it."""
    return _SAID.get(architecture, architecture)


def missing_architecture(
    base_model: str | None, loadable: Collection[str]
) -> Literal["ok", "missing", "not_checked"]:
    """Return whether a WebUI that can load ``loadable`` can load a checkpoint of this base model.

    ``not_checked``: the base model is not known, or the WebUI did not say what it can load.
    """
    architecture = architecture_of(base_model)
    if architecture is None or not loadable:
        return "not_checked"
    return "ok" if architecture in loadable else "missing"
