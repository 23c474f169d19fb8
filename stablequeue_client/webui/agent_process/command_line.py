"""How the agent of this WebUI is started: which words, which environment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import devnull, pathsep
from pathlib import Path

from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.webui.host.extension_folders import ExtensionFolders
from stablequeue_client.webui.settings.webui_settings import WebuiSettings

FOLDER_FLAGS: dict[Kind, str] = {
    "checkpoint": "--checkpoints",
    "lora": "--loras",
    "vae": "--vae",
    "text_encoder": "--text-encoders",
    "embedding": "--embeddings",
}

Folders = Sequence[tuple[Kind, str]]


def agent_words(
    settings: WebuiSettings, folders: Folders, places: ExtensionFolders, *, python: str, cache_dir: str | None
) -> list[str]:
    """The agent's command line. All it needs stands here, so no settings file is read, and no secret."""
    words = [python, "-m", "stablequeue_client", "agent", f"--config={devnull}"]
    words += [f"--data={places.server_dir}", f"--digests={places.machine_dir}"]
    words += [f"{FOLDER_FLAGS[kind]}={path}" for kind, path in (*folders, *settings.extra_folders)]
    words += [f"--hashing={settings.hashing}", f"--network-rate={settings.network_rate}"]
    words += [f"--sync={settings.sync}", f"--sync-every={settings.sync_every}"]
    words += ["--sync-on-start" if settings.sync_on_start else "--no-sync-on-start"]
    words += ["--watch" if settings.watch else "--no-watch"]
    words += [f"--receive={settings.receive}", "--hand-out" if settings.hand_out else "--no-hand-out"]
    words += [f"--private={pattern}" for pattern in settings.private]
    named = {
        "hub": settings.hub,
        "alias": settings.alias,
        "ca-file": settings.ca_file,
        "webui-cache": cache_dir,
    }
    return words + [f"--{name}={value}" for name, value in named.items() if value]


def agent_environment(
    environment: Mapping[str, str], places: ExtensionFolders, *, parent: str, join: str | None
) -> dict[str, str]:
    """The WebUI's environment without our settings. The key to join with, if there is one, stands here."""
    kept = {name: value for name, value in environment.items() if not name.startswith("STABLEQUEUE_")}
    paths = [str(places.extension_dir), *filter(None, [kept.get("PYTHONPATH")])]
    ours = {
        "PYTHONPATH": pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "STABLEQUEUE_PARENT": f"{parent}:webui",
        **({"STABLEQUEUE_JOIN": join} if join else {}),
    }
    return {**kept, **ours}


def log_file(places: ExtensionFolders) -> Path:
    return places.server_dir / "agent.log"
