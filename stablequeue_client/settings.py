"""Every setting once: its name, default, flag, environment name and TOML key. Pure: mappings in, values out.

The command line comes before the environment (``STABLEQUEUE_<NAME>``), that before
``stablequeue.toml`` (``<name>``), that before the default. In the environment folders stand with the
system's path separator (``:`` or ``;``) between them and names with commas; in TOML both are lists.
``@FILE`` as a secret's value means the first line of that file; the caller passes what reads it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from stablequeue_client.shared.errors import UsageError
from stablequeue_client.shared.model_files.model_file import Kind

ENVIRONMENT_PREFIX = "STABLEQUEUE_"
CONFIG_NAME = "stablequeue.toml"
DEFAULT_PORT = 8383
DEFAULT_HOST = "127.0.0.1"

OptionType = Literal["text", "number", "flag", "folders", "names"]


class UnknownSettingError(UsageError):
    """A setting of that name does not exist."""

    code = "unknown_setting"


class InvalidSettingError(UsageError):
    """A setting's value is not of the form it must have."""

    code = "invalid_setting"


@dataclass(frozen=True)
class Option:
    """How a field of ``Settings`` is set. ``commands`` names the commands that take it; "webui" is the
    extension in a WebUI, which has no command line."""

    name: str
    type: OptionType
    default: Any
    help: str
    commands: frozenset[str]
    metavar: str
    secret: bool
    choices: tuple[str, ...]
    bare: str | None
    """The value of the flag when it stands without one (``--host``); None: a value is required."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


READING = "up agent scan"
HUB_CLIENTS = "status where servers jobs submit queue explain copy transfers"
IN_A_WEBUI = "webui"
"""No command: set for the extension in a WebUI, by its options, the environment or stablequeue.toml."""
EVERY = (
    "up hub agent scan sync status where servers keys put-back pause resume jobs submit queue explain copy "
    "transfers"
)


def option(
    help: str,  # noqa: A002 - the word argparse uses
    commands: str,
    *,
    type: OptionType = "text",  # noqa: A002 - likewise
    default: Any = None,
    metavar: str = "",
    secret: bool = False,
    choices: tuple[str, ...] = (),
    bare: str | None = None,
) -> Any:
    """A dataclass field that carries its own description."""
    about = {
        "help": help,
        "type": type,
        "commands": frozenset(commands.split()),
        "metavar": metavar,
        "secret": secret,
        "choices": choices,
        "bare": bare,
    }
    return field(default=default, metadata=about)


def folders(what: str) -> Any:
    """A field for the folders of one kind of model."""
    return option(what, READING, type="folders", default=(), metavar="DIR")


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. ``OPTIONS`` is made from these fields."""

    data: str | None = option(
        "Folder for StableQueue's own data (default: this user's data folder)", EVERY, metavar="DIR"
    )
    json: bool = option("Print JSON instead of text", EVERY, type="flag", default=False)

    webui: tuple[str, ...] = option(
        "Folder of a WebUI; its model folders are found", READING, type="folders", default=(), metavar="DIR"
    )
    checkpoints: tuple[str, ...] = folders(
        "Folder with checkpoints (may be repeated, like all folder options)"
    )
    loras: tuple[str, ...] = folders("Folder with LoRAs")
    vae: tuple[str, ...] = folders("Folder with VAEs")
    text_encoders: tuple[str, ...] = folders("Folder with text encoders")
    embeddings: tuple[str, ...] = folders("Folder with embeddings")
    network_rate: int = option(
        "Read network folders at no more than this many MB/s",
        READING,
        type="number",
        default=30,
        metavar="MB",
    )
    digests: str | None = option(
        "Folder of the digests that all WebUIs of this computer share (default: the data folder)",
        READING,
        metavar="DIR",
    )
    accept_removals: str | None = option(
        "Accept that files are gone from a folder whose rows are kept (its path or id)",
        "scan",
        metavar="ROOT",
    )

    hub: str | None = option(
        "Address of the hub (default: the hub of the data folder)", f"agent {HUB_CLIENTS}", metavar="URL"
    )
    key: str | None = option("Key for the hub", HUB_CLIENTS, metavar="KEY|@FILE", secret=True)
    join: str | None = option(
        "Key that lets this server join the hub", "agent", metavar="KEY|@FILE", secret=True
    )
    alias: str | None = option(
        "Your name for this server (default: the computer's name)", "up agent", metavar="NAME"
    )
    ca_file: str | None = option(
        "PEM file of the authorities to trust when the hub speaks https",
        f"agent {HUB_CLIENTS}",
        metavar="FILE",
    )
    hashing: str = option(
        "When new files are read in full",
        "up agent",
        default="now",
        metavar="WHEN",
        choices=("now", "later", "idle"),
    )
    once: bool = option("Read everything, synchronise, and exit", "agent", type="flag", default=False)
    sync: str = option(
        "When the hub is told what changed: automatically, or only when asked",
        "agent",
        default="auto",
        metavar="WHEN",
        choices=("auto", "manual"),
    )
    sync_on_start: bool = option(
        "Read the folders and tell the hub at the start", "agent", type="flag", default=True
    )
    sync_every: int = option(
        "Read local folders again after this many minutes; 0: only when they change or when asked",
        "agent",
        type="number",
        default=60,
        metavar="MINUTES",
    )
    watch: bool = option("Notice changed files as they change", "agent", type="flag", default=True)
    private: tuple[str, ...] = option(
        "Files or folders that are not read in full and never told to the hub, as a pattern such as "
        "secret/* (may be repeated)",
        "up agent",
        type="names",
        default=(),
        metavar="PATTERN",
    )
    receive: str = option(
        "Copies of models to this computer: never; ask: a person accepts each; peers: by itself, from other "
        "servers of the hub; all: from the internet too, once that exists",
        "up agent",
        default="ask",
        metavar="WHEN",
        choices=("never", "ask", "peers", "all"),
    )
    hand_out: bool = option(
        "Let other servers of the hub copy models from this computer", "up agent", type="flag", default=False
    )
    webui_cache: str | None = option(
        "Folder of a WebUI's hash cache, trusted only until the files are read", "agent", metavar="DIR"
    )

    works_for_others: str = option(
        "In a WebUI: may jobs from other servers run on it",
        IN_A_WEBUI,
        default="never",
        metavar="WHEN",
        choices=("never", "idle", "always"),
    )
    card_marks: bool = option(
        "In a WebUI: mark on the model cards how many servers have a model",
        IN_A_WEBUI,
        type="flag",
        default=True,
    )
    ask_before_generate: bool = option(
        "In a WebUI: ask before Generate when a model is missing", IN_A_WEBUI, type="flag", default=False
    )
    queue_button: str = option(
        "In a WebUI: position of the Queue button relative to Generate",
        IN_A_WEBUI,
        default="beside",
        metavar="WHERE",
        choices=("beside", "under", "hidden"),
    )
    queue_shortcut: str = option(
        "In a WebUI: keyboard shortcut of the Queue button; none: no shortcut",
        IN_A_WEBUI,
        default="Ctrl+Shift+Enter",
        metavar="KEYS",
    )

    port: int | None = option(
        f"Port of the page and the API (default: {DEFAULT_PORT}, or the one `up` used last)",
        "up hub",
        type="number",
        metavar="N",
    )
    host: str | None = option(
        f"Address to listen on (default: {DEFAULT_HOST}, or what was chosen on the page); "
        "without a value: every address",
        "up hub",
        metavar="H",
        bare="0.0.0.0",  # noqa: S104 - only when its owner says so
    )
    allowed_hosts: tuple[str, ...] = option(
        "Further name under which the hub may be called, such as hub.example or *.example (may be repeated)",
        "up hub",
        type="names",
        default=(),
        metavar="NAME",
    )
    database: str | None = option(
        "PostgreSQL instead of the SQLite file in the data folder",
        "up hub keys",
        metavar="URL|@FILE",
        secret=True,
    )
    backup_confirmed: bool = option(
        "You made a backup of the PostgreSQL database yourself, so its schema may be updated without pg_dump",
        "up hub",
        type="flag",
        default=False,
    )
    events_days: int = option(
        "Days that the hub keeps its history; 0: for ever",
        "up hub",
        type="number",
        default=365,
        metavar="N",
    )
    jobs_days: int = option(
        "Days that the hub keeps jobs that ended, with their pictures; starred ones stay; 0: for ever",
        "up hub",
        type="number",
        default=30,
        metavar="N",
    )
    pictures_gb: int = option(
        "Most GB of pictures to keep, starred ones not counted; the oldest go first; 0: no limit",
        "up hub",
        type="number",
        default=20,
        metavar="N",
    )
    legacy_open: bool = option(
        "Let ANYBODY who reaches the hub use the old `/api/v1` without a key: see all prompts and pictures, "
        "submit, cancel and delete jobs; only for old clients that cannot send one",
        "up hub",
        type="flag",
        default=False,
    )
    demo: bool = option(
        "Show a small sample library on three servers, in a data folder of its own",
        "up",
        type="flag",
        default=False,
    )
    browser: bool = option("Open the page in the browser", "up", type="flag", default=True)

    scope: str = option(
        "What the key may do",
        "keys",
        default="view",
        metavar="SCOPE",
        choices=("admin", "jobs", "view", "join"),
    )
    yes: bool = option(
        "Do not ask before the server is forgotten", "servers-forget", type="flag", default=False
    )
    legacy: bool = option(
        "Make a key and secret for clients of the old StableQueue (`mk_...`), which may submit jobs",
        "keys-create",
        type="flag",
        default=False,
    )
    name: str | None = option(
        "A note on what the key is for, or a name for the jobs", "keys submit", metavar="TEXT"
    )

    state: str | None = option(
        "Only jobs in this state",
        "jobs",
        metavar="STATE",
        choices=("pending", "processing", "completed", "failed", "cancelled"),
    )
    limit: int = option("Number of jobs to list", "jobs", type="number", default=50, metavar="N")
    target: tuple[str, ...] = option(
        "Server that may run the job, by alias or id (may be repeated; default: any)",
        "submit",
        type="names",
        default=(),
        metavar="SERVER",
    )
    count: int = option(
        "Number of jobs; they differ in their seed", "submit", type="number", default=1, metavar="N"
    )
    seed_rule: str = option(
        "Seeds of several jobs",
        "submit",
        default="increment",
        metavar="RULE",
        choices=("increment", "random", "same"),
    )
    priority: str = option("From -10 to 10; higher runs first", "submit", default="0", metavar="N")
    wait: bool = option("Wait until the jobs have ended", "submit", type="flag", default=False)
    to: str | None = option("Server to copy to, by alias or id", "copy", metavar="SERVER")
    save: str | None = option(
        "Wait, then save the pictures in this folder; none is written over", "submit", metavar="FOLDER"
    )


