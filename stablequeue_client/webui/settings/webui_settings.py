"""The extension's settings: environment, else stablequeue.toml, else the WebUI's options, else the default.

Pure. A value that cannot be used never stops the WebUI: a sentence says so on the tab, and the next source
that has one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import pathsep
from typing import TYPE_CHECKING, Any

from stablequeue_client.settings import (
    CONFIG_NAME,
    OPTIONS,
    InvalidSettingError,
    Settings,
    UnknownSettingError,
    resolve,
)
from stablequeue_client.shared.errors import StableQueueError

if TYPE_CHECKING:  # this file is loaded in the WebUI's main thread: nothing heavy
    from stablequeue_client.agent.agent_settings import HashingMode
    from stablequeue_client.shared.model_files.model_file import Kind
    from stablequeue_client.shared.wire.inventory import WorksForOthers
    from stablequeue_client.shared.wire.transfers import Receive

__all__ = ["FOLDER_WORDS", "WebuiSettings", "option_key", "resolve_webui"]

FOLDER_WORDS: dict[str, Kind] = {
    "checkpoints": "checkpoint",
    "loras": "lora",
    "vae": "vae",
    "text_encoders": "text_encoder",
    "embeddings": "embedding",
}
"""How a line of "extra folders" begins, as the command line and stablequeue.toml name the folders."""

NAMES = (
    "hub", "alias", "ca_file", "sync", "sync_on_start", "sync_every", "watch", "private", "hashing",
    "network_rate", "receive", "hand_out", "works_for_others", "card_marks", "ask_before_generate",
    "queue_button", "queue_shortcut", "allowed_hosts",
)  # fmt: skip
"""Settings of the house that the extension takes as they are; ``extra_folders`` is made of several."""

EMPTY_COUNTS = frozenset({"queue_shortcut"})
"""Settings whose option shows the default: there an empty field says something."""

SETTINGS_PAGE = "Settings > StableQueue"

_DEFAULTS: dict[str, Any] = {"hashing": "idle"}
"""Where the extension differs: in a WebUI files are read while nobody works."""


@dataclass(frozen=True)
class WebuiSettings:
    """What the owner of a WebUI chose. ``private`` and ``allowed_hosts`` are patterns and names.

    ``given_outside``: the fields that the environment or stablequeue.toml fixes, so that the WebUI's options
    do not count. ``mistakes``: a sentence for each value that could not be used.
    """

    hub: str | None = None
    alias: str | None = None
    ca_file: str | None = None
    sync: str = "auto"
    sync_on_start: bool = True
    sync_every: int = 60
    """Minutes; 0: only when something changes."""
    watch: bool = True
    extra_folders: tuple[tuple[Kind, str], ...] = ()
    private: tuple[str, ...] = ()
    hashing: HashingMode = "idle"
    network_rate: int = 30
    """MB a second."""
    receive: Receive = "ask"
    hand_out: bool = False
    works_for_others: WorksForOthers = "never"
    card_marks: bool = True
    ask_before_generate: bool = False
    queue_button: str = "beside"
    queue_shortcut: str = "Ctrl+Shift+Enter"
    """Empty: none."""
    allowed_hosts: tuple[str, ...] = ()
    given_outside: frozenset[str] = frozenset()
    mistakes: tuple[str, ...] = ()


def option_key(name: str) -> str:
    """The key in the WebUI's options and config.json."""
    return f"stablequeue_{name}"


def resolve_webui(
    opts: Mapping[str, Any],
    environment: Mapping[str, str],
    toml: Mapping[str, Any],
    *,
    toml_name: str = CONFIG_NAME,
    path_separator: str = pathsep,
) -> WebuiSettings:
    """The settings. ``opts``: the WebUI's options as far as they are set, by the fields' names."""
    sources = _Sources(opts, environment, toml, toml_name, path_separator)
    values = {name: value for name in NAMES if (value := sources.value(name)) is not None}
    folders = sources.folders()
    mistakes = (*sources.unknown(), *sources.mistakes)
    return WebuiSettings(
        **{**_DEFAULTS, **values},
        extra_folders=folders,
        given_outside=frozenset(sources.outside),
        mistakes=tuple(mistakes),
    )


