"""The frame of the WebUI's tab: first line, way to the views, and the view that is shown first."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from stablequeue_client.shared.views import views

NAV: dict[str, str] = {
    "models": "Models",
    "queue": "Queue",
    "this": "This WebUI",
    "servers": "Servers",
    "hub": "This hub",
    "setup": "Set up",
}
"""View -> word of all ways; which of them are shown is said with each first line."""


@dataclass(frozen=True)
class TabShell:
    """What the tab starts with. ``token`` opens the routes below ``base`` (relative to the WebUI's address).

    ``first_line`` and ``fragment`` are HTML that a view made; ``nav`` names the ways shown (keys of ``NAV``).
    """

    token: str
    base: str
    view: str
    first_line: Markup
    fragment: Markup
    nav: tuple[str, ...]


def tab(shell: TabShell) -> Markup:
    """The whole content of the tab."""
    return views.render("tab.html", shell=shell, nav=NAV)


def coming() -> Markup:
    """Return what stands in the place of a view that is still being fetched."""
    return Markup('<p class="sq-quiet">One moment…</p>')


def refused(message: str, remedy: str) -> Markup:
    """Return what stands in the tab when its content may not be given out."""
    return views.render("tab_refused.html", message=message, remedy=remedy)
