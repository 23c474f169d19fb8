"""How a server becomes known to a hub, and how it notices that another hub answers now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from stablequeue_client import __version__
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import Identity, store_identity
from stablequeue_client.shared.errors import AuthenticationError, ConflictError, ForbiddenError, UsageError
from stablequeue_client.shared.wire import inventory

logger = logging.getLogger(__name__)


class OtherHubError(ConflictError):
    """Another hub than the one this server joined answers at this address."""

    code = "other_hub"
    remedy_text = "Give the address of the former hub, or join the new one with --join KEY."


class JoinKeyMissingError(UsageError):
    """This server has not joined the hub at the address it was given."""

    code = "not_joined"
    remedy_text = (
        "Give a key with --join KEY; `stablequeue keys create --scope join` on the hub makes one. "
        'In a WebUI: paste what the hub\'s "Add another computer" shows.'
    )


class Membership:
    """This server's place at its hub: joined or not yet. Used by one thread at a time.

    ``open_hub`` makes a client of the hub with the given key.
    """

    def __init__(
        self,
        identity: Identity,
        join_secret: str | None,
        data_dir: Path,
        open_hub: Callable[[str | None], HubApi],
    ) -> None:
        self.identity = identity
        self._join_secret = join_secret
        self._data_dir = data_dir
        self.open_hub = open_hub

    @property
    def joined(self) -> bool:
        """Whether some hub has taken this server."""
        return self.identity.hub_id is not None

    def greet(self) -> str:
        """Ask who answers, join if that is to be done; the hub's id.

        Raises UsageError when a join key is needed and none was given, OtherHubError, and what the hub says.
        """
        asking = self.open_hub(None)
        try:
            hub_id = asking.health().hub_id
        finally:
            asking.close()
        if self.identity.hub_id != hub_id:
            self._require_join_secret()
            self._join()
        elif self.identity.met_url:
            self.identity = msgspec.structs.replace(self.identity, met_url="")
            store_identity(self._data_dir, self.identity)
        return hub_id

    def renew(self) -> None:
        """At the start, where a join key was given: join again, in case the hub forgot this server.

        A key that is used up or revoked meanwhile is no failure: the server has its own.
        """
        if self._join_secret is None:
            return
        try:
            self._join()
        except (AuthenticationError, ForbiddenError):
            logger.info("The join key is not valid any more.", extra={"action": "join_key_old"})

    def _require_join_secret(self) -> None:
        if self._join_secret is not None:
            return
        if self.joined:
            raise OtherHubError(
                f"Another hub than the one this server joined answers at {self.identity.hub_url}."
            )
        raise JoinKeyMissingError(f"This server has not joined the hub at {self.identity.hub_url}.")

    def _join(self) -> None:
        identity = self.identity
        hub = self.open_hub(self._join_secret)
        try:
            answer = hub.join(
                inventory.JoinRequest(identity.server_id, identity.secret, identity.alias, __version__)
            )
        finally:
            hub.close()
        self.identity = msgspec.structs.replace(
            identity, alias=answer.alias, hub_id=answer.hub_id, met_url=""
        )
        if self.identity != identity:
            store_identity(self._data_dir, self.identity)
            logger.info(
                "Joined the hub at %s as %s.",
                identity.hub_url,
                inventory.wire_path(answer.alias),
                extra={"action": "joined"},
            )
        if answer.alias != identity.alias:
            logger.warning(
                "Another server is called %s, so this one is %s now (`servers rename` changes it).",
                inventory.wire_path(identity.alias),
                inventory.wire_path(answer.alias),
                extra={"action": "alias_taken"},
            )
