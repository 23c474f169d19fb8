"""Who this server is: ``server.json`` in its data folder, mode 0600.

    {"server_id": 32 hex digits, "secret": 64 hex digits, "alias": ..., "hub_url": ..., "hub_id": ... or null,
     "met_url": ... or empty}

The server makes id and secret itself and stores them *before* it joins, so that a join whose answer got
lost is simply repeated. Its key is ``sq_<server_id>_<secret>``. The file is replaced as a whole.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from stablequeue_client.hub_client.connection import checked_base_url
from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.errors import DataFolderError

FILE_NAME = "server.json"


class Identity(msgspec.Struct, frozen=True):
    """One server at one hub. ``hub_id`` is None until it has joined.

    ``met_url``: where its hub was met, while a setting names an address at which it was not met yet.
    """

    server_id: str
    secret: str
    alias: str
    hub_url: str
    hub_id: str | None = None
    met_url: str = ""

    @property
    def key(self) -> str:
        """What it shows to the hub."""
        return f"sq_{self.server_id}_{self.secret}"

    def __repr__(self) -> str:
        return f"Identity(server_id={self.server_id!r}, alias={self.alias!r}, hub_url={self.hub_url!r})"


def new_identity(alias: str, hub_url: str) -> Identity:
    """A server that never was, not yet joined."""
    return Identity(secrets.token_hex(16), secrets.token_hex(32), alias, checked_base_url(hub_url))


def load_identity(data_dir: Path) -> Identity | None:
    """The stored identity, or None. Raises DataFolderError when the file cannot be used."""
    path = data_dir / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as exc:
        raise DataFolderError(
            f"{path} cannot be read ({type(exc).__name__}).",
            remedy="Restore it, or delete it and join the hub again as a new server.",
        ) from None


def store_identity(data_dir: Path, identity: Identity) -> None:
    """Write ``server.json``: whole or not at all, readable by this user only."""
    try:
        write_private(data_dir / FILE_NAME, msgspec.json.encode(identity))
    except OSError as exc:
        raise DataFolderError(f"{data_dir / FILE_NAME} cannot be written ({exc.strerror}).") from None


def identity_for(data_dir: Path, hub_url: str | None, alias: str) -> Identity | None:
    """The identity for this hub: the stored one, or a new one that is stored first. None without a hub.

    An address other than the stored one is tried: whether the same hub answers there shows its id. Until
    it did, the address before it is kept, and counts again when the setting is taken back.
    """
    stored = load_identity(data_dir)
    if stored is None:
        if hub_url is None:
            return None
        stored = new_identity(alias or default_alias(), hub_url)
        store_identity(data_dir, stored)
        return stored
    met = stored.met_url or stored.hub_url
    wanted = met if hub_url is None else checked_base_url(hub_url)
    if wanted != stored.hub_url:
        unproved = stored.hub_id is not None and wanted != met
        stored = msgspec.structs.replace(stored, hub_url=wanted, met_url=met if unproved else "")
        store_identity(data_dir, stored)
    return stored


def default_alias() -> str:
    """The machine's name, for an owner who gave none."""
    import platform

    return platform.node() or "server"
