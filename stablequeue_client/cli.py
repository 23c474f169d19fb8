"""``stablequeue ...``: which command, with which settings; errors become a sentence and an exit code.

Exit codes: 0 ok, 1 failed, 2 usage, 3 done with problems, 4 hub unreachable, 5 refused.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import platformdirs

from stablequeue_client import __version__
from stablequeue_client.commands import (
    explaining,
    hub,
    jobs,
    local_orders,
    queries,
    scanning,
    service,
    submitting,
    transfers,
    up,
)
from stablequeue_client.commands.context import Context
from stablequeue_client.commands.terminal import say_error, warn
from stablequeue_client.settings import (
    CONFIG_NAME,
    EVERY,
    OPTIONS,
    InvalidSettingError,
    Option,
    Settings,
    resolve,
    unknown_environment,
)
from stablequeue_client.shared.errors import StableQueueError, UsageError
from stablequeue_client.terminal_text import visible

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]


@dataclass(frozen=True)
class Argument:
    """A word of a command that is no setting."""

    name: str
    help: str
    nargs: str | None = None


@dataclass(frozen=True)
class Command:
    """One command. ``name`` may be two words (``keys create``); ``examples`` lack the program's name."""

    name: str
    summary: str
    run: Callable[[Context], int]
    examples: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()

    def options(self) -> list[Option]:
        """The settings it takes, in the order of ``Settings``: its own, and those of every command."""
        names, every = {self.name.replace(" ", "-"), self.name.split(" ")[0]}, set(EVERY.split())
        return [opt for opt in OPTIONS.values() if opt.commands & names or opt.commands >= every]


