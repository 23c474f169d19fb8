"""What the environment and stablequeue.toml say of this computer's hub, as its own process is told it. Pure.

Only what differs from the default is said, because the hub may be of an earlier version.
"""

from __future__ import annotations

from stablequeue_client.settings import OPTIONS, Settings

_VALUES = ("host", "events_days", "jobs_days", "pictures_gb")
_SWITCHES = ("backup_confirmed", "legacy_open")


def hub_flags(settings: Settings) -> list[str]:
    """The words that are no secret."""
    values = [(name, getattr(settings, name)) for name in _VALUES]
    said = [f"{OPTIONS[name].flag}={value}" for name, value in values if value != OPTIONS[name].default]
    return said + [OPTIONS[name].flag for name in _SWITCHES if getattr(settings, name)]


def hub_variables(settings: Settings) -> dict[str, str]:
    """Return what belongs into the environment of the hub."""
    said = {"database": settings.database, "allowed_hosts": ",".join(settings.allowed_hosts)}
    return {OPTIONS[name].environment: value for name, value in said.items() if value}
