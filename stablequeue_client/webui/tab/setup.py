"""The first run in a WebUI: views and buttons of "Set up" and "This hub".

Everything here may wait (for the hub, for a process to end): call it in a worker. What takes longer goes on
in a thread of ``OwnHub`` and shows in the views. What goes wrong is raised, with its remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing, suppress

from markupsafe import Markup

from stablequeue_client.hub_client import join
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Json
from stablequeue_client.hub_client.identity import Identity, default_alias, load_identity
from stablequeue_client.own_hub import OwnHubStatus
from stablequeue_client.shared.errors import (
    ConflictError,
    DataFolderError,
    InvalidValueError,
    StableQueueError,
)
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.settings.old_extension import old_connection
from stablequeue_client.webui.settings.webui_settings import WebuiSettings, option_key
from stablequeue_client.webui.views import setup_view as sv

Form = Mapping[str, str]


# --- looking --------------------------------------------------------------------------------------------


def setup_view(rt: Runtime) -> Markup:
    """ "Set up": two ways to a hub, or what this WebUI is connected to."""
    return sv.setup(_setup_page(rt, rt.own_hub.status()))


def hub_view(rt: Runtime) -> Markup:
    """ "This hub": the hub of this computer; "Set up" as long as there is none."""
    status = rt.own_hub.status()
    if not status.has_data:
        return sv.setup(_setup_page(rt, status))
    identity, _ = _identity(rt)
    network = _network(rt) if status.phase == "running" else {}
    service = rt.own_hub.service.status()
    page = sv.HubPage(
        running=bool(status.url),
        url=status.url,
        reachable=bool(network.get("reachable")),
        addresses=_addresses(network),
        port=int(network.get("port") or 8383),
        work=_work(status),
        problem=_problem(status.error),
        wanted=status.wanted,
        service=status.service,
        service_note=service.note,
        elsewhere=status.started_elsewhere,
        joined=_belongs_to(identity, status),
        joined_other=identity.hub_url if identity and not _belongs_to(identity, status) else "",
        data_folder=str(rt.places.machine_dir),
        down=rt.own_hub.trouble().rstrip("."),
        log=status.log_tail,
    )
    return sv.own_hub(page)


def _setup_page(rt: Runtime, status: OwnHubStatus) -> sv.SetupPage:
    settings = rt.settings()
    identity, damage = _identity(rt)
    fixed = settings.hub if settings.hub and "hub" in settings.given_outside else ""
    connection = None
    if identity is not None:
        connection = sv.Connection(identity.hub_url, identity.alias, _belongs_to(identity, status))
    return sv.SetupPage(
        alias=_alias(settings),
        connection=connection,
        work=_work(status),
        problem=damage or _problem(status.error),
        hub_here="running" if status.url else "stopped" if status.has_data else "none",
        text=_prefilled(rt, settings),
        fixed=fixed,
        works_for_others=settings.works_for_others,
        works_fixed="works_for_others" in settings.given_outside,
        alias_fixed="alias" in settings.given_outside,
    )


def _identity(rt: Runtime) -> tuple[Identity | None, v.Problem | None]:
    """Return who this WebUI is at the hub it has joined; what is wrong with the file when it cannot be
    read."""
    try:
        identity = load_identity(rt.places.server_dir)
    except DataFolderError as error:
        return None, _problem(error)
    return (identity if identity and identity.hub_id else None), None


def _belongs_to(identity: Identity | None, status: OwnHubStatus) -> bool:
    """Return whether that is this computer's hub; while it is stopped its address tells."""
    if identity is None or identity.met_url:  # a setting names another address, where it was not met yet
        return False
    if status.hub_id:
        return identity.hub_id == status.hub_id
    return status.has_data and identity.hub_url.startswith(("http://127.0.0.1:", "http://localhost:"))


def _work(status: OwnHubStatus) -> sv.HubWork | None:
    return sv.HubWork(status.step, status.done, status.total) if status.step else None


