"""What can go wrong with this computer's own hub."""

from __future__ import annotations

from stablequeue_client.shared.errors import ConflictError, StableQueueError


class OwnHubError(StableQueueError):
    """The hub of this computer could not be started."""

    code = "own_hub"


class BuildError(OwnHubError):
    """The hub's packages could not be fetched."""

    code = "own_hub_build"


class UpdateError(OwnHubError):
    """The hub could not be updated to this version; the previous one keeps running."""

    code = "own_hub_update"


class StartedElsewhereError(ConflictError):
    """The hub was started by a `stablequeue` command, not by this button."""

    code = "own_hub_started_elsewhere"
    remedy_text = "End it where it was started, with Ctrl-C or by the service that starts it."
