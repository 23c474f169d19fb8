"""What lies in this WebUI's own folders, as the values of the hub's page. Pure: a snapshot in, values out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from stablequeue_client.files.claimed_hashes import check_claims
from stablequeue_client.index.rows import IndexRow, RootRow
from stablequeue_client.index.snapshot import LocalModel, Snapshot
from stablequeue_client.shared.errors import ConflictError, NotFoundError
from stablequeue_client.shared.model_files.model_file import (
    KINDS,
    normalize_hash,
    parse_hash,
    search_key,
    search_of,
    stem_key,
)
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.labels import DIGEST_LABELS, FILE_MARKS, TROUBLED_STATES, UNREAD_STATES
from stablequeue_client.shared.views.views import FILE_STATES, SORTS, STATES
from stablequeue_client.shared.wire.inventory import Activity

PAGE_SIZE = 50
SHOWN = 10
LISTED_MAX = 200
"""Files beside the models: with a page of models, and when a filter asks for them."""
SEARCH_MAX = 200
HASH_START_MIN = 4
THIS = "this"
"""The ``server_id`` of this WebUI in its own pages."""
COMPUTED = "computed"
SOURCES = {
    COMPUTED: "computed from the file",
    "sidecar": "The .sha256 file beside it",
    "civitai": "The .civitai.info file beside it",
    "header": "The file's header",
    "webui_cache": "The WebUI's own hash cache",
}
_Sorter = Callable[[LocalModel], object]


# --- models -----------------------------------------------------------------------------------------------


def filters_of(query: Mapping[str, str]) -> v.Filters:
    """The filters in an address. What cannot be is left out, except that a page is at least 1."""
    page = query.get("page", "1")
    kind, state, sort = query.get("kind", ""), query.get("state", ""), query.get("sort", "")
    return v.Filters(
        search=query.get("search", "").strip()[:SEARCH_MAX],
        kind=kind if kind in KINDS else "",
        base_model=query.get("base_model", "")[:100],
        server=query.get("server", "")[:64],
        state=state if state in {choice.value for choice in STATES} else "",
        sort=sort if sort in _SORTS else "",
        page=max(1, int(page)) if page.isdecimal() and len(page) <= 6 else 1,
    )


_SORTS = {"name", *(choice.value for choice in SORTS)}


def models_page(snapshot: Snapshot, filters: v.Filters, alias: str) -> v.ModelsPage:
    """One page of the models that lie here, and the files beside them that are no models yet."""
    found = () if filters.state in FILE_STATES else _sorted(_chosen(snapshot, filters), filters.sort)
    start = (filters.page - 1) * PAGE_SIZE
    health = {root.root_id: root.health for root in snapshot.roots}
    rows = tuple(_model_row(snapshot, model, health) for model in found[start : start + PAGE_SIZE])
    troubled, unread = _file_lists(snapshot, filters, alias)
    return v.ModelsPage(
        servers=(v.ServerColumn(THIS, alias),),
        rows=rows,
        total=len(found),
        everything=len(snapshot.files) if filters == v.Filters() else len(snapshot.models),
        troubled=troubled,
        unread=unread,
        filters=filters,
        page_size=PAGE_SIZE,
        base_models=tuple(sorted({model.base_model for model in snapshot.by_name if model.base_model})),
    )


def _chosen(snapshot: Snapshot, filters: v.Filters) -> Sequence[LocalModel]:
    found: Sequence[LocalModel] = snapshot.by_name
    if filters.kind:
        found = [model for model in found if any(row.kind == filters.kind for row in model.rows)]
    if filters.base_model:
        found = [model for model in found if model.base_model == filters.base_model]
    if filters.state:
        found = _in_state(found, filters.state)
    return _matching(found, filters.search) if filters.search else found


def _in_state(found: Sequence[LocalModel], state: str) -> Sequence[LocalModel]:
    """With one server everything is "on every server" and "on one only", and nothing "missing somewhere";
    what is gone is in no index."""
    if state == "duplicates":
        return [model for model in found if _file_count(model) > 1]
    if state == "problem":
        return [model for model in found if any(_contradictions(row) for row in model.rows)]
    return [] if state in ("missing", "gone") else found


def _matching(found: Sequence[LocalModel], text: str) -> Sequence[LocalModel]:
    """By any part of a path, or by how a hash begins."""
    start = normalize_hash(text)
    is_meant = search_of(text)
    if start is None or len(start) < HASH_START_MIN:
        return [model for model in found if is_meant(model.search)]
    return [model for model in found if is_meant(model.search) or _has_hash(model, start)]


def _has_hash(model: LocalModel, start: str) -> bool:
    row = model.rows[0]
    if model.sha256.startswith(start) or (row.blake3 or "").startswith(start):
        return True
    return (row.autov1 or "").startswith(start) or (row.payload_sha256 or "")[:12].startswith(start)


def _sorted(found: Sequence[LocalModel], sort: str) -> Sequence[LocalModel]:
    """By name unless asked otherwise; how many servers have it is always one here."""
    if sort in ("newest", "oldest"):
        return sorted(found, key=lambda model: model.first_seen_ms, reverse=sort == "newest")
    if sort == "-name":
        return list(reversed(found))
    if sort in ("size", "-size"):
        return sorted(found, key=lambda model: model.size, reverse=sort == "-size")
    return found


def _model_row(snapshot: Snapshot, model: LocalModel, health: Mapping[str, str]) -> v.ModelRow:
    connected = any(health.get(row.root_id) == "healthy" for row in model.rows)
    return v.ModelRow(
        model_id=model.sha256,
        name=model.name,
        kind=model.kind,
        cells=(v.Cell("here" if connected else "folder", files=_file_count(model)),),
        base_model=model.base_model,
        size=model.size,
        short_hash=model.sha256[:10],
        on=1,
        name_twice=bool(_same_name(snapshot, model)),
    )


def _file_count(model: LocalModel) -> int:
    """Files of this content; a further name of one of them is none."""
    return max(1, sum(not row.link for row in model.rows))


def _same_name(snapshot: Snapshot, model: LocalModel) -> list[LocalModel]:
    """Models of the same kind with other content that have a file name in common with this one."""
    names = {(row.kind, stem_key(row.path)) for row in model.rows}
    others = {row.sha256 for name in names for row in snapshot.names.get(name, ())}
    others.discard(model.sha256)
    return [snapshot.models[sha256] for sha256 in sorted(filter(None, others)) if sha256 in snapshot.models]


# --- files that are no models yet -------------------------------------------------------------------------


def _file_lists(snapshot: Snapshot, filters: v.Filters, alias: str) -> tuple[v.FileList, v.FileList]:
    """Files that need their owner, and files that need time."""
    if filters.base_model or (filters.state and filters.state not in FILE_STATES) or filters.page > 1:
        return v.FileList(), v.FileList()
    found: Sequence[IndexRow] = snapshot.others
    if filters.kind:
        found = [row for row in found if row.kind == filters.kind]
    if filters.search:
        is_meant = search_of(filters.search)
        found = [row for row in found if is_meant(search_key(row.path))]
    none = v.FileList()
    troubled = none if filters.state == "unread" else troubled_files(snapshot, found, alias, filters.state)
    return troubled, none if filters.state == "troubled" else unread_files(
        snapshot, found, alias, filters.state
    )


def troubled_files(snapshot: Snapshot, rows: Sequence[IndexRow], alias: str, state: str = "") -> v.FileList:
    """The files that need their owner, worst first."""
    found = [row for row in rows if row.state in TROUBLED_STATES]
    found.sort(key=lambda row: TROUBLED_STATES.index(row.state))
    return _file_list(snapshot, found, "troubled", alias, state)


def unread_files(snapshot: Snapshot, rows: Sequence[IndexRow], alias: str, state: str = "") -> v.FileList:
    """The files that only need time."""
    return _file_list(snapshot, [row for row in rows if is_unread(row)], "unread", alias, state)


def is_unread(row: IndexRow) -> bool:
    """It is not read in full yet, and will be without anybody's help."""
    return row.state in UNREAD_STATES


