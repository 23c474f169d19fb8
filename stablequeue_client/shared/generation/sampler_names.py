"""Samplers with their schedules in one name, as WebUIs without a field for schedules have them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

AUTOMATIC = "Automatic"
PLAIN = "Uniform"
"""The schedule of a plain name ("DPM++ 2M") where names are joined."""
_AUTOMATIC = {
    "dpm++ 2m": "Karras",
    "dpm++ sde": "Karras",
    "dpm++ 2m sde": "Exponential",
    "dpm++ 2m sde heun": "Exponential",
    "dpm++ 2s a": "Karras",
    "dpm++ 3m sde": "Exponential",
    "dpm2": "Karras",
    "dpm2 a": "Karras",
}
"""What ``Automatic`` is for a sampler, of those that a plain name means something else for
(``modules/sd_samplers_kdiffusion.py`` of the hosts with schedules)."""


def joined(sampler: str, schedule: str, samplers: Iterable[str]) -> str:
    """Return which of a WebUI's ``samplers`` is that pair; "" when none is called after both."""
    meant = schedule
    if schedule.lower() == AUTOMATIC.lower():
        meant = _AUTOMATIC.get(sampler.lower(), "")
    wanted = f"{sampler} {meant}".lower()
    return next((name for name in samplers if meant and name.lower() == wanted), "")


def taken_apart(name: str, samplers: Iterable[str], schedules: Iterable[str]) -> tuple[str, str] | None:
    """Return sampler and schedule of a joined name, as the newer hosts take it apart
    (``sd_samplers.get_sampler_and_scheduler``); None for a name that is not joined of these two."""
    by_key = {sampler.lower(): sampler for sampler in samplers}
    folded = name.lower()
    if folded in by_key:
        return None
    for schedule in schedules:
        end = f" {schedule.lower()}"
        if folded.endswith(end) and folded[: -len(end)] in by_key:
            return by_key[folded[: -len(end)]], schedule
    return None


def plain_means_another(sampler: str) -> bool:
    """Return whether it means another schedule than it would where a job that names none has
    ``Automatic``."""
    return sampler.lower() in _AUTOMATIC
