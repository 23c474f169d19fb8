"""``explain``: what a picture's generation text names, what each hash means, and what nobody can tell.

From the index of this computer alone, or also from the hub, where one is known and answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from stablequeue_client.commands.context import Context, open_hub
from stablequeue_client.commands.local_orders import opened_index
from stablequeue_client.commands.picture_explanation import (
    Explained,
    KnownFile,
    NamedInPicture,
    explain,
    named_in,
    open_questions,
)
from stablequeue_client.commands.submitting import read_bytes, what_to_make
from stablequeue_client.commands.terminal import say, say_json, say_table, warn
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Json
from stablequeue_client.index.rows import IndexRow
from stablequeue_client.shared.errors import ForbiddenError, HubUnreachableError, NotFoundError, UsageError
from stablequeue_client.shared.generation.infotext import Infotext, left_out, parse_infotext
from stablequeue_client.shared.generation.requirements import EmbeddingNames
from stablequeue_client.shared.model_files.model_file import Kind, webui_name
from stablequeue_client.shared.model_files.roles import KINDS_OF
from stablequeue_client.shared.wire.inventory import native_path
from stablequeue_client.terminal_text import visible

HERE = "this computer"
NOWHERE = "known to the hub, on no server"
_AWAY = {
    "unavailable": " (removed)",
    "unreachable": " (switched off, or its folder is not connected)",
    "unhashed": " (not read yet)",
}


class HubFindings(NamedTuple):
    """What a hub says. ``check`` None: the key may not ask where the picture could be made again."""

    url: str
    check: Json | None
    files: dict[NamedInPicture, list[KnownFile]]


def run_explain(context: Context) -> int:
    """Exit code 3 when the hub that was asked for does not answer."""
    made = what_to_make(read_bytes(context.arguments.picture))
    if "infotext" not in made:
        raise UsageError(
            "This is a job, neither a picture nor a generation text.",
            remedy="Give a picture that a WebUI saved.",
        )
    text = parse_infotext(made["infotext"])
    rows = _local_rows(context)
    hub, trouble = _ask_hub(context, text, made["infotext"], rows)
    named = _named(text, rows, hub)
    known = _local_files(rows)
    explained = [
        explain(one, [*_of_its_kinds(one, known), *(hub.files.get(one, ()) if hub else ())]) for one in named
    ]
    if context.settings.json:
        say_json(_as_json(text, explained, hub, trouble))
    else:
        _say(explained, left_out(text), hub, trouble)
    return 3 if trouble and context.settings.hub else 0


# --- this computer ----------------------------------------------------------------------------------------


def _local_rows(context: Context) -> list[IndexRow]:
    """All files of this computer's index; none without one."""
    try:
        with opened_index(context) as index:
            return index.rows()
    except NotFoundError:
        return []


def _local_files(rows: Iterable[IndexRow]) -> list[KnownFile]:
    found = []
    for row in rows:
        path = native_path(row.path)
        sha256 = row.sha256 if row.state == "ready" else None
        digests = row.digests
        where = f"{HERE}: {path}"
        found.append(KnownFile(row.kind, path, where, sha256, digests.autov1, digests.autov3))
    return found


def _of_its_kinds(named: NamedInPicture, files: Iterable[KnownFile]) -> list[KnownFile]:
    return [file for file in files if file.kind in KINDS_OF[named.role]]


def _embeddings(rows: Iterable[IndexRow]) -> list[str]:
    return [webui_name("embedding", row.path) for row in rows if row.kind == "embedding"]


def _named(text: Infotext, rows: Sequence[IndexRow], hub: HubFindings | None) -> list[NamedInPicture]:
    """Embeddings are told from other words by the names that are known here, and those that the hub found."""
    if hub is not None:
        return list(hub.files)
    return named_in(text, EmbeddingNames(_embeddings(rows)))


# --- the hub ----------------------------------------------------------------------------------------------


def _ask_hub(
    context: Context, text: Infotext, raw: str, rows: Sequence[IndexRow]
) -> tuple[HubFindings | None, str]:
    """The hub's answer, or why there is none ("": no hub is known, and none was asked for)."""
    try:
        hub = open_hub(context)
        return _from_hub(hub, text, raw, _embeddings(rows)), ""
    except UsageError as error:
        return None, str(error) if context.settings.hub else ""
    except HubUnreachableError as error:
        return None, str(error)


