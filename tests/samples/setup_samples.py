""" "Set up" and "This hub" in every state, for tests and for looking at them."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from stablequeue_client.shared.views import values as v
from stablequeue_client.webui.views import setup_view as sv

from . import hostile_values as hostile
from . import sample_values
from .samples import Sample

_ADDRESSES = ("http://192.168.1.20:8383", "http://10.0.0.4:8383")
_WORK = sv.HubWork("Fetching sqlalchemy (4.7 MB)", 42, 100)
_OFFLINE = v.Problem(
    "The package server cannot be reached, so the hub's packages could not be fetched.",
    "Check the internet connection (or pip's proxy and index settings), then press the button again.",
)
_LOG = (
    "StableQueue hub listens on http://127.0.0.1:8383",
    "2026-11-22 20:42:51 INFO stablequeue_hub.servers Server attic joined.",
)
_CODE = "sq_" + 16 * "0" + "_" + 64 * "a"
_OWN = sv.Connection("http://127.0.0.1:8383", "studio", own=True)
_HUB = sv.HubPage(
    True,
    "http://127.0.0.1:8383",
    addresses=_ADDRESSES[:1],
    wanted=True,
    joined=True,
    data_folder="/home/me/.local/share/stablequeue",
    log=_LOG,
)


def _hostile() -> Markup:
    """Every text that comes from elsewhere, hostile."""
    parts = []
    for name in hostile.NAMES:
        problem, connection = v.Problem(name, name), sv.Connection(name, name)
        work = sv.HubWork(name, 1, 2)
        parts += [
            sv.setup(sv.SetupPage(name, connection, work, problem, works_for_others=name)),
            sv.setup(sv.SetupPage(name, None, work, problem, text=name)),
            sv.setup(sv.SetupPage(name, fixed=name)),
            sv.own_hub(
                sv.HubPage(
                    True,
                    name,
                    True,
                    (name,),
                    1,
                    work,
                    problem,
                    joined_other=name,
                    log=(name,),
                    data_folder=name,
                )
            ),
            sv.sign_in_links((f"http://127.0.0.1:1/{name}",)),
            sv.texts_to_paste((name, name), sample_values.NOW_MS),
        ]
    return Markup("").join(parts)


def _shown(view: str, page: Callable[[], Markup]) -> Sample:
    return Sample(view, page, v.FirstLine(models=596, servers=1, connected=1, hub="none"))


def _with_hub(**changes: object) -> sv.HubPage:
    return sv.HubPage(**{**_HUB.__dict__, **changes})


SETUP_SAMPLES: dict[str, Sample] = {
    "setup": _shown("setup", lambda: sv.setup(sv.SetupPage("studio"))),
    "setup-building": _shown("setup", lambda: sv.setup(sv.SetupPage("studio", work=_WORK))),
    "setup-failed": _shown("setup", lambda: sv.setup(sv.SetupPage("studio", problem=_OFFLINE))),
    "setup-hub-here": _shown("setup", lambda: sv.setup(sv.SetupPage("studio", hub_here="running"))),
    "setup-hub-stopped": _shown("setup", lambda: sv.setup(sv.SetupPage("studio", hub_here="stopped"))),
    "setup-old-address": _shown(
        "setup", lambda: sv.setup(sv.SetupPage("studio", text="http://192.168.1.9:4000"))
    ),
    "setup-fixed": _shown("setup", lambda: sv.setup(sv.SetupPage("studio", fixed="http://hub.lan:8383"))),
    "setup-own": _shown("setup", lambda: sv.setup(sv.SetupPage("studio", _OWN))),
    "setup-joined": _shown(
        "setup",
        lambda: sv.setup(
            sv.SetupPage("attic", sv.Connection(_ADDRESSES[0], "attic-2"), works_for_others="idle")
        ),
    ),
    "hub": _shown("hub", lambda: sv.own_hub(_HUB)),
    "hub-reachable": _shown(
        "hub",
        lambda: sv.own_hub(
            _with_hub(
                reachable=True, addresses=_ADDRESSES, service=True, service_note="It starts when you log in."
            )
        ),
    ),
    "hub-code": _shown(
        "hub",
        lambda: (
            sv.own_hub(_with_hub(reachable=True, addresses=_ADDRESSES))
            + sv.texts_to_paste(
                tuple(f"{a} sq_{'0' * 16}_{'a' * 64}" for a in _ADDRESSES), sample_values.NOW_MS
            )
            + sv.sign_in_links(("http://127.0.0.1:8383/login?code=abc", f"{_ADDRESSES[0]}/login?code=abc"))
        ),
    ),
    "hub-stopped": _shown("hub", lambda: sv.own_hub(_with_hub(running=False, wanted=False))),
    "hub-updating": _shown(
        "hub", lambda: sv.own_hub(_with_hub(work=sv.HubWork("Stopping the previous version of the hub", 90)))
    ),
    "hub-elsewhere": _shown("hub", lambda: sv.own_hub(_with_hub(elsewhere=True, joined=False))),
    "setup-hostile": _shown("setup", _hostile),
}
