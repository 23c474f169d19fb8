"""In which role a generation names a model, and which kinds of files can fill it."""

from __future__ import annotations

from typing import Literal

from stablequeue_client.shared.model_files.model_file import Kind

Role = Literal[
    "checkpoint", "hires_checkpoint", "refiner", "vae", "text_encoder", "module", "lora", "embedding"
]
"""``module``: a VAE or a text encoder; Forge's list of both does not say which."""

KINDS_OF: dict[Role, tuple[Kind, ...]] = {
    "checkpoint": ("checkpoint",),
    "hires_checkpoint": ("checkpoint",),
    "refiner": ("checkpoint",),
    "vae": ("vae",),
    "text_encoder": ("text_encoder",),
    "module": ("vae", "text_encoder"),
    "lora": ("lora",),
    "embedding": ("embedding",),
}
