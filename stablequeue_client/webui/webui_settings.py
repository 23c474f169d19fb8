"""The extension's settings: environment, else stablequeue.toml, else the WebUI's options, else the default.

Pure. A value that cannot be used never stops the WebUI: a sentence says so on the tab, and the next source
that has one counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stablequeue_client.agent.agent_settings import HashingMode
from stablequeue_client.errors import StableQueueError
from stablequeue_client.model_files import Kind
from stablequeue_client.protocol import WorksForOthers
from stablequeue_client.settings import (
    CONFIG_NAME,
    OPTIONS,
    InvalidSettingError,
    UnknownSettingError,
    resolve,
    typed_folders,
)

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
    "network_rate", "works_for_others", "card_marks", "ask_before_generate", "allowed_hosts",
)  # fmt: skip
"""Settings of the house that the extension takes as they are; ``extra_folders`` is made of several."""

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
    works_for_others: WorksForOthers = "never"
    card_marks: bool = True
    ask_before_generate: bool = False
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
    path_separator: str = os.pathsep,
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
        found, value = self._outside(name)
        if found:
            self.outside.add(name)
            return value
        given = self._opts.get(name)
        if given is None or given == "":
            return None
        return self._from_option(name, given)

    def folders(self) -> tuple[tuple[Kind, str], ...]:
        """Extra folders: those named outside, else the lines of the option."""
        outside: dict[str, Any] = {}
        for name in FOLDER_WORDS:
            found, value = self._outside(name)
            if found:
                outside[name] = value
        if outside:
            self.outside.add("extra_folders")
            return typed_folders(resolve({}, {}, outside, read_file=_no_file, path_separator=os.pathsep))
        folders, mistakes = folder_lines(_text(self._opts.get("extra_folders")))
        self.mistakes += mistakes
        return folders

    def unknown(self) -> list[str]:
        """A sentence for each TOML key that is no setting."""
        return [self._unknown(key) for key in self._toml if key not in OPTIONS]

    def _unknown(self, key: str) -> str:
        try:
            self._resolved({}, {key: None})
        except UnknownSettingError as error:
            return _sentence(error)
        raise AssertionError(key)

    def _outside(self, name: str) -> tuple[bool, Any]:
        """(whether environment or TOML have a usable value, the value)."""
        opt = OPTIONS[name]
        text = self._environment.get(opt.environment)
        for environment, toml in (({opt.environment: text}, {}), ({}, {name: self._toml.get(name)})):
            if (not text and not toml) or (toml and toml[name] is None):
                continue
            try:
                return True, getattr(self._resolved({k: v for k, v in environment.items() if v}, toml), name)
            except InvalidSettingError as error:
                self.mistakes.append(_sentence(error))
        return False, None

    def _resolved(self, environment: Mapping[str, str], toml: Mapping[str, Any]) -> Any:
        return resolve(
            {}, environment, toml,
            read_file=_no_file, path_separator=self._path_separator, toml_name=self._toml_name,
        )  # fmt: skip

    def _from_option(self, name: str, given: Any) -> Any:
        """The value of a WebUI's option, whose components give texts of several lines and floats."""
        opt = OPTIONS[name]
        value = given
        if opt.type == "names":
            value = tuple(line.strip() for line in _text(given).splitlines() if line.strip()) or None
        elif opt.type == "number" and isinstance(given, float) and given.is_integer():
            value = int(given)
        elif opt.type == "text" and isinstance(given, str):
            value = given.strip() or None
        if value is None:
            return None
        try:
            return getattr(resolve({}, {}, {name: value}, read_file=_no_file, path_separator=os.pathsep,
                                   toml_name="Settings > StableQueue"), name)  # fmt: skip
        except InvalidSettingError as error:
            self.mistakes.append(_sentence(error))
            return None


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
                f"Settings > StableQueue: the extra folder {line!r} is not used. "
                f"Write each line as KIND = FOLDER; kinds are {words}."
            )
    return tuple(dict.fromkeys(folders)), mistakes


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _sentence(error: StableQueueError) -> str:
    return f"{error.message} {error.remedy}".strip()


def _no_file(path: str) -> str:
    raise AssertionError(f"No setting of the extension is a secret, yet {path!r} was to be read.")
