"""What the views of the queue show, as plain frozen values; as in ``values``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from stablequeue_client.shared.views.values import Choice, Problem

JobState = Literal["pending", "processing", "completed", "failed", "cancelled"]
NeedMark = Literal[
    "have",  # a server that may run the job has it
    "missing",  # none of them has it
    "ambiguous",  # the name stands for several models
    "unread",  # the file has to be read first
    "away",  # in a folder that is not connected, or on a server that is switched off
    "decided",  # a person decided that it does not matter
    "unchecked",  # an extension fills the name in
    "plain",  # the job does not wait any more, so nothing is looked up
]


class NeedChip(NamedTuple):
    """A model that a job names. ``sha256`` where its content is known."""

    mark: NeedMark
    role: str
    name: str
    sha256: str = ""


class JobRow(NamedTuple):
    """One job of the queue. ``title``: its name, or how its prompt begins. ``waiting``: what it waits for, as
    a sentence; ``in_line``: nothing but its turn. ``progress``: 0 to 1 while a server works on it.

    ``targets``: aliases, empty for any server. ``picture``: it has one to show. ``may_change``: by who looks.
    """

    job_id: str
    title: str
    state: JobState
    created_ms: int
    submitted_by: str
    needs: tuple[NeedChip, ...] = ()
    waiting: str = ""
    in_line: bool = False
    progress: float | None = None
    server: str = ""
    targets: tuple[str, ...] = ()
    priority: int = 0
    starred: bool = False
    picture: bool = False
    pictures: int = 0
    outcome: str = ""
    failure: str = ""
    ended_ms: int | None = None
    may_change: bool = False
    may_retry: bool = False


@dataclass(frozen=True)
class QueueFilters:
    """What the person chose. ``state``: "" for what waits or runs, "models" for the models waited for, a
    state, or "all". ``page`` counts from 1."""

    state: str = ""
    text: str = ""
    server: str = ""
    submitter: str = ""
    starred: str = ""
    page: int = 1


@dataclass(frozen=True)
class CopySource:
    """A file to copy by hand: ``path`` is below the folder called ``folder``."""

    server: str
    connected: bool
    folder: str
    path: str
    size: int


@dataclass(frozen=True)
class CopyPlace:
    """A server that lacks a model, and its folders for such. ``could_run``: a job would go on there then."""

    server: str
    could_run: bool
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelGroup:
    """Jobs that wait for one model. ``code``: what is wrong with it; ``job_id``: one of the jobs."""

    kind: str
    name: str
    jobs: int
    code: str
    job_id: str
    sha256: str = ""
    sources: tuple[CopySource, ...] = ()
    places: tuple[CopyPlace, ...] = ()
    deadline_ms: int | None = None


class QueueServerRow(NamedTuple):
    """A server, as far as jobs are concerned. ``working_on``: the job that it has. ``idle``: why it
    makes no pictures, where nothing there asks for jobs. ``rests``: it gets none, having failed several times
    in a row."""

    server_id: str
    alias: str
    connected: bool
    paused: bool = False
    idle: str = ""
    working_on: str = ""
    job_id: str = ""
    may_change: bool = False
    rests: bool = False


@dataclass(frozen=True)
class QueuePage:
    """``rows`` of one page out of ``total``; ``counts`` of all jobs by state. With the filter "models" there
    are ``groups`` instead, out of ``groups_total``."""

    rows: tuple[JobRow, ...] = ()
    total: int = 0
    counts: tuple[tuple[str, int], ...] = ()
    filters: QueueFilters = QueueFilters()
    page_size: int = 50
    servers: tuple[QueueServerRow, ...] = ()
    submitters: tuple[Choice, ...] = ()
    groups: tuple[ModelGroup, ...] = ()
    groups_total: int = 0
    paused: bool = False
    may_pause: bool = False
    may_submit: bool = False
    error: Problem | None = None

    def count(self, *states: str) -> int:
        return sum(number for state, number in self.counts if state in states)


@dataclass(frozen=True)
class JobPicture:
    """A picture with its generation text, and the models that the text names with a hash."""

    number: int
    width: int
    height: int
    infotext: str
    recorded: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class JobModel:
    """A model of a job. ``written``: as the job names it; ``model``: the content's name in the registry;
    ``file``, ``file_server``: what was loaded in the last run; ``translated``: its name there, where it is
    another one. ``outcome`` and ``proof``: how it was confirmed, as a code and a sentence. ``decision``: what
    somebody decided, in words. ``may_decide``: it holds the job up, and who looks may say what is to be done.
    """

    place: int
    role: str
    written: str
    mark: NeedMark
    hash: str = ""
    sha256: str = ""
    model: str = ""
    file: str = ""
    file_server: str = ""
    translated: str = ""
    outcome: str = ""
    proof: str = ""
    decision: str = ""
    may_decide: bool = False


@dataclass(frozen=True)
class WhyLine:
    """One server. ``before``: jobs that come first there, when nothing speaks against it."""

    server_id: str
    server: str
    ok: bool
    reasons: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    working: bool = False
    before: int | None = None


@dataclass(frozen=True)
class TimelineEntry:
    at_ms: int
    text: str
    by: str
    reason: str = ""


@dataclass(frozen=True)
class JobFields:
    """What a job generates, as far as a form shows it; numbers as text, empty where nothing is said.

    ``others``: names of further values in it, which stay as they are.
    """

    name: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    checkpoint: str = ""
    sampler_name: str = ""
    scheduler: str = ""
    steps: str = ""
    cfg_scale: str = ""
    width: str = ""
    height: str = ""
    seed: str = ""
    priority: str = "0"
    count: str = ""
    targets: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class FormChoices:
    """What the fields of a form offer: names from servers and registry. ``forgotten``: targets of the job."""

    servers: tuple[Choice, ...] = ()
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    forgotten: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class JobDetails:
    """Everything known of one job. ``row``: as in a list."""

    row: JobRow
    fields: JobFields
    choices: FormChoices = FormChoices()
    pictures: tuple[JobPicture, ...] = ()
    models: tuple[JobModel, ...] = ()
    why: tuple[WhyLine, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    traceback: str = ""
    attempts: int = 0
    deadline_ms: int | None = None
    may_submit: bool = False
    may_accept: bool = False


@dataclass(frozen=True)
class CheckShown:
    """What a job would need and who could make it. ``helps``: sentences."""

    possible: bool
    needs: tuple[NeedChip, ...] = ()
    servers: tuple[WhyLine, ...] = ()
    helps: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewJob:
    """The form for a new job. ``from_job``: the job it starts from, ``text``: the generation text; what they
    say and the form does not show goes along. ``title``: of that job. ``left_out``: labels of the text that
    nothing here stands for, ``left_out_count`` how many there are."""

    fields: JobFields = JobFields(seed="-1", count="1")
    choices: FormChoices = FormChoices()
    from_job: str = ""
    title: str = ""
    text: str = ""
    seed_rule: Literal["increment", "random", "same"] = "increment"
    check: CheckShown | None = None
    left_out: tuple[str, ...] = ()
    left_out_count: int = 0


@dataclass(frozen=True)
class PickedModel:
    """A model of the registry to put into a job. ``insert``: what to write for it."""

    name: str
    insert: str
    base_model: str = ""
    on: int = 0
    short_hash: str = ""


@dataclass(frozen=True)
class PickList:
    """Models to choose from, out of ``total``."""

    kind: str
    models: tuple[PickedModel, ...] = ()
    total: int = 0
