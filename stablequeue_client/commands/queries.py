"""``status``, ``where`` and ``servers``: look, and keep the list of servers tidy."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import Any

import msgspec

from stablequeue_client.commands.context import Context, hub_address, open_hub
from stablequeue_client.commands.inventory_report import inventory_report, state_text, summary
from stablequeue_client.commands.local_orders import agent_runs, opened_index
from stablequeue_client.commands.terminal import say, say_json, say_table, size_text, warn
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Json
from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.hub_client.refused_here import refused_results, refused_submissions
from stablequeue_client.index.agent_report import AgentReport
from stablequeue_client.shared.errors import (
    ForbiddenError,
    NotFoundError,
    StableQueueError,
    UsageError,
    exit_code_of,
)
from stablequeue_client.shared.model_files.model_file import HASH_LENGTHS, normalize_hash
from stablequeue_client.shared.model_files.nearest_names import NearestNames
from stablequeue_client.shared.views.values import ModelsPage
from stablequeue_client.shared.wire.inventory import Activity
from stablequeue_client.terminal_text import visible

_AVAILABILITY_WORDS = {
    "available": "there",
    "unhashed": "probably there, not read yet",
    "unavailable": "removed",
    "unreachable": "switched off, or its folder is not connected",
    "unknown": "not known",
}
_SUGGESTED = 3
_BEGINNING = 3
"""Letters of a mistyped name that are taken as right."""
_WAITING_WORDS = {
    "later": "only when asked (`stablequeue resume`)",
    "idle": "while this computer is idle, which it is not now",
    "generating": "waits for the WebUI to finish its pictures",
}


def run_where(context: Context) -> int:
    """On which servers a model is; exit code 1 when nothing of that name or hash is known."""
    hub = open_hub(context)
    answer = hub.availability(context.arguments.model)
    if context.settings.json:
        say_json(answer)
    else:
        _say_where(answer)
        if not answer.get("matches"):
            _say_what_may_be_meant(hub, context.arguments.model)
    return 0 if answer.get("matches") else 1


def _say_where(answer: Json) -> None:
    matches = answer.get("matches") or []
    if not matches:
        say(f"No model {visible(str(answer.get('query')))} is known.")
    if answer.get("ambiguous"):
        say(f"{len(matches)} different models fit:")
    for match in matches:
        size = size_text(match["size"]) if isinstance(match.get("size"), int) else ""
        about = (
            str(match.get("name")),
            match.get("hash_autov2") or "not read yet",
            match.get("base_model"),
            size,
        )
        say("  ".join(visible(str(part)) for part in about if part))
        say_table(("server", "state", "files"), [_where_row(row) for row in match.get("servers") or []])


def _say_what_may_be_meant(hub: HubApi, wanted: str) -> None:
    digits = normalize_hash(wanted)
    if digits is not None and len(digits) >= HASH_LENGTHS[0] and len(digits) not in HASH_LENGTHS:
        lengths = ", ".join(map(str, HASH_LENGTHS[:-1]))
        say(f"A hash counts with {lengths} or {HASH_LENGTHS[-1]} digits; this has {len(digits)}.")
    names = _names_like(hub, wanted)
    if names:
        say(f"Did you mean {', '.join(visible(name) for name in names)}?")


def _names_like(hub: HubApi, wanted: str) -> tuple[str, ...]:
    """Names of models that contain the text, else those most like it among those that begin alike."""
    for text, take in ((wanted, None), (wanted[:_BEGINNING], wanted)):
        try:
            view = hub.view("models", query={"search": text})
        except (ForbiddenError, NotFoundError):  # a key or a hub without that view
            return ()
        names = list(dict.fromkeys(row.name for row in view.rows)) if isinstance(view, ModelsPage) else []
        found = tuple(names[:_SUGGESTED]) if take is None else NearestNames(names).nearest(take, _SUGGESTED)
        if found:
            return found
    return ()


def _where_row(row: Json) -> tuple[str, str, str]:
    state = _AVAILABILITY_WORDS.get(str(row.get("availability")), "?")
    if row.get("last_seen") and row.get("availability") != "available":
        state += f", last seen {row['last_seen']} UTC"
    return str(row.get("alias")), state, ", ".join(str(file.get("path")) for file in row.get("files") or [])


def run_servers(context: Context) -> int:
    """The servers the hub knows."""
    servers = open_hub(context).servers()
    if context.settings.json:
        say_json(servers)
        return 0
    say_table(
        ("alias", "state", "last contact", "files", "id"),
        [
            (
                str(row.get("alias")),
                _presence(row),
                moment(row.get("last_contact_ms")),
                str(sum((row.get("files") or {}).values())),
                str(row.get("server_id")),
            )
            for row in servers
        ],
    )
    return 0


def _presence(row: dict[str, object]) -> str:
    if row.get("frozen"):
        return "stopped: two copies run with its identity"
    return "there" if row.get("reachable") else "not heard of"


def moment(at_ms: object) -> str:
    """A time of the hub as people here write it."""
    if not isinstance(at_ms, int):
        return "never"
    return datetime.fromtimestamp(at_ms / 1000, tz=timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def run_rename(context: Context) -> int:
    """Give a server another alias."""
    hub = open_hub(context)
    server = server_called(hub, context.arguments.server)
    answer = hub.rename_server(server["server_id"], context.arguments.alias)
    _done(context, answer, f"{visible(server['alias'])} is now called {visible(context.arguments.alias)}.")
    return 0


def run_forget(context: Context) -> int:
    """Remove a server from the hub; its own files and data stay as they are."""
    hub = open_hub(context)
    server = server_called(hub, context.arguments.server)
    if not context.settings.yes and not _agrees(str(server["alias"])):
        say("Nothing was forgotten.")
        return 1
    hub.forget_server(server["server_id"])
    _done(context, {"forgotten": server["server_id"]}, f"{visible(server['alias'])} is forgotten.")
    return 0


def _agrees(alias: str) -> bool:
    """Ask the person at the terminal. Raises UsageError where there is none."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"Nobody is there to say whether {visible(alias)} is to be forgotten.", remedy="Give --yes."
        )
    warn(f"The hub forgets {visible(alias)} and what it knows of its files; it has to join again.")
    return input("Forget it? [y/N] ").strip().casefold() in ("y", "yes")


