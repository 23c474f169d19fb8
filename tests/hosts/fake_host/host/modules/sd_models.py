"""Checkpoints and every name under which the host accepts one."""

from __future__ import annotations

import hashlib
import os

from fake_family import FORGE
from modules import hashes, paths, shared
from modules.util import walk_files

model_dir = "Stable-diffusion"
model_path = os.path.abspath(os.path.join(paths.models_path, model_dir))
checkpoints_list: dict[str, CheckpointInfo] = {}
checkpoint_aliases: dict[str, CheckpointInfo] = {}
_SUFFIXES = [".ckpt", ".safetensors"] + ([".gguf"] if FORGE else [])


class CheckpointInfo:
    def __init__(self, filename: str) -> None:
        self.filename = filename
        absolute = os.path.abspath(filename)
        name = os.path.basename(filename)
        for folder in (shared.cmd_opts.ckpt_dir, model_path):
            if folder and absolute.startswith(os.path.abspath(folder)):
                name = absolute.replace(os.path.abspath(folder), "").lstrip("\\/")
                break
        self.name = name
        self.name_for_extra = os.path.splitext(os.path.basename(filename))[0]
        self.model_name = os.path.splitext(name.replace("/", "_").replace("\\", "_"))[0]
        self.metadata: dict[str, str] = {}
        self.hash = model_hash(filename)
        self.sha256 = hashes.sha256_from_cache(filename, f"checkpoint/{name}")
        self.shorthash = self.sha256[:10] if self.sha256 else None
        self.title = f"{name} [{self.shorthash}]" if self.shorthash else name
        self.short_title = (
            f"{self.name_for_extra} [{self.shorthash}]" if self.shorthash else self.name_for_extra
        )
        self.ids = [
            self.hash,
            self.model_name,
            self.title,
            name,
            self.name_for_extra,
            f"{name} [{self.hash}]",
        ]
        if self.shorthash and self.sha256:
            self.ids += [self.shorthash, self.sha256, f"{self.name_for_extra} [{self.shorthash}]"]

    def register(self) -> None:
        checkpoints_list[self.title] = self
        for alias in self.ids:
            checkpoint_aliases[alias] = self


def model_hash(filename: str) -> str:
    with open(filename, "rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def list_models() -> None:
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    for folder in (model_path, shared.cmd_opts.ckpt_dir):
        for filename in walk_files(folder, _SUFFIXES) if folder else []:
            if not filename.lower().endswith((".vae.ckpt", ".vae.safetensors")):
                CheckpointInfo(filename).register()


def checkpoint_tiles(use_short: bool = False) -> list[str]:
    return [item.short_title if use_short else item.title for item in checkpoints_list.values()]


def get_closet_checkpoint_match(search_string: str) -> CheckpointInfo | None:
    if not search_string:
        return None
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    found = sorted(
        (info for info in checkpoints_list.values() if search_string in info.title),
        key=lambda x: len(x.title),
    )
    return found[0] if found else None
