"""A gate with a real index and a real hub behind it, and the WebUI's page in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.hub_reader import HubReader
from stablequeue_client.index_rows import IndexRow
from stablequeue_client.local_models import LocalModels
from stablequeue_client.model_files import Kind
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.webui.compat import Host
from stablequeue_client.webui.places import Places
from stablequeue_client.webui.runtime import Runtime
from stablequeue_client.webui.webui_settings import WebuiSettings

from ..agent.conftest import real_hub  # noqa: F401 - the fixture
from ..local.synthetic_index import FOLDERS, SyntheticIndex, root


@dataclass(frozen=True)
class QuietHost(Host):
    """A host without a process: what it knows is given. Everything else of it fails."""

    names: Mapping[Kind, Iterable[str]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    known_styles: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def known_names(self, kind: Kind) -> frozenset[str]:
        return frozenset(self.names.get(kind, ()))

    def option(self, name: str, default: Any = None) -> Any:
        return self.options.get(name, default)

    def styles(self, names: Iterable[str]) -> list[tuple[str, str]]:
        return [self.known_styles[name] for name in names if name in self.known_styles]

    def model_folders(self) -> tuple[tuple[Kind, str], ...]:
        return tuple((kind, f"/webui/{folder}") for kind, folder in FOLDERS.items())


MakeRuntime = Callable[..., Runtime]


@pytest.fixture
def make_runtime(tmp_path: Path) -> Iterator[MakeRuntime]:
    """``make_runtime(rows, settings={}, names={...}, options={...})``: a WebUI with these files."""
    opened: list[SyntheticIndex] = []
    models: list[LocalModels] = []

    def make(
        rows: Iterable[IndexRow] = (), *, settings: Mapping[str, Any] | None = None, **host: Any
    ) -> Runtime:
        index = SyntheticIndex(tmp_path)
        opened.append(index)
        index.put_roots([root(kind) for kind in FOLDERS])
        index.put(list(rows))
        models.append(LocalModels(tmp_path, pause=lambda _: None))
        models[-1].refresh()
        chosen = WebuiSettings(**(settings or {}))
        return Runtime(
            host=QuietHost(family=host.pop("family", "forge"), gradio_major=4, **host),
            places=Places(tmp_path, tmp_path, tmp_path),
            settings=lambda: chosen,
            models=models[-1],
            hub=HubReader(tmp_path),
            own_hub=OwnHub(tmp_path / "own", tmp_path, "python"),
        )

    yield make
    for reader in models:
        reader.close()
    for index in opened:
        index.close()
