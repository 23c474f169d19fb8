"""What the views show, as plain frozen values. Times are milliseconds since 1970 UTC, sizes bytes.

Names and paths are given as they are; the views escape them. A view needs nothing but its value: no clock,
no database, no request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from markupsafe import Markup

ModelId: TypeAlias = int | str
"""The hub's row id; in a WebUI without a hub the SHA256."""

MarkName = Literal[
    "here",  # read, and on a connected server
    "reading",  # its server is reading it now, or will soon
    "copying",  # still being written
    "probably",  # not read yet; somebody else's word says it is this model
    "changing",  # changed each time it was read
    "busy",  # another program has it open
    "removed",  # was here
    "away",  # its server is not connected
    "folder",  # its folder is not connected
    "broken",  # damaged: cut off, or no valid header
    "unreadable",  # may not be read, or the disk fails
    "set_aside",  # Forge renamed it to *.corrupted
    "rejected",  # the hub could not accept what was said about it
    "unknown",  # nobody can know before the file has been read
    "absent",  # never was here
]


@dataclass(frozen=True)
class Cell:
    """What one server has of one model. ``since_ms``: removed or last heard of then. ``files`` on it."""

    mark: MarkName
    since_ms: int | None = None
    files: int = 1


@dataclass(frozen=True)
class ServerColumn:
    """One server at the head of the matrix. ``since_ms``: last heard of then, when it is not connected."""

    server_id: str
    alias: str
    connected: bool = True
    since_ms: int | None = None


@dataclass(frozen=True)
class ModelRow:
    """One line of the matrix: a model, with ``cells`` in the columns' order. ``on``: how many servers have
    it, whether they are connected now or not. ``name_twice``: another model of its kind has the same name."""

    model_id: ModelId
    name: str
    kind: str
    cells: tuple[Cell, ...]
    base_model: str | None = None
    size: int | None = None
    short_hash: str | None = None
    on: int = 0
    name_twice: bool = False


@dataclass(frozen=True)
class FileRow:
    """A file that is no model yet: to be read, broken, set aside. ``probably``: what a note says it is."""

    server_id: str
    server: str
    root_id: str
    folder: str
    path: str
    kind: str
    mark: MarkName
    size: int | None = None
    reason: str = ""
    probably: str = ""
    probably_id: ModelId | None = None


@dataclass(frozen=True)
class FileList:
    """``rows`` out of ``total``; ``more`` is the state filter that shows them all."""

    rows: tuple[FileRow, ...] = ()
    total: int = 0
    more: str = ""


@dataclass(frozen=True)
class Filters:
    """What the person chose; empty strings choose everything. ``page`` counts from 1."""

    search: str = ""
    kind: str = ""
    base_model: str = ""
    server: str = ""
    state: str = ""
    sort: str = ""
    page: int = 1


@dataclass(frozen=True)
class Choice:
    """One entry of a filter: the value in the address, and the word on screen."""

    value: str
    label: str


@dataclass(frozen=True)
class ModelsPage:
    """``rows`` of one page out of ``total``; ``everything`` counts models and files without filters, ``gone``
    the models that these filters choose and no server has any more.

    ``troubled`` files need their owner, ``unread`` ones only time. With a state filter that chooses files,
    ``rows`` is empty and ``total`` counts those.
    """

    servers: tuple[ServerColumn, ...]
    rows: tuple[ModelRow, ...]
    total: int
    everything: int
    troubled: FileList = FileList()
    unread: FileList = FileList()
    filters: Filters = Filters()
    page_size: int = 50
    base_models: tuple[str, ...] = ()
    error: Problem | None = None
    gone: int = 0


@dataclass(frozen=True)
class Problem:
    """Something that went wrong: what, and what to do about it."""

    message: str
    remedy: str = ""


@dataclass(frozen=True)
class DigestLine:
    """One digest and who computed or stated it ("computed on attic")."""

    label: str
    value: str
    source: str


@dataclass(frozen=True)
class Place:
    """One file of a model on one server. ``path`` is below the folder called ``folder``."""

    server: str
    folder: str
    path: str
    mark: MarkName
    size: int | None = None
    since_ms: int | None = None


@dataclass(frozen=True)
class Duplicate:
    """More than one file of the same content on one server: ``wasted`` bytes could be freed there."""

    server: str
    files: int
    wasted: int


@dataclass(frozen=True)
class OtherModel:
    """Another content under the same name."""

    model_id: ModelId | None
    name: str
    short_hash: str
    size: int | None
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Contradiction:
    """Somebody else's word about the files of a model that their bytes contradict. ``says``: who."""

    says: str
    digest: str
    claimed: str
    computed: str


@dataclass(frozen=True)
class HistoryLine:
    """One thing that happened, as a sentence."""

    at_ms: int
    text: str
    server: str = ""


