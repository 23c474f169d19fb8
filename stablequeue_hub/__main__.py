"""``python -m stablequeue_hub hub|keys``: the hub's process, and its keys also while it runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from stablequeue_client.shared.errors import StableQueueError, UsageError
from stablequeue_client.shared.host_names import checked_names
from stablequeue_client.shared.parent_process import PARENT_VARIABLE
from stablequeue_hub.access import keys_command
from stablequeue_hub.access.keys import CREATED_SCOPES
from stablequeue_hub.process import server
from stablequeue_hub.process.parent import exit_with_parent
from stablequeue_hub.settings import DEFAULT_PORT, HubSettings

DATABASE_VARIABLE = "STABLEQUEUE_DATABASE"
HOSTS_VARIABLE = "STABLEQUEUE_ALLOWED_HOSTS"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 ok, 1 failed, 2 usage, 5 refused."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "hub":
            exit_with_parent(os.environ.get(PARENT_VARIABLE))
            return server.run_hub(_settings(options), host=options.host)
        return _print_keys(options)
    except StableQueueError as error:
        if getattr(options, "json", False):
            _print_line(json.dumps({"error": error.as_wire()}))
        _print_line(f"{error.message} {error.remedy}".strip(), sys.stderr)
        return error.exit_code


def _print_line(text: str, stream: TextIO | None = None) -> None:
    print(text, file=stream or sys.stdout)


def _settings(options: argparse.Namespace) -> HubSettings:
    further = [name.strip() for name in os.environ.get(HOSTS_VARIABLE, "").split(",")]
    return HubSettings(
        data_dir=Path(options.data),
        port=options.port,
        allowed_hosts=checked_names(name for name in [*further, *options.allowed_host] if name),
        database_url=_database_url(options.database),
        backup_confirmed=options.backup_confirmed,
        requests_per_s=options.requests_per_s,
        events_days=options.events_days,
        jobs_days=options.jobs_days,
        pictures_gb=options.pictures_gb,
        legacy_open=options.legacy_open,
    )


def _database_url(value: str | None) -> str | None:
    """``--database``, or the environment; ``@FILE`` means the first line of that file."""
    text = value or os.environ.get(DATABASE_VARIABLE) or None
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, IndexError, UnicodeDecodeError) as exc:
        raise UsageError(
            f"The file {text[1:]!r} with the database URL cannot be read ({type(exc).__name__})."
        ) from None


def _print_keys(options: argparse.Namespace) -> int:
    if not options.data and not options.database and not os.environ.get(DATABASE_VARIABLE):
        raise UsageError("Say which hub is meant.", remedy="Give --data DIR or --database URL.")
    data_dir = Path(options.data) if options.data else None
    url = _database_url(options.database)
    if options.action == "create":
        answer = (
            keys_command.create_old_pair(data_dir, url, options.name)
            if options.legacy
            else keys_command.create(data_dir, url, options.scope, options.name)
        )
    elif options.action == "list":
        answer = keys_command.list_all(data_dir, url)
    else:
        answer = keys_command.revoke(data_dir, url, options.key_id)
    _print_line(json.dumps(answer) if options.json else keys_command.as_text(answer))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stablequeue_hub", description="The StableQueue hub.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    hub = commands.add_parser("hub", help="run the hub")
    hub.add_argument("--data", required=True, metavar="DIR", help="folder for the hub's data")
    hub.add_argument("--port", type=_port, default=DEFAULT_PORT, metavar="N", help="0 takes a free one")
    hub.add_argument("--host", metavar="H", help="address to listen on, now and at later starts")
    hub.add_argument(
        "--database", metavar="URL|@FILE", help="PostgreSQL instead of SQLite in the data folder"
    )
    hub.add_argument(
        "--backup-confirmed", action="store_true", help="update a PostgreSQL schema without pg_dump"
    )
    hub.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="further name the hub is called by; *.NAME: all names below it",
    )
    hub.add_argument(
        "--events-days",
        type=_count,
        default=HubSettings.events_days,
        metavar="N",
        help="days that the history is kept; 0: for ever",
    )
    hub.add_argument(
        "--jobs-days",
        type=_count,
        default=HubSettings.jobs_days,
        metavar="N",
        help="days that ended jobs are kept, with their pictures; 0: for ever",
    )
    hub.add_argument(
        "--pictures-gb",
        type=_count,
        default=HubSettings.pictures_gb,
        metavar="N",
        help="most GB of pictures that are kept; 0: no limit",
    )
    hub.add_argument(
        "--requests-per-s",
        type=_count,
        default=HubSettings.requests_per_s,
        metavar="N",
        help="how many requests per second one key may send in the long run; 0: no limit",
    )
    hub.add_argument(
        "--legacy-open",
        action="store_true",
        help="let anybody who reaches the hub use the old /api/v1 without a key: see prompts and pictures, "
        "submit, cancel and delete jobs",
    )
    _add_keys(commands.add_parser("keys", help="create, list and revoke keys, also while the hub runs"))
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} must be an integer from 0 to 1,000,000")
    return int(text)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key and print it once")
    what = create.add_mutually_exclusive_group(required=True)
    what.add_argument("--scope", choices=CREATED_SCOPES)
    what.add_argument("--legacy", action="store_true", help="a pair for clients of the old StableQueue")
    create.add_argument("--name", default="", help="what it is for")
    listing = actions.add_parser("list", help="all keys, without their secrets")
    revoke = actions.add_parser("revoke", help="make a key worthless")
    revoke.add_argument("key_id", metavar="KEY_ID")
    for action in (create, listing, revoke):
        action.add_argument("--data", metavar="DIR", help="the hub's data folder")
        action.add_argument("--database", metavar="URL|@FILE")
        action.add_argument("--json", action="store_true")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
