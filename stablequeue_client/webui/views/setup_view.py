""" "Set up" and "This hub": how a WebUI comes to a hub, and the hub of this computer. Values in, HTML out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views

WORKS: tuple[v.Choice, ...] = (
    v.Choice("never", "Never"),
    v.Choice("idle", "When nobody has used it for 10 minutes"),
    v.Choice("always", "Always"),
)
"""Answers to "May this WebUI work for others?"; the first is what stands there unasked."""
REMOVE_WORD = "remove"
"""What is typed before everything of a hub is deleted."""


@dataclass(frozen=True)
class HubWork:
    """What is being done about the hub of this computer: a sentence, and ``done`` of ``total``."""

    step: str
    done: int = 0
    total: int = 100


@dataclass(frozen=True)
class Connection:
    """The hub this WebUI has joined. ``own``: it is the hub of this computer."""

    url: str
    alias: str
    own: bool = False


@dataclass(frozen=True)
class SetupPage:
    """``alias``: how this WebUI will be called. ``text``: what the field holds already.

    ``fixed``: the hub's address as the environment or stablequeue.toml gives it, which leaves nothing to
    press. ``works_fixed``: likewise, what it says about working for others. ``alias_fixed``: the alias.
    """

    alias: str
    connection: Connection | None = None
    work: HubWork | None = None
    problem: v.Problem | None = None
    hub_here: Literal["none", "stopped", "running"] = "none"
    text: str = ""
    fixed: str = ""
    works_for_others: str = "never"
    works_fixed: bool = False
    alias_fixed: bool = False


@dataclass(frozen=True)
class HubPage:
    """The hub of this computer. ``addresses``: under which others reach it, or would if it were reachable.

    ``service``: whether it starts with the system, with ``service_note`` on what that means.
    ``elsewhere``: a `stablequeue` command started it and ends it. ``joined``: this WebUI belongs to it.
    ``down``: a sentence without a full stop while it is to run and died.
    """

    running: bool
    url: str = ""
    reachable: bool = False
    addresses: tuple[str, ...] = ()
    port: int = 8383
    work: HubWork | None = None
    problem: v.Problem | None = None
    wanted: bool = False
    service: bool = False
    service_note: str = ""
    elsewhere: bool = False
    joined: bool = False
    joined_other: str = ""
    data_folder: str = ""
    down: str = ""
    log: tuple[str, ...] = ()


def setup(page: SetupPage) -> Markup:
    """ "Set up": two ways to a hub, the way it takes now, or what was reached."""
    return views.render("setup.html", page=page, works=WORKS)


def own_hub(page: HubPage) -> Markup:
    """ "This hub"."""
    return views.render("own_hub.html", page=page, word=REMOVE_WORD)


def sign_in_links(links: tuple[str, ...]) -> Markup:
    """Links that open the hub's page signed in: the first for a browser on this computer."""
    return views.render("sign_in_links.html", links=links)


def texts_to_paste(texts: tuple[str, ...], expires_ms: int | None) -> Markup:
    """Return what joins one more WebUI when it is pasted there; one text for each address of this
    computer."""
    return views.render("texts_to_paste.html", texts=texts, expires_ms=expires_ms)