COMMANDS: tuple[Command, ...] = (
    Command(
        "up",
        "Hub, page and this computer's folders in one go; --demo shows it with a sample library",
        up.run_up,
        (
            "up --demo",
            "up --webui ~/stable-diffusion-webui-forge",
            "up --checkpoints /models/sd --loras /models/lora --host",
        ),
    ),
    Command(
        "hub",
        "The hub and its page alone, without folders of this computer",
        hub.run_hub,
        (
            "hub --data /srv/stablequeue --port 8383",
            "hub --host 0.0.0.0 --database @/etc/stablequeue/database",
        ),
    ),
    Command(
        "agent",
        "Read this computer's folders and tell the hub; makes no pictures; --once ends when all is told",
        scanning.run_agent,
        ("agent --hub http://192.168.1.20:8383 --join KEY --alias forge-b --webui ~/forge", "agent --once"),
    ),
    Command(
        "scan",
        "Read folders and print what is in them, without a hub",
        scanning.run_scan,
        ("scan --checkpoints /models/sd --loras /models/lora --json", "scan --accept-removals /models/old"),
    ),
    Command(
        "sync",
        "Have the running agent read the folders and tell the hub now",
        local_orders.run_sync,
        ("sync",),
    ),
    Command(
        "status",
        "What is known here, what is being read, and whether the hub answers",
        queries.run_status,
        ("status", "status --json"),
    ),
    Command(
        "where",
        "On which servers a model is",
        queries.run_where,
        ("where 31e35c80fc", "where aquarelleXL_v30 --hub http://192.168.1.20:8383 --key @view.key --json"),
        (Argument("model", "A hash (8, 10, 12 or 64 hex digits) or a name", None),),
    ),
    Command("servers list", "The servers the hub knows", queries.run_servers, ("servers list",)),
    Command(
        "servers rename",
        "Give a server another alias",
        queries.run_rename,
        ("servers rename forge-b attic",),
        (Argument("server", "Its alias or id"), Argument("alias", "The new alias")),
    ),
    Command(
        "servers forget",
        "Remove a server and what the hub knows of its files",
        queries.run_forget,
        ("servers forget attic", "servers forget attic --yes"),
        (Argument("server", "Its alias or id"),),
    ),
    Command(
        "jobs",
        "The jobs of the hub, newest first",
        jobs.run_jobs,
        ("jobs", "jobs --state pending --limit 200", "jobs --json"),
    ),
    Command(
        "jobs show",
        "One job: what it needs, why it waits or what came of it",
        jobs.run_show,
        ("jobs show 3f9c1a2b", "jobs show 3f9c1a2b --json"),
        (Argument("job", "The job's id, or its first digits"),),
    ),
    Command(
        "jobs cancel",
        "Cancel jobs that have not ended",
        jobs.run_cancel,
        ("jobs cancel 3f9c1a2b 77de0c41",),
        (Argument("jobs", "Ids of jobs, or their first digits", "+"),),
    ),
    Command(
        "jobs delete",
        "Remove jobs with their prompts and pictures",
        jobs.run_delete,
        ("jobs delete 3f9c1a2b",),
        (Argument("jobs", "Ids of jobs, or their first digits", "+"),),
    ),
    Command(
        "jobs star",
        "Keep jobs and their pictures for ever",
        jobs.run_star,
        ("jobs star 3f9c1a2b",),
        (Argument("jobs", "Ids of jobs, or their first digits", "+"),),
    ),
    Command(
        "submit",
        "Queue what a file says: the WebUI's own JSON, a picture to make again, or a generation text",
        submitting.run_submit,
        (
            "submit cat.png --count 4 --seed-rule random --save pictures",
            "submit payload.json --target forge-a --target forge-b --wait",
            "submit - --priority 5 --name poster",
        ),
        (Argument("file", "A JSON file, a picture as a WebUI saved it, a text file; - for standard input"),),
    ),
    Command(
        "queue pause",
        "Give no more jobs to one server, or to any; running jobs finish",
        jobs.run_pause,
        ("queue pause", "queue pause forge-b"),
        (Argument("server", "Its alias or id (default: the whole queue)", "?"),),
    ),
    Command(
        "queue resume",
        "Resume the queue, or one server of it",
        jobs.run_resume,
        ("queue resume", "queue resume forge-b"),
        (Argument("server", "Its alias or id (default: the whole queue)", "?"),),
    ),
    Command(
        "copy",
        "Copy a model from a server that has it to another one",
        transfers.run_copy,
        ("copy 31e35c80fc --to forge-b", "copy aquarelleXL_v30 --to forge-b --json"),
        (Argument("model", "A hash (8, 10, 12 or 64 hex digits) or a name"),),
    ),
    Command(
        "transfers",
        "Copies between servers: how far each is, why it waits, how it ended",
        transfers.run_transfers,
        ("transfers", "transfers --json"),
    ),
    Command(
        "transfers accept",
        "Let a copy begin that waits for a person",
        transfers.run_accept,
        ("transfers accept 7",),
        (Argument("copy", "The copy's id"),),
    ),
    Command(
        "transfers cancel",
        "End a copy; what came of it is removed",
        transfers.run_cancel,
        ("transfers cancel 7",),
        (Argument("copy", "The copy's id"),),
    ),
    Command(
        "explain",
        "What a picture's generation text names, which models that is, who has them, and what is unknown",
        explaining.run_explain,
        ("explain cat.png", "explain cat.png --hub http://192.168.1.20:8383 --key @view.key --json"),
        (Argument("picture", "A picture as a WebUI saved it, or its text; - for standard input"),),
    ),
    Command(
        "keys create",
        "Make a key; it is shown once",
        hub.run_keys,
        (
            "keys create --scope view",
            "keys create --scope join --name 'the attic' --json",
            "keys create --legacy --name 'old extension'",
        ),
    ),
    Command("keys list", "The keys there are, without their secrets", hub.run_keys, ("keys list --json",)),
    Command(
        "keys revoke",
        "Revoke a key",
        hub.run_keys,
        ("keys revoke 3f9c1a",),
        (Argument("key_id", "The key's id, the part behind sq_"),),
    ),
    Command(
        "put-back",
        "Give a file that a WebUI set aside (*.corrupted) its name back, when it is whole",
        local_orders.run_put_back,
        ("put-back /models/lora/pixel_quest.safetensors.corrupted",),
        (Argument("file", "Its path, or its name where only one has it"),),
    ),
    Command(
        "pause",
        "Stop reading files for a while",
        local_orders.run_pause,
        ("pause", "pause 90"),
        (Argument("minutes", "For how long (default: 60)", "?"),),
    ),
    Command("resume", "Resume reading files now", local_orders.run_resume, ("resume",)),
    Command(
        "service install",
        "Have the hub start with the system",
        service.run_service_install,
        ("service install", "service install --data /srv/stablequeue"),
    ),
    Command(
        "service remove",
        "Stop starting the hub with the system; a hub that runs is not affected",
        service.run_service_remove,
        ("service remove",),
    ),
    Command(
        "service status",
        "Whether the hub starts with the system",
        service.run_service_status,
        ("service status --json",),
    ),
)
_GROUPS = {
    "servers": "List, rename or forget the servers of the hub",
    "queue": "Pause or resume the queue, or one server of it",
    "keys": "Create, list or revoke keys of the hub",
    "service": "Start the hub with the system, or stop doing so",
}


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, made from COMMANDS and the settings."""
    parser = argparse.ArgumentParser(
        prog="stablequeue",
        description="Which models are on which of your Stable Diffusion WebUI servers.",
        epilog="`stablequeue COMMAND --help` shows a command's options and examples. "
        "Each option can also be set as STABLEQUEUE_<OPTION> or in stablequeue.toml.",
    )
    parser.add_argument("--version", action="version", version=f"stablequeue {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, Any] = {}
    for command in COMMANDS:
        first, _, second = command.name.partition(" ")
        if second and first not in groups:
            group = commands.add_parser(first, help=_GROUPS[first], description=_GROUPS[first] + ".")
            groups[first] = group.add_subparsers(metavar="ACTION", required=True)
        added = _add_command(groups[first] if second else commands, second or first, command)
        if any(other.name.startswith(f"{command.name} ") for other in COMMANDS):
            groups[first] = added.add_subparsers(metavar="ACTION", required=False)
    return parser


def _add_command(parsers: Any, word: str, command: Command) -> argparse.ArgumentParser:
    examples = "\n".join(f"  stablequeue {example}" for example in command.examples)
    parser: argparse.ArgumentParser = parsers.add_parser(
        word,
        help=command.summary,
        description=command.summary + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command, action=word)
    for extra in command.arguments:
        parser.add_argument(extra.name, help=extra.help, nargs=extra.nargs)
    for opt in command.options():
        _add_option(parser, opt)
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"Settings file (default: {CONFIG_NAME} here or in the data folder)",
    )
    return parser


def _add_option(parser: argparse.ArgumentParser, opt: Option) -> None:
    # dest has a prefix so that a setting and a command's word may share a name (servers rename ... alias).
    # What is not typed is left out: a command within another (`jobs --json show`) would set it back.
    common: dict[str, Any] = {"dest": f"set_{opt.name}", "default": argparse.SUPPRESS}
    about = _help_text(opt)
    if opt.type == "flag":
        parser.add_argument(opt.flag, action=argparse.BooleanOptionalAction, help=about, **common)
    elif opt.type in ("folders", "names"):
        parser.add_argument(opt.flag, action="append", metavar=opt.metavar, help=about, **common)
    elif opt.bare is not None:
        parser.add_argument(opt.flag, nargs="?", const=opt.bare, metavar=opt.metavar, help=about, **common)
    else:
        parser.add_argument(opt.flag, metavar=opt.metavar, help=about, **common)


def _help_text(opt: Option) -> str:
    text = opt.help
    if opt.choices:
        text += f": {', '.join(opt.choices)}"
    if opt.default not in (None, (), False, True):
        text += f" (default: {opt.default})"
    return text.replace("%", "%%")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    parsed = build_parser().parse_args(arguments)
    as_json = bool(getattr(parsed, "set_json", None))
    try:
        context = make_context(parsed, os.environ, Path.cwd())
        as_json = context.settings.json
        for sentence in unknown_environment(os.environ):
            warn(f"stablequeue: {visible(sentence)}")
        command: Command = parsed.command
        return command.run(context)
    except StableQueueError as error:
        say_error(error, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:  # `stablequeue ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def entry_point() -> NoReturn:
    """For ``python -m stablequeue_client``."""
    sys.exit(main())


def make_context(parsed: argparse.Namespace, environment: Mapping[str, str], here: Path) -> Context:
    """Settings and data folder of this call. Raises UsageError for a file that cannot be used."""
    typed = {name: getattr(parsed, f"set_{name}", None) for name in OPTIONS}
    chosen = getattr(parsed, "config", None) or environment.get("STABLEQUEUE_CONFIG")
    if chosen:
        toml, toml_name = read_toml(Path(chosen)), chosen
    elif (here / CONFIG_NAME).is_file():
        toml, toml_name = read_toml(here / CONFIG_NAME), CONFIG_NAME
    else:
        # Which data folder cannot depend on the file that lies in it.
        first = resolve(typed, environment, {}, read_file=read_secret, path_separator=os.pathsep)
        inside = data_folder(first) / CONFIG_NAME
        toml, toml_name = (read_toml(inside), str(inside)) if inside.is_file() else ({}, CONFIG_NAME)
    settings = resolve(
        typed, environment, toml, read_file=read_secret, path_separator=os.pathsep, toml_name=toml_name
    )
    return Context(settings=settings, data_dir=data_folder(settings), arguments=parsed)


def data_folder(settings: Settings) -> Path:
    """Return where StableQueue keeps its own data for these settings; absolute."""
    if settings.data:
        return Path(settings.data).expanduser().absolute()
    name = "stablequeue-demo" if settings.demo else "stablequeue"
    return Path(platformdirs.user_data_dir(name, appauthor=False))


def read_toml(path: Path) -> dict[str, Any]:
    """The settings file as a mapping. Raises UsageError naming the line that is wrong."""
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return found
    except OSError as error:
        raise UsageError(
            f"The settings file {path} cannot be read: {error.strerror}.",
            remedy="Give another one with --config, or none.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The settings file {path} is not valid TOML: {error}.", remedy="Correct that line."
        ) from error


def read_secret(path: str) -> str:
    """The content of the file that an ``@FILE`` names."""
    try:
        return Path(path).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidSettingError(
            f"The file {path} cannot be read: {cause}.", remedy="Give @FILE with a file that holds the key."
        ) from error