def _done(context: Context, answer: Json, sentence: str) -> None:
    if context.settings.json:
        say_json(answer)
    else:
        say(sentence)


def server_called(hub: HubApi, wanted: str) -> Json:
    """The server of that alias or id. Raises NotFoundError naming those there are."""
    servers = hub.servers()
    for server in servers:
        if wanted == server.get("server_id") or wanted.casefold() == str(server.get("alias")).casefold():
            return server
    known = ", ".join(visible(str(server.get("alias"))) for server in servers) or "none"
    raise NotFoundError(f"There is no server {wanted!r}. Known: {known}.")


def run_status(context: Context) -> int:
    """Show what this data folder knows, what its agent does, and how it stands with its hub.

    The exit code is that of the failure that keeps this computer from its hub: 4 no answer, 5 refused.
    """
    local, hub = _local_status(context), _hub_status(context)
    report = {
        "data": str(context.data_dir),
        **local,
        "hub": hub,
        "refused": {
            "jobs": refused_submissions(context.data_dir),
            "results": [
                {"job_id": one.job_id, "reason": one.reason, "folder": str(one.folder)}
                for one in refused_results(context.data_dir)
            ],
        },
    }
    if context.settings.json:
        say_json(report)
    else:
        _say_status(report)
    told = local["hub_problem"]
    return exit_code_of(hub["code"] or (told["code"] if told else "")) if hub["code"] or told else 0


