""" "This WebUI": its work, folders, problems and settings; and the tab's first line. Values in, HTML out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views

HubKind = Literal["none", "asking", "connected", "away", "refused", "old"]


@dataclass(frozen=True)
class HubLine:
    """How it stands with the hub. ``since_ms``: since when. ``problem`` unless all is well."""

    kind: HubKind = "none"
    since_ms: int | None = None
    url: str = ""
    problem: v.Problem | None = None


@dataclass(frozen=True)
class RunnerNote:
    """Something the work on jobs had to tell, when it did."""

    at_ms: int
    says: str


@dataclass(frozen=True)
class RunnerActivity:
    """The hub's jobs in this WebUI. ``working``: one runs now; ``job_name`` may be empty, ``whose`` is who
    handed it in, ``own`` that it was here. ``results``: finished ones that the hub does not have yet.
    """

    working: bool = False
    job_name: str = ""
    whose: str = ""
    own: bool = False
    since_ms: int = 0
    progress: float | None = None
    works_for_others: Literal["never", "idle", "always"] = "never"
    not_now_until_ms: int | None = None
    results: int = 0
    told: tuple[RunnerNote, ...] = ()
    can_choose: bool = True
    """False: the environment or stablequeue.toml fixes for whom it works."""


@dataclass(frozen=True)
class WebuiLine:
    """The tab's first line, from local values. ``servers`` (of the hub) is 0 when it is not known.

    ``starting``: the folders were never read yet. ``needs`` counts what needs its owner, ``problem`` is the
    most important of it, ``action`` the address that leads to it.
    """

    models: int = 0
    reading: int = 0
    eta_s: int | None = None
    waits: bool = False
    starting: bool = False
    hub: HubLine = HubLine()
    servers: int = 0
    connected: int = 0
    needs: int = 0
    problem: str = ""
    action: str = ""
    action_label: str = ""
    work: RunnerActivity = RunnerActivity()
    queue: v.FirstLine | None = None
    """What the hub last said; of it only the numbers of jobs are shown."""
    kept: int = 0
    """Jobs queued here that the hub does not have."""


@dataclass(frozen=True)
class FileNote:
    """A file about which something is to be said: ``says`` is a sentence."""

    folder: str
    path: str
    says: str


@dataclass(frozen=True)
class OutsideSetting:
    """A setting that the environment or stablequeue.toml fixes. ``note``: why it does not count now."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class AgentStatus:
    """The process that reads. ``state`` ended: it is started again; ``words``: the last it said."""

    state: Literal["starting", "running", "ended"]
    since_ms: int | None = None
    words: str = ""


@dataclass(frozen=True)
class NoteList:
    """``rows`` out of ``total``."""

    rows: tuple[FileNote, ...] = ()
    total: int = 0


@dataclass(frozen=True)
class SuspectFolder:
    """A folder in which ``missing`` files are not found, and why that is not believed."""

    folder: str
    root_id: str
    missing: int
    reason: str
    since_ms: int | None = None


@dataclass(frozen=True)
class ThisWebui:
    """Everything of this WebUI. ``waiting`` files of ``waiting_bytes`` are to be read.

    ``waits_for``: why they are not read now, until ``paused_until_ms`` for an order. The label of a folder
    is its whole path. ``disbelieved``: what others say of files; ``skipped``: what was not looked at;
    ``rejected``: what the hub could not take. ``watch_problems``: folders whose changes are not heard of.
    """

    alias: str
    reading: AgentStatus
    hub: HubLine = HubLine()
    last_sync_ms: int | None = None
    progress: v.Progress | None = None
    waiting: int = 0
    waiting_bytes: int = 0
    waits_for: Literal["", "order", "later", "idle", "generating"] = ""
    paused_until_ms: int | None = None
    folders: tuple[v.Folder, ...] = ()
    doubts: tuple[SuspectFolder, ...] = ()
    watch_problems: tuple[str, ...] = ()
    troubled: v.FileList = field(default_factory=v.FileList)
    unread: v.FileList = field(default_factory=v.FileList)
    disbelieved: NoteList = NoteList()
    skipped: NoteList = NoteList()
    rejected: NoteList = NoteList()
    private: tuple[str, ...] = ()
    problem: v.Problem | None = None
    mistakes: tuple[str, ...] = ()
    outside: tuple[OutsideSetting, ...] = ()
    old_copies: tuple[str, ...] = ()
    work: RunnerActivity = RunnerActivity()


def this_webui(value: ThisWebui) -> Markup:
    """The view."""
    return views.render("this_webui.html", this=value)


def first_line(line: WebuiLine) -> Markup:
    """The one line that answers "all right?"."""
    return views.render("webui_line.html", line=line)


def from_hub(fragment: Markup, sentence: str, url: str, known_ms: int | None) -> Markup:
    """A view of the hub's values, with the way to its page. ``known_ms``: it is silent; this is from then."""
    return views.render("webui_source.html", fragment=fragment, sentence=sentence, url=url, known_ms=known_ms)


def from_here(fragment: Markup, hub: HubLine) -> Markup:
    """A view of this WebUI's own values, with one sentence on why the others' are not there."""
    return views.render("webui_alone.html", fragment=fragment, hub=hub)


def not_yet() -> Markup:
    """Instead of a list: the folders were not looked at yet."""
    return views.render("webui_not_yet.html")