def _from_hub(hub: HubApi, text: Infotext, raw: str, embeddings: Sequence[str]) -> HubFindings:
    try:
        check: Json | None = hub.check_job({"infotext": raw})
    except ForbiddenError:
        check = None
    said = [] if check is None else check["requirements"]
    names = [*embeddings, *(str(one["name"]) for one in said if one.get("role") == "embedding")]
    named = named_in(text, EmbeddingNames(names))
    return HubFindings(hub.base_url, check, _files_on_servers(hub, named))


def _files_on_servers(hub: HubApi, named: Sequence[NamedInPicture]) -> dict[NamedInPicture, list[KnownFile]]:
    """Return what the registry finds by each hash, and by each name."""
    hashes = [one for one in named if _is_looked_up(one)]
    by_name: list[tuple[NamedInPicture, Kind]] = [
        (one, kind) for one in named if not one.filled_in for kind in KINDS_OF[one.role]
    ]
    wanted = [(kind, one.name) for one, kind in by_name]
    answer = hub.availability_many([one.hash or "" for one in hashes], wanted)
    found: dict[NamedInPicture, list[KnownFile]] = {one: [] for one in named}
    asked = [*((one, one.hash) for one in hashes), *((one, None) for one, _ in by_name)]
    for (one, found_by), result in zip(asked, answer["results"], strict=True):
        for match in result["matches"]:
            if match["type"] in KINDS_OF[one.role]:
                found[one] += _files_of(match, found_by)
    return {one: list(dict.fromkeys(files)) for one, files in found.items()}


def _is_looked_up(named: NamedInPicture) -> bool:
    return named.hash is not None and named.dialect != "file_name" and not named.filled_in


def _files_of(match: Json, found_by: str | None) -> Iterable[KnownFile]:
    """A model's files on all servers; short hashes of other kinds are those by which it was found."""
    sha256 = match.get("hash_sha256")
    short: dict[str, str] = {}
    if found_by is not None and len(found_by) in (8, 12):
        short["autov1" if len(found_by) == 8 else "autov3"] = found_by
    servers = [entry for entry in match.get("servers") or [] if entry["availability"] != "unknown"]
    for entry in servers:
        away = _AWAY.get(entry["availability"], "")
        paths = [str(file["path"]) for file in entry.get("files") or []] or [str(match["name"])]
        for path in paths:
            where = f"{entry['alias']}{away}: {path}"
            yield KnownFile(match["type"], path, where, sha256, **short)
    if not servers:
        yield KnownFile(match["type"], str(match["name"]), NOWHERE, sha256, **short)


# --- saying it --------------------------------------------------------------------------------------------


def _as_json(
    text: Infotext, explained: Sequence[Explained], hub: HubFindings | None, trouble: str
) -> dict[str, Any]:
    return {
        "prompt": text.prompt,
        "negative_prompt": text.negative_prompt,
        "settings": text.settings,
        "models": [
            {
                "role": one.named.role,
                "name": one.named.name,
                "hash": one.named.hash,
                "dialect": one.named.dialect,
                "in_prompt_or_settings": one.named.mentioned,
                "verdict": one.verdict,
                "sha256": sorted({file.sha256 for file in one.files if file.sha256}),
                "where": list(one.where),
            }
            for one in explained
        ],
        "cannot_tell": open_questions(explained),
        "left_out": left_out(text),
        "hub": hub.url if hub else None,
        "hub_trouble": trouble or None,
        "servers": hub.check["servers"] if hub and hub.check else None,
    }


def _say(
    explained: Sequence[Explained], untold: Sequence[str], hub: HubFindings | None, trouble: str
) -> None:
    if trouble:
        warn(f"{visible(trouble)} Only this computer is looked at.")
    rows = [
        (
            one.named.role.replace("_", " "),
            one.named.name,
            one.named.hash or "",
            one.sentence,
            "; ".join(one.where[:3]) + (f" and {len(one.where) - 3} more" if len(one.where) > 3 else ""),
        )
        for one in explained
    ]
    if rows:
        say_table(("names", "as written", "hash", "what it is", "where"), rows)
    for sentence in open_questions(explained):
        say(visible(sentence))
    if untold:
        say(visible(f"A job made of it would not take over: {'; '.join(untold)}."))
    if hub is not None and hub.check is not None:
        _say_servers(hub.check["servers"])


def _say_servers(servers: Sequence[Json]) -> None:
    """Say who could make the picture again, and why others could not."""
    able = [visible(str(server["alias"])) for server in servers if server["ok"]]
    say(f"Could be made again on: {', '.join(able) or 'no server now'}.")
    for server in servers:
        if not server["ok"]:
            reasons = " ".join(str(reason["text"]) for reason in server["reasons"])
            say(f"  {visible(str(server['alias']))}: {visible(reasons)}")
