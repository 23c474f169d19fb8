"""Views: functions from plain values to HTML. Everything in a value is escaped (Jinja2 autoescape),
except the ``Markup`` that another view made.

Fragments hold no script, no style and no absolute address, so they fit the hub's page and a WebUI's tab.
Links are queries (``?view=model&id=12``) that ``javascript/stablequeue_page.js`` fetches from ``/views/...``;
forms carry ``data-sq-post`` with the path below ``/views/`` to which the script posts them.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from math import ceil
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stablequeue_client.shared.views import labels
from stablequeue_client.shared.views import values as v

STATES: tuple[v.Choice, ...] = (
    v.Choice("everywhere", "On every server"),
    v.Choice("missing", "Missing somewhere"),
    v.Choice("one_only", "On one server only"),
    v.Choice("duplicates", "Twice on a server"),
    v.Choice("problem", "With contradictions"),
    v.Choice("unread", "Files not read yet"),
    v.Choice("troubled", "Files with problems"),
    v.Choice("gone", "Gone everywhere"),
)
SEVERAL_ONLY = frozenset({"everywhere", "missing", "one_only"})
"""States that say nothing while there is one server."""
FILE_STATES = frozenset({"unread", "troubled"})
"""States that choose files which are no models yet."""
SORTS: tuple[v.Choice, ...] = (
    v.Choice("", "Name"),
    v.Choice("-name", "Name, from Z"),
    v.Choice("newest", "Newest first"),
    v.Choice("oldest", "Oldest first"),
    v.Choice("-size", "Largest first"),
    v.Choice("size", "Smallest first"),
    v.Choice("servers", "On fewest first"),
    v.Choice("-servers", "On most first"),
)
NAV: dict[str, str] = {
    "models": "Models",
    "queue": "Queue",
    "servers": "Servers",
    "transfers": "Copies",
    "join": "Add another computer",
    "keys": "Keys",
}
COMPACT_FROM = 5
"""From this many servers the matrix shows shapes with a legend, without the words."""


def first_line(line: v.FirstLine) -> Markup:
    """The one line that answers "all right?"."""
    return render("first_line.html", line=line)


def models(page: v.ModelsPage) -> Markup:
    """Models x servers; with one server a list."""
    compact = len(page.servers) >= COMPACT_FROM
    shown = {cell.mark for row in page.rows for cell in row.cells}
    return render(
        "models.html",
        page=page,
        pages=max(1, ceil(page.total / page.page_size)),
        states=_states(page),
        sorts=SORTS,
        compact=compact,
        shown=[name for name in labels.MARKS if name in shown],
        aliases=[labels.visible(server.alias) for server in page.servers],
        plain_marks={name: _plain_mark(name, compact) for name in shown},
        at_page=lambda number: models_query(page.filters, page=number),
        sorted_by=lambda sort: models_query(page.filters, sort=sort, page=1),
        gone_query=models_query(page.filters, state="gone", page=1),
    )


def _states(page: v.ModelsPage) -> list[v.Choice]:
    """The states that can choose something here."""
    senseless = set() if len(page.servers) > 1 else set(SEVERAL_ONLY)
    if not page.gone and page.filters.state != "gone":
        senseless.add("gone")
    return [state for state in STATES if state.value not in senseless]


def model(details: v.ModelDetails) -> Markup:
    """Everything known of one model."""
    return render("model.html", model=details)


def servers(page: v.ServersPage) -> Markup:
    """Every server with its work, folders and problems."""
    return render("servers.html", page=page)


def keys(page: v.KeysPage) -> Markup:
    """The list of keys and the form for a new one."""
    return render("keys.html", page=page)


def new_key(key: v.NewKey) -> Markup:
    """The key just made, shown once."""
    return render("new_key.html", key=key)


def join(page: v.JoinPage) -> Markup:
    """ "Add another computer": the question, or the form for the line."""
    return render("join.html", page=page)


def join_line(line: v.JoinLine) -> Markup:
    """The line that joins one more computer."""
    return render("join_line.html", line=line)


def notice(value: v.Notice) -> Markup:
    """The answer to something the person just pressed."""
    return render("notice.html", notice=value)


def problem(value: v.Problem) -> Markup:
    """A view that could not be made: what went wrong and what to do."""
    return render("problem.html", problem=value)


def shell(value: v.Shell) -> Markup:
    """The whole page around a view."""
    return render("shell.html", shell=value, nav=NAV)


def login_page(form: v.LoginForm) -> Markup:
    """The whole page with the login form."""
    return render("login.html", form=form)


def etag(content: str | bytes) -> str:
    """A strong ETag of a fragment or a value as it is sent, quotes included."""
    data = content.encode() if isinstance(content, str) else content
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def models_query(filters: v.Filters, **changes: object) -> str:
    """The address of the models view with these filters, e.g. ``?view=models&kind=lora&page=2``."""
    chosen = {name: str(changes.get(name, getattr(filters, name))) for name in v.Filters.__dataclass_fields__}
    if chosen["page"] == "1":
        chosen["page"] = ""
    return "?" + urlencode({"view": "models", **{name: value for name, value in chosen.items() if value}})


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stablequeue_client.shared.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        MARKS=labels.MARKS,
        KINDS=labels.KINDS,
        SCOPES=labels.SCOPES,
        WORKS_FOR_OTHERS=labels.WORKS_FOR_OTHERS,
        counted=labels.counted,
    )
    environment.filters.update(
        size=labels.size_text,
        duration=labels.duration_text,
        count=labels.count_text,
        when=_when,
        name=_name,
        with_code=_with_code,
        file=_file,
        plain=labels.visible,
        plain_lines=lambda text: "\n".join(map(labels.visible, text.splitlines())),
        short_id=lambda parts: hashlib.sha256(repr(parts).encode()).hexdigest()[:12],
        kind=lambda kind: labels.KINDS.get(kind, kind),
    )
    return environment


def render(template: str, **context: object) -> Markup:
    """A template of this package with these values; every text in them is escaped."""
    html = _environment().get_template(template).render(**context)
    # A name may hold lone surrogates; an answer cannot.
    return Markup(html.encode("utf-8", "replace").decode())  # noqa: S704 - autoescaped


@lru_cache(maxsize=64)
def _plain_mark(name: v.MarkName, compact: bool) -> Markup:
    """A mark without dates: made once, for the matrix has thousands."""
    macros = _environment().get_template("_macros.html").module
    made: Markup = macros.mark(name, None, 1, compact)  # type: ignore[attr-defined]
    return Markup(made.strip())  # noqa: S704 - made by our own macro


def _when(at_ms: int, style: str = "ago") -> Markup:
    """A time element; the browser writes the reader's local time, as ``ago``, ``clock`` or ``date``."""
    return Markup('<time datetime="{}" data-sq-time="{}">{}</time>').format(
        labels.time_iso(at_ms), style, labels.time_text(at_ms)
    )


def _with_code(text: str) -> Markup:
    """A sentence in which `words to type` are code."""
    parts = re.split(r"`([^`\n]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def _name(text: str) -> Markup:
    """A name from outside, isolated from the direction of the text around it."""
    return Markup('<bdi dir="ltr" class="sq-name">{}</bdi>').format(labels.visible(text))


def _file(text: str) -> Markup:
    """As ``_name``, for a file's: its usual ending stands back, and breaks off first."""
    stem, ending = labels.split_ending(labels.visible(text))
    if not ending:
        return _name(text)
    return Markup('<bdi dir="ltr" class="sq-name">{}<wbr><span class="sq-ending">{}</span></bdi>').format(
        stem, ending
    )