def _options() -> dict[str, Option]:
    return {
        item.name: Option(name=item.name, default=item.default, **item.metadata) for item in fields(Settings)
    }


OPTIONS: dict[str, Option] = _options()


def typed_folders(settings: Settings) -> tuple[tuple[Kind, str], ...]:
    """(kind, folder) of every folder that was named by its kind, as its owner wrote it."""
    kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("checkpoint", settings.checkpoints),
        ("lora", settings.loras),
        ("vae", settings.vae),
        ("text_encoder", settings.text_encoders),
        ("embedding", settings.embeddings),
    )
    return tuple((kind, path) for kind, paths in kinds for path in paths)


def resolve(
    command_line: Mapping[str, Any],
    environment: Mapping[str, str],
    toml: Mapping[str, Any],
    *,
    read_file: Callable[[str], str],
    path_separator: str,
    toml_name: str = CONFIG_NAME,
) -> Settings:
    """The settings: command line, else environment, else TOML, else default.

    ``command_line`` holds what was typed (None: not typed). Raises UnknownSettingError for a TOML key that
    is no setting, InvalidSettingError for a value of the wrong form.
    """
    for key in toml:
        if key not in OPTIONS:
            raise UnknownSettingError(f"{toml_name}: there is no setting {key!r}.", remedy=_nearest(key))
    values: dict[str, Any] = {}
    for name, opt in OPTIONS.items():
        if command_line.get(name) is not None:
            value = _typed(opt, command_line[name], opt.flag)
        elif environment.get(opt.environment):
            value = _from_environment(opt, environment[opt.environment], path_separator)
        elif name in toml:
            value = _typed(opt, toml[name], f"{toml_name}: {name}")
        else:
            continue
        values[name] = _secret(opt, value, read_file) if opt.secret else value
    return Settings(**values)


