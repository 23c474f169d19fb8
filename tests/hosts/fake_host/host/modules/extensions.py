"""The extensions in ``extensions/`` and the built-in ones."""

from __future__ import annotations

import os
from dataclasses import dataclass

from modules import shared
from modules.paths_internal import extensions_builtin_dir, extensions_dir

extensions: list[Extension] = []


@dataclass
class Extension:
    name: str
    path: str
    enabled: bool = True
    is_builtin: bool = False

    @property
    def canonical_name(self) -> str:
        return self.name.lower()


def active() -> list[Extension]:
    if shared.cmd_opts.disable_all_extensions or shared.opts.disable_all_extensions == "all":
        return []
    return [extension for extension in extensions if extension.enabled]


def list_extensions() -> None:
    extensions.clear()
    for folder, is_builtin in ((extensions_builtin_dir, True), (extensions_dir, False)):
        if not os.path.isdir(folder):
            continue
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                enabled = name not in shared.opts.disabled_extensions
                extensions.append(Extension(name, path, enabled, is_builtin))
