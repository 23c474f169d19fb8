"""The host as the rest of the extension sees it. Every difference between WebUIs stands in this file.

Written against the sources of Forge (gradio 4.40, pydantic 2), Forge Classic and A1111 (gradio 3.41,
pydantic 1). Host modules are imported inside functions, at the time of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stablequeue_client.model_files import Kind
from stablequeue_client.protocol import ServerCapabilities, WorksForOthers

Family = Literal["forge", "classic", "a1111"]
SECTION = ("stablequeue", "StableQueue")
"""Our page of the host's settings."""


@dataclass(frozen=True)
class Host:
    """The WebUI this process is. Nothing is remembered: each method asks the host anew."""

    family: Family
    gradio_major: int

    @property
    def is_forge(self) -> bool:
        return self.family == "forge"

    @property
    def version(self) -> str:
        """As the host prints it. May run git: not for the main thread."""
        raise NotImplementedError

    def data_dir(self) -> str:
        """The folder of the WebUI's config.json (``--data-dir``), absolute."""
        raise NotImplementedError

    def model_folders(self) -> tuple[tuple[Kind, str], ...]:
        """(kind, absolute folder) of what this WebUI really reads; folders that do not exist are left out.

        ``--ckpt-dir``, ``--vae-dir`` and ``--text-encoder-dir`` add to the folders below ``models``,
        ``--lora-dir`` and ``--embeddings-dir`` replace theirs; ``--models-dir``, ``--model-ref`` and
        ``--data-dir`` move all of them.
        """
        raise NotImplementedError

    def hash_cache_dir(self) -> str | None:
        """The folder of the host's diskcache (sections ``hashes``, ``hashes-addnet``), None without one."""
        raise NotImplementedError

    def option(self, name: str, default: Any = None) -> Any:
        """The value of one of the host's options, ours or its own; ``default`` when there is none."""
        raise NotImplementedError

    def drop_options(self, names: Iterable[str]) -> None:
        """Remove options from memory and from config.json (only from memory when settings are frozen)."""
        raise NotImplementedError

    def options_are_readonly(self) -> bool:
        """Whether the WebUI was started with ``--freeze-settings``."""
        raise NotImplementedError

    def known_names(self, kind: Kind) -> frozenset[str]:
        """Every name that the host would accept now for this kind, exactly as it must be written.

        Checkpoints: all aliases (title, name, short hash, full SHA256...). LoRAs: file names and those
        aliases that are not shared. VAEs and text encoders: file names.
        """
        raise NotImplementedError

    def current_checkpoint(self) -> str:
        """The checkpoint chosen in the WebUI, as its option says it; empty when none is."""
        raise NotImplementedError

    def current_modules(self) -> list[str]:
        """File names of the chosen VAE and text encoders; empty when the host chooses by itself."""
        raise NotImplementedError

    def is_generating(self) -> bool:
        """Whether a job (from the page or the API) runs now."""
        raise NotImplementedError

    def capabilities(self, works_for_others: WorksForOthers) -> ServerCapabilities:
        """What this WebUI can do. Complete once its page is built; may take a second: not for the main thread."""
        raise NotImplementedError

    def extension_dirs(self) -> list[str]:
        """Folders of all enabled extensions, ours among them."""
        raise NotImplementedError

    def styles(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """(prompt, negative prompt) of the styles of these names; unknown names are left out."""
        raise NotImplementedError

    def web_addresses(self) -> list[str]:
        """The URLs under which the running WebUI says it answers (local, then shared); empty before that."""
        raise NotImplementedError

    def js(self, event_js: str) -> dict[str, str]:
        """The keyword that gives a Gradio event its JavaScript: ``button.click(..., **host.js("..."))``."""
        raise NotImplementedError

    def block_path(self, demo: Any, path: str) -> None:
        """Forbid Gradio's ``/file=`` to serve ``path`` and all below it."""
        raise NotImplementedError

    def add_option(
        self,
        name: str,
        default: Any,
        label: str,
        help: str,  # noqa: A002 - the word settings use
        *,
        component: Any = None,
        component_args: Any = None,
        section: tuple[str, str] = SECTION,
    ) -> None:
        """Add an option to the host's settings page. Call it from ``on_ui_settings``."""
        raise NotImplementedError

    def on_after_component(self, callback: Callable[..., None], name: str) -> None:
        """``callback(component, **kwargs)`` after each component of the host's page was made."""
        raise NotImplementedError

    def on_ui_tabs(self, callback: Callable[[], Sequence[tuple[Any, str, str]]], name: str) -> None:
        """``callback() -> [(Blocks, label, id)]`` while the page is built."""
        raise NotImplementedError

    def on_ui_settings(self, callback: Callable[[], None], name: str) -> None:
        """``callback()`` when options are to be added."""
        raise NotImplementedError

    def on_app_started(self, callback: Callable[[Any, Any], None], name: str) -> None:
        """``callback(demo, app)`` with each new FastAPI app; ``demo`` is None under ``--nowebui``."""
        raise NotImplementedError

    def on_script_unloaded(self, callback: Callable[[], None], name: str) -> None:
        """``callback()`` before a "Reload UI" clears all callbacks."""
        raise NotImplementedError


def detect() -> Host:
    """The host of this process."""
    raise NotImplementedError