class _Sources:
    """Where a value may stand. Collects what was given outside, and what could not be used."""

    def __init__(
        self,
        opts: Mapping[str, Any],
        environment: Mapping[str, str],
        toml: Mapping[str, Any],
        toml_name: str,
        path_separator: str,
    ) -> None:
        self._opts, self._environment, self._toml = opts, environment, toml
        self._toml_name, self._path_separator = toml_name, path_separator
        self.outside: set[str] = set()
        self.mistakes: list[str] = []

    def value(self, name: str) -> Any:
        """The value of the first source that has a usable one, or None."""
        value = self._outside(name)
        if value is not None:
            self.outside.add(name)
            return value
        return self._usable(name, self._in_options)

    def folders(self) -> tuple[tuple[Kind, str], ...]:
        """Extra folders: those named outside, else the lines of the option."""
        named = {name: value for name in FOLDER_WORDS if (value := self._outside(name)) is not None}
        if named:
            self.outside.add("extra_folders")
            return tuple((FOLDER_WORDS[name], path) for name, paths in named.items() for path in paths)
        folders, mistakes = folder_lines(self._usable("extra_folders", self._lines) or "")
        self.mistakes += mistakes
        return folders

    def unknown(self) -> list[str]:
        """A sentence for each TOML key that is no setting."""
        sentences = []
        for key in self._toml:
            try:
                self._resolved({}, {key: None} if key not in OPTIONS else {})
            except UnknownSettingError as error:
                sentences.append(_sentence(error))
        return sentences

    def _outside(self, name: str) -> Any:
        value = self._usable(name, self._in_environment)
        return value if value is not None else self._usable(name, self._in_toml)

    def _usable(self, name: str, read: Callable[[str], Any]) -> Any:
        """Return what one source says; None when it says nothing, or nothing that can be used."""
        try:
            value = read(name)
            return _checked_address(value) if name == "hub" and value is not None else value
        except StableQueueError as error:
            self.mistakes.append(_sentence(error))
            return None

    def _in_environment(self, name: str) -> Any:
        variable = OPTIONS[name].environment
        text = self._environment.get(variable)
        return getattr(self._resolved({variable: text}, {}), name) if text else None

    def _in_toml(self, name: str) -> Any:
        given = self._toml.get(name)
        return getattr(self._resolved({}, {name: given}), name) if given is not None else None

    def _in_options(self, name: str) -> Any:
        """The value of a WebUI's option, whose components give texts of several lines, and floats."""
        kind, value = OPTIONS[name].type, self._opts.get(name)
        if kind == "names":
            value = self._lines(name).split("\n")
            value = [line.strip() for line in value if line.strip()]
        elif kind == "number" and isinstance(value, float) and value.is_integer():
            value = int(value)
        elif kind == "text" and isinstance(value, str):
            value = value.strip()
        if value == "" and name in EMPTY_COUNTS:
            return ""
        if value is None or value in ("", []):
            return None
        return getattr(self._resolved({}, {name: value}, SETTINGS_PAGE), name)

    def _lines(self, name: str) -> str:
        """A text of several lines."""
        text = self._opts.get(name) or ""
        if not isinstance(text, str):
            raise InvalidSettingError(f"{SETTINGS_PAGE}: {name} is {text!r}.", remedy="Give one a line.")
        return text

    def _resolved(self, environment: Mapping[str, str], toml: Mapping[str, Any], where: str = "") -> Settings:
        return resolve(
            {}, environment, toml,
            read_file=_no_file, path_separator=self._path_separator, toml_name=where or self._toml_name,
        )  # fmt: skip


def folder_lines(text: str) -> tuple[tuple[tuple[Kind, str], ...], list[str]]:
    """The lines ``loras = /mnt/x`` as (kind, folder), and a sentence for each that is none."""
    folders: list[tuple[Kind, str]] = []
    mistakes: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, equals, path = (part.strip() for part in line.partition("="))
        kind = FOLDER_WORDS.get(word.lower().replace(" ", "_"))
        if kind and equals and path.strip("\"'"):
            folders.append((kind, path.strip("\"'")))
        else:
            words = ", ".join(FOLDER_WORDS)
            mistakes.append(
                f"{SETTINGS_PAGE}: the extra folder {line!r} is not used. "
                f"Write each line as KIND = FOLDER; kinds are {words}."
            )
    return tuple(dict.fromkeys(folders)), mistakes


def _checked_address(text: str) -> str:
    from stablequeue_client.hub_client.connection import checked_base_url

    return checked_base_url(text)


def _sentence(error: StableQueueError) -> str:
    return f"{error.message} {error.remedy}".strip()


def _no_file(path: str) -> str:
    raise AssertionError(f"No setting of the extension is a secret, yet {path!r} was to be read.")
