"""Model folders: what a root is, which files of it are models, where a WebUI keeps them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from stablequeue_client.files.file_io import escaped
from stablequeue_client.shared.errors import FolderError
from stablequeue_client.shared.model_files.model_file import Kind

EXTENSIONS: dict[Kind, tuple[str, ...]] = {
    "checkpoint": (".safetensors", ".ckpt", ".gguf"),
    "lora": (".safetensors", ".pt", ".ckpt"),
    "vae": (".safetensors", ".ckpt", ".pt", ".bin", ".gguf"),
    "text_encoder": (".safetensors", ".ckpt", ".pt", ".bin", ".gguf"),
    "embedding": (".safetensors", ".pt", ".bin"),
}
"""What the WebUIs list per kind (A1111 ``sd_models``, ``sd_vae``, ``textual_inversion``; Forge
``main_entry.refresh_models``)."""
VAES_AMONG_CHECKPOINTS = (".vae.safetensors", ".vae.ckpt", ".vae.pt")
"""Names that end so are VAEs, and no checkpoints, in a folder of checkpoints (A1111
``sd_vae.refresh_vae_list``)."""

# Relative to a WebUI's folder; A1111 and Forge share the names.
_WEBUI_FOLDERS: tuple[tuple[Kind, str], ...] = (
    ("checkpoint", "models/Stable-diffusion"),
    ("lora", "models/Lora"),
    ("lora", "models/LyCORIS"),
    ("vae", "models/VAE"),
    ("text_encoder", "models/text_encoder"),
    ("embedding", "embeddings"),
    ("embedding", "models/embeddings"),
)


@dataclass(frozen=True)
class Root:
    """One model folder. ``path`` is absolute and native; ``label`` is shown: never the whole path.

    ``real``: the path without links as it was found, empty when nobody looked.
    """

    root_id: str
    kind: Kind
    path: str
    label: str
    real: str = ""


def make_root(kind: Kind, path: str, *, realpath: Callable[[str], str] = os.path.realpath) -> Root:
    """The root at ``path``, which need not exist now. Its id is 8 hex of SHA256(kind NUL real path)."""
    absolute = os.path.abspath(os.path.expanduser(path))
    real = realpath(absolute)
    identity = (
        kind.encode("ascii")
        + b"\0"
        + real.encode("utf-8", "surrogatepass" if os.name == "nt" else "surrogateescape")
    )
    label = "/".join(part for part in absolute.replace("\\", "/").split("/")[-2:] if part) or absolute
    return Root(hashlib.sha256(identity).hexdigest()[:8], kind, absolute, label, real)


def find_webui_roots(webui_dir: str) -> list[Root]:
    """The model folders below a WebUI's folder, in a fixed order. Raises FolderError when there are none."""
    found: dict[str, Root] = {}
    for kind, relative in _WEBUI_FOLDERS:
        path = os.path.join(webui_dir, *relative.split("/"))
        if os.path.isdir(path):
            root = make_root(kind, path)
            found.setdefault(root.root_id, root)
    if not found:
        raise FolderError(
            f"{escaped(webui_dir)} has no models folder.",
            remedy="Give the folder in which the WebUI's `webui.py` lies, or --checkpoints and --loras.",
        )
    return list(found.values())
