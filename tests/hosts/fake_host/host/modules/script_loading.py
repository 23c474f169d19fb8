"""Scripts are executed as modules that never enter ``sys.modules``."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType
from typing import Any


def load_module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def preload_extensions(folder: str, parser: Any) -> None:
    if not os.path.isdir(folder):
        return
    for name in sorted(os.listdir(folder)):
        script = os.path.join(folder, name, "preload.py")
        if os.path.isfile(script):
            module = load_module(script)
            if hasattr(module, "preload"):
                module.preload(parser)
