"""A gate with a real index and a real hub behind it, and the WebUI's page in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from stablequeue_client.hub_client.view_cache import HubViewCache
from stablequeue_client.index.rows import IndexRow, RootRow
from stablequeue_client.index.snapshot import IndexReader
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.host.extension_folders import ExtensionFolders
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.prompt_line.card_marks import CardMarkCache
from stablequeue_client.webui.prompt_line.check import PromptCheck
from stablequeue_client.webui.settings.webui_settings import WebuiSettings

from ..agent.conftest import real_hub  # noqa: F401 - the fixture
from ..hosts.running_host import FakeHost, StartHost
from ..local.synthetic_index import FOLDERS, SyntheticIndex, root
from ..samples.hostile_values import NAMES
from ..webui_tab.conftest import (  # noqa: F401 - fixtures
    OpenHost,
    browser,
    family,
    open_host,
    serving,
    start_host,
    wait_for_models,
)


@dataclass(frozen=True)
class QuietHost(Host):
    """A host without a process: what it knows is given. Everything else of it fails."""

    names: Mapping[Kind, Iterable[str]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    more_folders: tuple[tuple[Kind, str], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    known_styles: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def known_names(self, kind: Kind) -> frozenset[str]:
        return frozenset(self.names.get(kind, ()))

    def listed_file(self, kind: Kind, name: str) -> str | None:
        return str(self.files[name]) if name in self.files else None

    def option(self, name: str, default: Any = None) -> Any:
        return self.options.get(name, default)

    def current_checkpoint(self) -> str:
        return str(self.option("sd_model_checkpoint") or "")

    def styles(self, names: Iterable[str]) -> list[tuple[str, str]]:
        return [self.known_styles[name] for name in names if name in self.known_styles]

    def model_folders(self) -> tuple[tuple[Kind, str], ...]:
        return *((kind, f"/webui/{folder}") for kind, folder in FOLDERS.items()), *self.more_folders


MakeRuntime = Callable[..., Runtime]


@pytest.fixture
def make_runtime(tmp_path: Path) -> Iterator[MakeRuntime]:
    """``make_runtime(rows, settings={}, names={...}, options={...})``: a WebUI with these files."""
    opened: list[SyntheticIndex] = []
    models: list[IndexReader] = []

    def make(
        rows: Iterable[IndexRow] = (),
        *,
        settings: Mapping[str, Any] | None = None,
        roots: Iterable[RootRow] = (),
        **host: Any,
    ) -> Runtime:
        index = SyntheticIndex(tmp_path)
        opened.append(index)
        index.put_roots(list(roots) or [root(kind) for kind in FOLDERS])
        index.put(list(rows))
        models.append(IndexReader(tmp_path, pause=lambda _: None))
        models[-1].refresh()
        chosen = WebuiSettings(**(settings or {}))
        rt = Runtime(
            host=QuietHost(family=host.pop("family", "forge"), gradio_major=4, **host),
            places=ExtensionFolders(tmp_path, tmp_path, tmp_path),
            settings=lambda: chosen,
            models=models[-1],
            hub=HubViewCache(tmp_path),
            own_hub=OwnHub(tmp_path / "own", tmp_path, "python"),
        )
        rt.prompt_check, rt.card_marks = PromptCheck(rt), CardMarkCache(rt)
        return rt

    yield make
    for reader in models:
        reader.close()
    for index in opened:
        index.close()


# --- the WebUI's page ---------------------------------------------------------------------------------------

SETTINGS = {"STABLEQUEUE_HASHING": "now", "STABLEQUEUE_ASK_BEFORE_GENERATE": "yes"}
LORAS: dict[str, dict[str, str]] = {
    "detail_tweaker": {"ss_base_model_version": "sd_v1"},
    "sub/twin": {"ss_training_comment": "one"},
    "other/twin": {"ss_training_comment": "two"},
}


def write_model(path: Path, metadata: Mapping[str, str], *, cut: int = 0) -> None:
    """A small model file; ``cut``: bytes missing at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = path.stem.encode("utf-8", "surrogateescape") * 200
    tensor = {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}
    header = json.dumps({"__metadata__": dict(metadata), "w": tensor}).encode()
    header += b" " * (-len(header) % 8)
    data = len(header).to_bytes(8, "little") + header + payload
    path.write_bytes(data[: len(data) - cut])


def hostile_files() -> list[str]:
    """Hostile names that a file on this machine can have."""
    return [name for name in NAMES if "/" not in name and "\x00" not in name and len(name.encode()) < 200]


@pytest.fixture(scope="module")
def host(family: str, start_host: StartHost, tmp_path_factory: pytest.TempPathFactory) -> FakeHost:  # noqa: F811
    """One fake host per family, with models, some of them in trouble, all read."""
    data = tmp_path_factory.mktemp(f"gate-{family}") / "webui"
    models = data / "models"
    write_model(models / "Stable-diffusion" / "alpha.safetensors", {})
    for name, metadata in LORAS.items():
        write_model(models / "Lora" / f"{name}.safetensors", metadata)
    write_model(models / "Lora" / "damaged.safetensors", {}, cut=500)
    for name in hostile_files():
        write_model(models / "Lora" / "hostile" / f"{name}.safetensors", {"ss_training_comment": name})
    made = start_host(family, data, *serving(data), environment=SETTINGS)
    wait_for_models(made, 1 + len(LORAS) + len(hostile_files()))
    return made


@pytest.fixture
def page(host: FakeHost, open_host: OpenHost) -> Page:  # noqa: F811
    """txt2img, with the line's first answer there."""
    opened = open_host(host).page
    expect(opened.locator("#sq_gate_line_txt2img")).to_contain_text("here", timeout=20_000)
    return opened
