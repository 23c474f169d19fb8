"""The page "StableQueue" of the WebUI's settings. No secret is an option: config.json can be downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stablequeue_client.webui.settings.webui_settings import EMPTY_COUNTS, WebuiSettings, option_key

if TYPE_CHECKING:
    from stablequeue_client.webui.host.compat import Component, Host

__all__ = ["LABELS", "OPTIONS", "WebuiOption", "add_all", "values_of"]


@dataclass(frozen=True)
class WebuiOption:
    """One field of ``WebuiSettings`` on the settings page. ``choices``: (plain words, value)."""

    name: str
    label: str
    help: str
    component: Component = "text"
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        return option_key(self.name)

    @property
    def default(self) -> Any:
        """What the host shows before anything was chosen."""
        shown = self.name in EMPTY_COUNTS or self.component not in ("text", "lines")
        return getattr(WebuiSettings(), self.name) if shown else ""


OPTIONS: tuple[WebuiOption, ...] = (
    WebuiOption(
        "hub",
        "Address of the hub",
        'Set by "Set up" on the StableQueue tab; change it here when the hub has moved. '
        "Empty: the hub that this WebUI joined, or none.",
    ),
    WebuiOption(
        "alias",
        "Name of this WebUI",
        "What the hub and your other computers call it. Empty: the computer's name. "
        "Once joined, rename it on the hub's page.",
    ),
    WebuiOption(
        "sync",
        "Tell the hub what changed",
        'Only when asked: the button "Tell the hub now" on the tab.',
        "radio",
        (("Automatically", "auto"), ("Only when asked", "manual")),
    ),
    WebuiOption(
        "sync_on_start",
        "Check the folders and tell the hub when the WebUI starts",
        "Off: they are checked at the next scheduled time, or when asked.",
        "checkbox",
    ),
    WebuiOption(
        "sync_every",
        "Check local folders again after this many minutes",
        "0: only when something changes, or when asked. Network folders are checked every 6 hours.",
        "number",
    ),
    WebuiOption(
        "watch",
        "Notice changed files as they change",
        "For local folders. Network folders report no changes, so they are checked on a schedule.",
        "checkbox",
    ),
    WebuiOption(
        "extra_folders",
        "Extra folders",
        "Folders this WebUI does not use itself, one a line: loras = /mnt/nas/loras. "
        "Kinds: checkpoints, loras, vae, text_encoders, embeddings.",
        "lines",
    ),
    WebuiOption(
        "private",
        "Private files and folders",
        "One pattern a line, such as secret/* or *_private.safetensors, or a whole folder. They stay usable "
        "here, but are not read in full and never told to the hub.",
        "lines",
    ),
    WebuiOption(
        "hashing",
        "When new files are read in full",
        "Only then is it certain which models they are. Reading never runs beside a generation.",
        "radio",
        (("While this computer is idle", "idle"), ("At once", "now"), ("Only when asked", "later")),
    ),
    WebuiOption(
        "network_rate",
        "Read network folders at no more than this many MB/s",
        "0: as fast as they go.",
        "number",
    ),
    WebuiOption(
        "receive",
        "May models be copied to this computer from your other servers?",
        "Into this WebUI's model folders, checked byte by byte. Nothing that lies there is ever replaced.",
        "radio",
        (
            ("Never", "never"),
            ("Ask each time, on the hub's page", "ask"),
            ("When a job waits for one", "peers"),
            ("From the internet too, once StableQueue can", "all"),
        ),
    ),
    WebuiOption(
        "hand_out",
        "May your other servers copy models from this computer?",
        "Only models that the hub knows; private files and folders never.",
        "checkbox",
    ),
    WebuiOption(
        "works_for_others",
        "May jobs from your other servers run on this WebUI?",
        "Jobs submitted here always may.",
        "radio",
        (("Never", "never"), ("When nobody has used it for 10 minutes", "idle"), ("Always", "always")),
    ),
    WebuiOption(
        "card_marks",
        "Mark the model cards with how many servers have a model",
        "On the checkpoint and LoRA cards of this WebUI.",
        "checkbox",
    ),
    WebuiOption(
        "ask_before_generate",
        "Ask before Generate when a model that the prompt names is missing",
        "When off, the line under the buttons still says so.",
        "checkbox",
    ),
    WebuiOption(
        "queue_button",
        "Queue button",
        "It queues what Generate would make; a server that has the models makes the picture.",
        "radio",
        (("Beside Generate", "beside"), ("Under Generate", "under"), ("Hidden", "hidden")),
    ),
    WebuiOption(
        "queue_shortcut",
        "Keyboard shortcut of the Queue button",
        "Such as Ctrl+Shift+Enter or Alt+Q. Empty: none.",
    ),
    WebuiOption(
        "allowed_hosts",
        "Further names by which this WebUI is reached",
        "One a line, such as sd.example.org. Addresses, localhost and this computer's own name always are.",
        "lines",
    ),
)
LABELS: dict[str, str] = {item.name: item.label for item in OPTIONS}


def add_all(host: Host) -> None:
    """Give the host our options, while it builds its settings page."""
    for item in OPTIONS:
        host.add_option(item.key, item.default, item.label, item.help, item.component, item.choices)


def values_of(host: Host) -> dict[str, Any]:
    """Return what is set now, by the names of ``WebuiSettings``; what the host does not have is left out."""
    values = {item.name: host.option(item.key) for item in OPTIONS}
    return {name: value for name, value in values.items() if value is not None}
