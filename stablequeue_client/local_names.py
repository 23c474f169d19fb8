"""How names are compared on a server: the same keys as on the hub. Pure."""

from __future__ import annotations

import unicodedata

MODEL_EXTENSIONS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


def search_key(text: str) -> str:
    """Casefolded NFC: what names are searched and sorted by."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def stem_key(path: str) -> str:
    """The key of a path's last part without a model file's extension: what a person calls the model."""
    name = search_key(path.rsplit("/", 1)[-1])
    stem, dot, extension = name.rpartition(".")
    return stem if stem and dot + extension in MODEL_EXTENSIONS else name