def _file_list(
    snapshot: Snapshot, found: Sequence[IndexRow], name: str, alias: str, state: str
) -> v.FileList:
    shown = found[: LISTED_MAX if state == name else SHOWN]
    labels = {root.root_id: root.label for root in snapshot.roots}
    rows = tuple(_file_row(snapshot, row, labels, alias) for row in shown)
    return v.FileList(rows, len(found), "" if state == name else name)


def _file_row(snapshot: Snapshot, row: IndexRow, labels: Mapping[str, str], alias: str) -> v.FileRow:
    probably = _probably(snapshot, row)
    mark = file_mark(row)
    return v.FileRow(
        server_id=THIS,
        server=alias,
        root_id=row.root_id,
        folder=labels.get(row.root_id) or row.root_id,
        path=row.path,
        kind=row.kind,
        mark="probably" if probably and mark == "reading" else mark,
        size=row.size,
        reason=row.reason,
        probably=probably.name if probably else "",
        probably_id=probably.sha256 if probably else None,
    )


def file_mark(row: IndexRow) -> v.MarkName:
    return FILE_MARKS.get(row.state, "unknown")


def _probably(snapshot: Snapshot, row: IndexRow) -> LocalModel | None:
    """The model that a note beside an unread file speaks of, when it lies here too."""
    for claim in row.claims if row.sha256 is None else ():
        if claim.digest == "sha256" and claim.value in snapshot.models:
            return snapshot.models[claim.value]
    return None


# --- one model --------------------------------------------------------------------------------------------