def _problem(error: StableQueueError | None) -> v.Problem | None:
    return v.Problem(error.message, error.remedy) if error else None


def _alias(settings: WebuiSettings) -> str:
    return settings.alias or default_alias()


def _prefilled(rt: Runtime, settings: WebuiSettings) -> str:
    """The address in the options, else the one that the old extension had."""
    if settings.hub:
        return settings.hub
    old = old_connection(rt.places.server_dir)
    return old.url if old else ""


def _network(rt: Runtime) -> Json:
    """``{reachable, port, addresses}`` of this computer's hub; empty when it just ended."""
    try:
        with closing(rt.own_hub.api()) as api:
            return api.network()
    except StableQueueError:
        return {}


def _addresses(network: Json) -> tuple[str, ...]:
    found = network.get("addresses") or []
    shown = (f"[{address}]" if ":" in str(address) else str(address) for address in found)
    return tuple(f"http://{address}:{network.get('port')}" for address in shown)


# --- the two ways ---------------------------------------------------------------------------------------


def _use_here(rt: Runtime, form: Form) -> Markup:
    """Make and start this computer's hub, then join it; goes on in the background."""
    _require_free(rt)
    works = _works_of(rt, form)

    def connect(api: HubApi) -> None:
        code = str(api.join_code()["key"])
        join.join(rt.places.server_dir, api.base_url, code, _alias(rt.settings()))
        _after_joining(rt, works)

    rt.own_hub.start(connect)
    return _said("It is being set up. This takes about a minute.")


def _join(rt: Runtime, form: Form) -> Markup:
    """Join the hub whose address and code were pasted."""
    _require_free(rt)
    settings = rt.settings()
    works, alias = _works_of(rt, form), _alias(settings)
    url, code = join.parse_join_text(form.get("text", ""))
    identity = join.join(rt.places.server_dir, url, code, alias, ca_file=settings.ca_file)
    _after_joining(rt, works)
    if identity.alias == alias:
        return _said(f"Connected. There this WebUI is called {alias}.")
    return _said(f"Connected. Another one is called {alias} there, so this WebUI is {identity.alias}.")


def _leave(rt: Runtime, form: Form) -> Markup:
    """Forget the hub here, and where that hub is ours, have it forget us."""
    del form
    _require_free(rt)
    identity, _ = _identity(rt)
    if identity is not None and _belongs_to(identity, rt.own_hub.status()):
        try:
            with closing(rt.own_hub.api()) as api:
                api.forget_server(identity.server_id)
        except StableQueueError:  # stopped, or forgotten there already
            pass
    join.leave(rt.places.server_dir)
    _drop_hub_option(rt)
    rt.agent.restart()
    return _said("This WebUI no longer belongs to a hub.")


def _set_works(rt: Runtime, form: Form) -> Markup:
    _remember_works(rt, _works_of(rt, form))
    rt.agent.restart()
    return _said("Saved.")


def _require_free(rt: Runtime) -> None:
    """Raises ConflictError when the hub's address is fixed outside the WebUI."""
    settings = rt.settings()
    if settings.hub and "hub" in settings.given_outside:
        raise ConflictError(
            "The hub's address is given by the environment or stablequeue.toml.",
            remedy="Change it there, then start the WebUI again.",
        )


def _after_joining(rt: Runtime, works: str) -> None:
    _remember_works(rt, works)
    _drop_hub_option(rt)
    rt.agent.restart()


def _works_of(rt: Runtime, form: Form) -> str:
    """The answer to the question; "never" unless another one was chosen, or it is given outside the WebUI.

    Raises ConflictError when it cannot be kept.
    """
    settings = rt.settings()
    if "works_for_others" in settings.given_outside:
        return settings.works_for_others
    works = form.get("works_for_others") or "never"
    if works not in {choice.value for choice in sv.WORKS}:
        raise InvalidValueError(f"{works!r} is not an answer to that question.", remedy="Reload the page.")
    if works != settings.works_for_others and rt.host.options_are_readonly():
        raise ConflictError(
            "The WebUI's settings are frozen, so the answer about working for others cannot be kept.",
            remedy="Set STABLEQUEUE_WORKS_FOR_OTHERS, or start the WebUI without --freeze-settings.",
        )
    return works


