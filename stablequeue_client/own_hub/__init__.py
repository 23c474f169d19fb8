"""A hub on this computer that somebody starts by a button: its environment, its process, its removal."""

from stablequeue_client.own_hub.own_hub import OwnHub
from stablequeue_client.own_hub.status import OwnHubStatus, Phase

__all__ = ["OwnHub", "OwnHubStatus", "Phase"]
