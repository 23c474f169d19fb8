"""``copy`` and ``transfers``: have a model copied to a server, and see how copies go."""

from __future__ import annotations

from stablequeue_client.commands.context import Context, open_hub
from stablequeue_client.commands.queries import server_called
from stablequeue_client.commands.terminal import say, say_json, say_table, size_text
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Json
from stablequeue_client.shared.errors import NotFoundError, UsageError
from stablequeue_client.terminal_text import visible


def run_copy(context: Context) -> int:
    """Have the model that a hash or name means copied to a server."""
    if not context.settings.to:
        raise UsageError("Where to is missing.", remedy="Name the server with --to SERVER.")
    hub = open_hub(context)
    target = server_called(hub, context.settings.to)
    made = hub.copy_model(_content(hub, context.arguments.model), str(target["server_id"]))
    if context.settings.json:
        say_json(made)
    else:
        say(f"Copy {made['id']}: {_sentence(made)}")
    return 0


def _content(hub: HubApi, model: str) -> str:
    """The full SHA256 of the one model that is meant. Raises NotFoundError, UsageError."""
    answer = hub.availability(model)
    matches = answer.get("matches") or []
    if not matches:
        raise NotFoundError(f"No model {model!r} is known.", remedy="`stablequeue where` looks for one.")
    contents = [str(match["hash_sha256"]) for match in matches if match.get("hash_sha256")]
    if len(matches) > 1:
        known = ", ".join(sha256[:10] for sha256 in contents)
        raise UsageError(
            f"{len(matches)} different models fit {model!r}.", remedy=f"Give one's hash: {known}."
        )
    if not contents:
        raise NotFoundError(
            f"No file of {model!r} was read yet.", remedy="Only models that were read in full are copied."
        )
    return contents[0]


def run_transfers(context: Context) -> int:
    """The copies under way, and the latest that ended."""
    answer = open_hub(context).transfers()
    if context.settings.json:
        say_json(answer)
        return 0
    rows = [
        (
            str(one["id"]),
            str(one["state"]),
            str(one["name"]),
            str(one.get("source") or "-"),
            str(one["target"]),
            size_text(one["size"]),
            _remark(one),
        )
        for one in answer["transfers"]
    ]
    say_table(("id", "state", "model", "from", "to", "size", ""), rows)
    return 0


def _remark(one: Json) -> str:
    if isinstance(one.get("progress"), float):
        speed = f", {size_text(one['bytes_per_s'])}/s" if one.get("bytes_per_s") else ""
        return f"{one['progress']:.0%}{speed}"
    return str(one.get("text") or "")


def _sentence(one: Json) -> str:
    name, target = visible(str(one["name"])), visible(str(one["target"]))
    source = f" from {visible(str(one['source']))}" if one.get("source") else ""
    text = f" {visible(str(one['text']))}." if one.get("text") else ""
    return f"{name}{source} to {target}, {one['state']}.{text}"


def run_cancel(context: Context) -> int:
    """End a copy; what came of it is removed."""
    return _act(context, "cancel")


def run_accept(context: Context) -> int:
    """Let a copy begin that waits for a person."""
    return _act(context, "accept")


def _act(context: Context, action: str) -> int:
    made = open_hub(context).act_on_transfer(context.arguments.copy, action)
    if context.settings.json:
        say_json(made)
    else:
        say(f"Copy {made['id']}: {_sentence(made)}")
    return 0