@dataclass(frozen=True)
class ModelDetails:
    """Everything known of one model."""

    model_id: ModelId
    name: str
    kind: str
    digests: tuple[DigestLine, ...]
    places: tuple[Place, ...]
    size: int | None = None
    base_model: str | None = None
    aliases: tuple[str, ...] = ()
    missing_on: tuple[str, ...] = ()
    servers_total: int = 0
    metadata: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    same_name: tuple[OtherModel, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    history: tuple[HistoryLine, ...] = ()
    is_lead: bool = False
    unloadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Progress:
    """What a server is doing. Bytes and files of the current round; ``eta_s`` None when unknown."""

    phase: Literal["idle", "scanning", "hashing", "paused"] = "idle"
    files_done: int = 0
    files_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    eta_s: int | None = None


@dataclass(frozen=True)
class Folder:
    """One model folder of a server. ``since_ms``: since when it has this health."""

    root_id: str
    label: str
    kind: str
    health: Literal["healthy", "suspect", "unreachable"]
    files: int = 0
    since_ms: int | None = None
    rejected: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What the WebUI of a server can do. ``webui`` and ``gpu`` are half sentences ("Forge 2.0", "RTX 4090
    24 GB"), ``lists`` labels with the names under each."""

    webui: str
    gpu: str = ""
    works_for_others: Literal["never", "idle", "always"] = "never"
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class ServerCard:
    """One server: contact, work, folders and problems. ``asked`` are orders it has not taken yet.
    ``no_agent``: what to do where StableQueue is not installed yet.

    ``capabilities`` is None where no WebUI ever said what it can do.
    """

    server_id: str
    alias: str
    connected: bool
    last_contact_ms: int | None = None
    joined_ms: int | None = None
    last_sync_ms: int | None = None
    version: str = ""
    progress: Progress | None = None
    models: int = 0
    waiting: int = 0
    folders: tuple[Folder, ...] = ()
    problems: FileList = FileList()
    frozen: str = ""
    asked: tuple[str, ...] = ()
    capabilities: Capabilities | None = None
    no_agent: str = ""


@dataclass(frozen=True)
class ServersPage:
    """``may_change``: whoever looks may also give orders, rename and forget."""

    servers: tuple[ServerCard, ...]
    may_change: bool = True
    error: Problem | None = None


@dataclass(frozen=True)
class KeyLine:
    """One key; never its secret. ``server``: whose own key it is."""

    key_id: str
    name: str
    scope: str
    created_ms: int
    server: str = ""
    last_used_ms: int | None = None
    expires_ms: int | None = None
    revoked_ms: int | None = None
    expired: bool = False


@dataclass(frozen=True)
class KeysPage:
    keys: tuple[KeyLine, ...]


@dataclass(frozen=True)
class NewKey:
    """A key just made. ``secret`` is shown this once."""

    key_id: str
    scope: str
    name: str
    secret: str


@dataclass(frozen=True)
class CommandLine:
    """A command to copy, where it is typed ("Linux", "Windows (PowerShell)"), and what installs it there."""

    label: str
    install: str
    text: str


@dataclass(frozen=True)
class JoinPage:
    """ "Add another computer". ``reachable``: the hub listens beyond this computer, at ``addresses``."""

    reachable: bool
    addresses: tuple[str, ...] = ()
    port: int = 8383
    error: Problem | None = None


@dataclass(frozen=True)
class JoinLine:
    """What joins one more computer: a line to run there, or ``paste``, the text for its WebUI's field "Join
    my other computers". The code in both works once, until ``expires_ms``."""

    commands: tuple[CommandLine, ...]
    expires_ms: int
    paste: str
    port: int = 8383


@dataclass(frozen=True)
class FirstLine:
    """The one line that answers "all right?". ``problem`` is the most important one; ``needs`` counts all.
    ``running`` and ``queued`` count jobs, ``queue_needs`` those of who looks that wait for a person.

    ``action`` is the address (a query such as ``?view=servers``) that leads to the problem.
    """

    models: int = 0
    reading: int = 0
    eta_s: int | None = None
    servers: int = 0
    connected: int = 0
    hub: Literal["connected", "away", "none"] = "connected"
    hub_since_ms: int | None = None
    needs: int = 0
    problem: str = ""
    action: str = ""
    action_label: str = ""
    running: int = 0
    queued: int = 0
    queue_needs: int = 0
    queue_paused: bool = False


@dataclass(frozen=True)
class Notice:
    """The answer to something the person just pressed."""

    text: str
    ok: bool = True
    remedy: str = ""


@dataclass(frozen=True)
class LoginForm:
    """The form for a one-time code or an admin key. ``error``: why the last try failed. ``base``: as in
    ``Shell``."""

    error: Problem | None = None
    sample: bool = False
    base: str = "."


@dataclass(frozen=True)
class Shell:
    """The page around a view. ``fragment`` and ``first_line`` are HTML that a view made.

    ``base`` is where /views and /static hang; "." is beside the page itself, whatever path it has.
    """

    title: str
    view: str
    first_line: Markup
    fragment: Markup
    sample: bool = False
    base: str = "."
    version: str = ""
    nav: tuple[str, ...] = ("models", "queue", "servers", "transfers", "join", "keys")