def _remember_works(rt: Runtime, works: str) -> None:
    if works != rt.settings().works_for_others:
        rt.host.set_option(option_key("works_for_others"), works)


def _drop_hub_option(rt: Runtime) -> None:
    """The address in the options was of a former hub, or to be joined: what was joined counts now."""
    settings = rt.settings()
    if settings.hub and "hub" not in settings.given_outside:
        rt.host.set_option(option_key("hub"), "")


# --- this computer's hub --------------------------------------------------------------------------------


def _start(rt: Runtime, form: Form) -> Markup:
    del form
    rt.own_hub.start(lambda _hub: hub_answers(rt))
    return _said("Starting the hub.")


def hub_answers(rt: Runtime) -> None:
    """This computer's hub was started: nobody here waits out a back-off any more."""
    rt.hub.forget()
    with suppress(StableQueueError):  # no agent has run yet, so none waits
        rt.models.order("sync")


def _stop(rt: Runtime, form: Form) -> Markup:
    del form
    rt.own_hub.stop()
    return _said("The hub is stopped.")


def _service(rt: Runtime, form: Form) -> Markup:
    service = rt.own_hub.service
    if form.get("on") == "true":
        service.install(rt.own_hub.service_words())
        return _said("It starts with the system from now on.")
    service.remove()
    return _said("It does not start with the system any more.")


def _remove(rt: Runtime, form: Form) -> Markup:
    if form.get("word", "").strip().lower() != sv.REMOVE_WORD:
        raise InvalidValueError("Nothing was removed.", remedy=f"Type the word {sv.REMOVE_WORD} to confirm.")
    identity, _ = _identity(rt)
    ours = _belongs_to(identity, rt.own_hub.status())
    rt.own_hub.remove()
    if ours:
        join.leave(rt.places.server_dir)
        rt.agent.restart()
    return _said("The hub and its data are removed.")


def _open(rt: Runtime, form: Form) -> Markup:
    """Links that open its page signed in; for a browser on another computer too when it is reachable."""
    del form
    with closing(rt.own_hub.api()) as api:
        path, network = f"/login?code={api.session_code()}", api.network()
        first = (api.base_url,)
    others = _addresses(network)[:1] if network.get("reachable") else ()
    return sv.sign_in_links(tuple(address + path for address in (*first, *others)))


def _make_reachable(rt: Runtime, form: Form) -> Markup:
    reachable = form.get("reachable") == "true"
    with closing(rt.own_hub.api()) as api:
        api.set_network(reachable=reachable)
    return _said("Your network reaches the hub now." if reachable else "Only this computer reaches it now.")


def _code(rt: Runtime, form: Form) -> Markup:
    """The text to paste into another WebUI."""
    del form
    with closing(rt.own_hub.api()) as api:
        addresses = _addresses(api.network())
        if not addresses:
            raise ConflictError("This computer has no address in a network.", remedy="Connect it first.")
        code = api.join_code()
    expires = code.get("expires_ms")
    texts = tuple(f"{address} {code['key']}" for address in addresses)
    return sv.texts_to_paste(texts, expires if isinstance(expires, int) else None)


def _said(text: str) -> Markup:
    return views.notice(v.Notice(text))


ACTIONS: dict[str, Callable[[Runtime, Form], Markup]] = {
    "setup/use-here": _use_here,
    "setup/join": _join,
    "setup/leave": _leave,
    "setup/works": _set_works,
    "hub/start": _start,
    "hub/stop": _stop,
    "hub/service": _service,
    "hub/remove": _remove,
    "hub/open": _open,
    "hub/network": _make_reachable,
    "hub/code": _code,
}
"""What the buttons post to -> what is done; the answer is a fragment that says what happened."""