def model_details(
    snapshot: Snapshot, text: str, alias: str, *, metadata_of: Callable[[str], Mapping[str, str]]
) -> v.ModelDetails:
    """The model that ``text`` (a hash of 8, 10, 12 or 64 digits, or a name) means.

    Raises NotFoundError, ConflictError (several).
    """
    model = _only(snapshot, text)
    # With them stand the files of which somebody says that they are this model.
    rows = (*model.rows, *(row for row in snapshot.others if model.sha256 in row.claims_json))
    return v.ModelDetails(
        model_id=model.sha256,
        name=model.name,
        kind=model.kind,
        digests=_digest_lines(rows),
        places=_places(rows, snapshot.roots, alias),
        size=model.size,
        base_model=model.base_model,
        aliases=tuple(dict.fromkeys(row.path for row in model.rows)),
        servers_total=1,
        metadata=tuple(sorted(metadata_of(model.sha256).items())),
        duplicates=_duplicates(model.rows, alias),
        same_name=tuple(
            v.OtherModel(other.sha256, other.name, other.sha256[:10], other.size, (alias,))
            for other in _same_name(snapshot, model)
        ),
        contradictions=tuple(dict.fromkeys(said for row in rows for said in _contradictions(row))),
    )


def _only(snapshot: Snapshot, text: str) -> LocalModel:
    found = find_models(snapshot, text)
    if not found:
        raise NotFoundError(f"No model {text[:100]!r} is known in this WebUI.")
    if len(found) > 1:
        raise ConflictError(
            f"{text[:100]!r} means {len(found)} models.", remedy="Search for it in the list, and choose one."
        )
    return found[0]


def find_models(snapshot: Snapshot, text: str) -> list[LocalModel]:
    """Every model here that a hash or a name may mean."""
    query = parse_hash(text)
    if query is not None and query.value in snapshot.models:
        return [snapshot.models[query.value]]
    if query is not None:
        found = [model for model in snapshot.by_name if _has_hash(model, query.value)]
        if found:
            return found
    stem = stem_key(text)
    named = {row.sha256 for kind in KINDS for row in snapshot.names.get((kind, stem), ())}
    return [snapshot.models[sha256] for sha256 in sorted(filter(None, named)) if sha256 in snapshot.models]


def _digest_lines(rows: Sequence[IndexRow]) -> tuple[v.DigestLine, ...]:
    """Each value once with all who state it, the computed ones of a digest alone; ``rows[0]`` was read."""
    computed = {name: getattr(rows[0].digests, name) for name in DIGEST_LABELS}
    sources: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, value in computed.items():
        if value is not None:
            sources[name, value].add(COMPUTED)
    for claim in (claim for row in rows for claim in row.claims):
        if computed[claim.digest] in (None, claim.value):
            sources[claim.digest, claim.value].add(claim.source)
    return tuple(
        v.DigestLine(label, value, "; ".join(SOURCES[source] for source in _ordered(said)))
        for name, label in DIGEST_LABELS.items()
        for (digest, value), said in sources.items()
        if digest == name
    )


def _ordered(sources: set[str]) -> list[str]:
    return sorted(sources, key=lambda source: (source == COMPUTED, source))


def _contradictions(row: IndexRow) -> tuple[v.Contradiction, ...]:
    if not row.claims_json:
        return ()
    return tuple(
        v.Contradiction(
            SOURCES[found.claim.source], DIGEST_LABELS[found.claim.digest], found.claim.value, found.computed
        )
        for found in check_claims(row.claims, row.digests)
    )


def _places(rows: Sequence[IndexRow], roots: Sequence[RootRow], alias: str) -> tuple[v.Place, ...]:
    known = {root.root_id: root for root in roots}
    places = []
    for row in rows:
        root = known.get(row.root_id)
        healthy = root is not None and root.health == "healthy"
        folder = root.label if root is not None and root.label else row.root_id
        mark = "probably" if row.state == "unhashed" else file_mark(row)
        mark = mark if healthy else "folder"
        places.append(v.Place(alias, folder, row.path, mark, row.size))
    return tuple(places)


def _duplicates(rows: Sequence[IndexRow], alias: str) -> tuple[v.Duplicate, ...]:
    if len(rows) < 2:
        return ()
    wasted = sum(row.size for row in [row for row in rows if not row.link][1:])
    return (v.Duplicate(alias, len(rows), wasted),)


# --- this WebUI as a server -------------------------------------------------------------------------------


def folders(snapshot: Snapshot) -> tuple[v.Folder, ...]:
    """The folders that are read, with how they are."""
    counts = Counter(row.root_id for row in snapshot.rows)
    return tuple(
        v.Folder(
            root.root_id,
            root.label or root.root_id,
            root.kind,
            root.health,  # type: ignore[arg-type]
            counts[root.root_id],
            root.missing_since_ms or None,
        )
        for root in snapshot.roots
    )


def progress_value(activity: Activity | None) -> v.Progress | None:
    if activity is None:
        return None
    return v.Progress(
        activity.phase,
        activity.files_done,
        activity.files_total,
        activity.bytes_done,
        activity.bytes_total,
        activity.eta_s,
    )


def servers_page(snapshot: Snapshot, activity: Activity | None, alias: str) -> v.ServersPage:
    """This WebUI alone, as the hub would show it. Its buttons are on "This WebUI"."""
    card = v.ServerCard(
        server_id=THIS,
        alias=alias,
        connected=True,
        progress=progress_value(activity),
        models=len(snapshot.models),
        waiting=sum(row.state == "unhashed" for row in snapshot.others),
        folders=folders(snapshot),
        problems=troubled_files(snapshot, snapshot.others, alias),
    )
    return v.ServersPage((card,), may_change=False)