def unknown_environment(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each STABLEQUEUE_ variable that sets nothing, with the nearest name."""
    known = {opt.environment for opt in OPTIONS.values()}
    unknown = (name for name in sorted(environment) if name.startswith(ENVIRONMENT_PREFIX))
    return [
        f"The variable {name} sets nothing. {_nearest(name.removeprefix(ENVIRONMENT_PREFIX).lower())}"
        for name in unknown
        if name not in known | OTHER_VARIABLES and not name.startswith("STABLEQUEUE_TEST_")
    ]


OTHER_VARIABLES = frozenset({"STABLEQUEUE_CONFIG", "STABLEQUEUE_PARENT"})
"""Names with the prefix that are no settings: the TOML file, and what ``up`` tells its children."""


def _nearest(name: str) -> str:
    found = difflib.get_close_matches(name.replace("-", "_"), OPTIONS, n=1)
    return f"Did you mean {found[0]!r}?" if found else "docs/settings.md lists all settings."


def _from_environment(opt: Option, text: str, path_separator: str) -> Any:
    if opt.type in ("folders", "names"):
        separator = path_separator if opt.type == "folders" else ","
        return tuple(part.strip() for part in text.split(separator) if part.strip())
    if opt.type == "flag":
        value = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if text.lower() not in value:
            raise InvalidSettingError(f"{opt.environment} is {text!r}.", remedy="Give 1 or 0.")
        return value[text.lower()]
    return _typed(opt, text, opt.environment)


def _typed(opt: Option, value: Any, where: str) -> Any:
    """``value`` as the option's type, or InvalidSettingError naming ``where`` it stands."""
    if opt.type in ("folders", "names"):
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, (list, tuple)) and all(isinstance(item, str) and item for item in listed):
            return tuple(listed)
        raise InvalidSettingError(f"{where} is {value!r}.", remedy="Give one text, or a list of texts.")
    if opt.type == "flag":
        if isinstance(value, bool):
            return value
        raise InvalidSettingError(f"{where} is {value!r}.", remedy="Give true or false.")
    if opt.type == "number":
        return _number(value, where)
    if not isinstance(value, str) or (opt.choices and value not in opt.choices):
        wanted = " or ".join(opt.choices) or "a text"
        raise InvalidSettingError(f"{where} is {value!r}.", remedy=f"Give {wanted}.")
    return value


def _number(value: Any, where: str) -> int:
    try:
        number = int(value) if not isinstance(value, (bool, float)) else -1
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= 65535:
        raise InvalidSettingError(f"{where} is {value!r}.", remedy="Give a whole number from 0 to 65535.")
    return number


def _secret(opt: Option, value: str, read_file: Callable[[str], str]) -> str:
    if not value.startswith("@"):
        return value
    lines = read_file(value[1:]).splitlines()
    if not lines or not lines[0].strip():
        raise InvalidSettingError(
            f"{opt.flag}: the file {value[1:]} is empty.", remedy="Put the key into its first line."
        )
    return lines[0].strip()