def _local_status(context: Context) -> dict[str, Any]:
    try:
        with opened_index(context) as index:
            report = inventory_report(index)
            progress, told = index.read_progress(), index.agent_report()
    except NotFoundError:
        return {"running": False, "files": [], "roots": [], "activity": None, **_agents_words(None)}
    running = agent_runs(context)
    activity = _activity_fields(progress if running else None)
    return {"running": running, **report, "activity": activity, **_agents_words(told if running else None)}


def _agents_words(told: AgentReport | None) -> dict[str, Any]:
    """What the running agent says of itself: why it is kept from its hub, and why it does not read."""
    problem = told.hub_problem if told else None
    return {
        "hub_problem": msgspec.to_builtins(problem) if problem else None,
        "waits_for": told.waits_for if told else "",
        "paused_until_ms": told.paused_until_ms if told else 0,
    }


def _activity_fields(activity: Activity | None) -> dict[str, Any] | None:
    if activity is None:
        return None
    return {name: getattr(activity, name) for name in activity.__struct_fields__}


def _hub_status(context: Context) -> dict[str, Any]:
    """``{url, answers, message, code}``; the message is the failure, in words."""
    try:
        url = hub_address(context)
    except UsageError:
        return {"url": None, "answers": False, "message": "no hub is known", "code": None}
    identity = load_identity(context.data_dir)
    server = {"alias": identity.alias, "server_id": identity.server_id} if identity else None
    try:
        health = HubApi(url, ca_file=context.settings.ca_file).health()
    except StableQueueError as error:
        return {"url": url, "answers": False, "message": str(error), "code": error.code, "server": server}
    found = {"url": url, "answers": True, "message": None, "code": None}
    return {**found, "hub_id": health.hub_id, "server": server}


def _say_status(report: dict[str, Any]) -> None:
    say(f"Data folder: {visible(report['data'])}")
    say(f"Files: {summary(report['files'])}")
    for file in report["files"]:
        if file["state"] not in ("ready", "unhashed"):
            say(f"  {visible(file['path'])}: {visible(state_text(file['state'], file.get('reason')))}")
    for root in report["roots"]:
        if root["health"] != "healthy":
            say(f"  Folder {visible(root['root'])}: not connected or emptied; what was known of it is kept.")
    say(f"Reading: {_activity_text(report)}")
    hub, told = report["hub"], report["hub_problem"]
    if hub["answers"] and told:
        since = moment(told["since_ms"])
        say(f"Hub: answers at {visible(hub['url'])}, but takes nothing from here since {since}.")
        say(f"  {visible(told['message'])} {visible(told['remedy'])}".rstrip())
    elif hub["answers"]:
        say(f"Hub: connected, {visible(hub['url'])}")
    else:
        say(f"Hub: {visible(hub['message'])}")
    for reason in report["refused"]["jobs"]:
        say(f"A job queued here was refused: {visible(reason)}")
    for one in report["refused"]["results"]:
        say(f"Pictures of a finished job were refused: {visible(one['reason'])} They lie in {one['folder']}.")


def _waiting_text(report: dict[str, Any]) -> str:
    if report["paused_until_ms"]:
        return f"paused until {moment(report['paused_until_ms'])} (`stablequeue resume` ends that)"
    return _WAITING_WORDS.get(report["waits_for"], "paused")


def _activity_text(report: dict[str, Any]) -> str:
    if not report["running"]:
        return "nothing runs here"
    activity = report["activity"]
    if report["waits_for"] and activity is not None and activity["phase"] != "scanning":
        left = activity["files_total"] - activity["files_done"]
        return f"{_waiting_text(report)}, {left} files left"
    if activity is None or activity["phase"] == "idle":
        return "everything that can be read has been read"
    left = activity["files_total"] - activity["files_done"]
    words = {"scanning": "looking through the folders", "paused": f"paused, {left} files left"}
    minutes = f", about {max(1, round(activity['eta_s'] / 60))} min" if activity["eta_s"] else ""
    return words.get(activity["phase"], f"{left} files left{minutes}")
