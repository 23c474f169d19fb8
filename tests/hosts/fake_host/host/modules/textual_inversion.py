"""Embeddings by their name (in the hosts a package; an extension never imports it)."""

from __future__ import annotations

import os

from modules.util import walk_files


class EmbeddingDatabase:
    def __init__(self) -> None:
        self.word_embeddings: dict[str, str] = {}
        self.skipped_embeddings: dict[str, str] = {}
        self.embedding_dirs: list[str] = []

    def add_embedding_dir(self, path: str) -> None:
        self.embedding_dirs.append(path)

    def load_textual_inversion_embeddings(self, force_reload: bool = False) -> None:
        self.word_embeddings.clear()
        for folder in self.embedding_dirs:
            for filename in walk_files(folder, [".pt", ".safetensors", ".bin"]):
                self.word_embeddings[os.path.splitext(os.path.basename(filename))[0]] = filename
