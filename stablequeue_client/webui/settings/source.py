"""The settings of this WebUI, read anew at each call: environment, stablequeue.toml, the WebUI's options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stablequeue_client.settings import CONFIG_NAME, Settings, resolve
from stablequeue_client.shared.errors import UsageError
from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.settings import options
from stablequeue_client.webui.settings.webui_settings import WebuiSettings, resolve_webui

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]


class TomlFile:
    """A settings file that is read again when it changed. ``mistake`` says what is wrong with it.

    Where it was whole before, what it said then still counts: it names private files, and an editor may just
    be writing it. ``is_unknown``: it is there and was never whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mistake = ""
        self._was_whole = False
        self._stamp: tuple[int, int] | None = None
        self._values: dict[str, Any] = {}

    def values(self) -> dict[str, Any]:
        """Return what stands in it, or stood in it when it could last be read; empty when there is none."""
        try:
            about = self.path.stat()
        except OSError:
            self._stamp, self._values, self.mistake, self._was_whole = None, {}, "", False
            return {}
        stamp = (about.st_mtime_ns, about.st_size)
        if stamp != self._stamp:
            self._stamp = stamp
            values, self.mistake = self._read()
            if not self.mistake:
                self._values, self._was_whole = values, True
        return self._values

    @property
    def is_unknown(self) -> bool:
        return bool(self.mistake) and not self._was_whole

    def _read(self) -> tuple[dict[str, Any], str]:
        try:
            return tomllib.loads(self.path.read_text("utf-8")), ""
        except OSError as error:
            return {}, f"The settings file {self.path} cannot be read: {error.strerror}."
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            return {}, f"The settings file {self.path} is not valid TOML: {error}. Correct that line."


def settings_file(environment: Mapping[str, str], machine_dir: Path) -> Path:
    """Return where stablequeue.toml is looked for: STABLEQUEUE_CONFIG, else the data folder."""
    chosen = environment.get("STABLEQUEUE_CONFIG")
    return Path(chosen).expanduser() if chosen else machine_dir / CONFIG_NAME


def hub_settings(toml: TomlFile) -> Settings:
    """Return what the environment and the file say of this computer's hub. Raises StableQueueError: a hub
    that would start with another database than its owner named must not start."""
    values = toml.values()
    if toml.mistake:
        raise UsageError(toml.mistake)
    return resolve(
        {}, os.environ, values,
        read_file=_text_of, path_separator=os.pathsep, toml_name=str(toml.path),
    )  # fmt: skip


def _text_of(path: str) -> str:
    try:
        return Path(path).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file {path} cannot be read: {type(error).__name__}.") from None


class SettingsSource:
    """Called without arguments it gives the settings of now. Cheap: no disk but one ``stat``."""

    def __init__(self, host: Host, toml: TomlFile) -> None:
        self._host = host
        self._toml = toml

    def __call__(self) -> WebuiSettings:
        values = self._toml.values()
        found = resolve_webui(
            options.values_of(self._host), os.environ, values, toml_name=str(self._toml.path)
        )
        if self._toml.is_unknown:
            found = _careful(found)
        if self._toml.mistake:
            still = _UNKNOWN if self._toml.is_unknown else _AS_BEFORE
            found = replace(found, mistakes=(f"{self._toml.mistake} {still}", *found.mistakes))
        return found


_AS_BEFORE = "Until then its previous values apply."
_UNKNOWN = (
    "Until then no file is read in full, nothing is told to the hub automatically, no jobs from others run "
    "here and no models are copied: it may name private files."
)


def _careful(found: WebuiSettings) -> WebuiSettings:
    """While nobody knows what the owner's file says, nothing that cannot be taken back."""
    return replace(
        found, hashing="later", sync="manual", sync_on_start=False, works_for_others="never",
        receive="never", hand_out=False,
    )  # fmt: skip
