"""The hub's tables. Times are integer milliseconds since 1970 UTC of the hub's own clock.

``server_files`` holds every server's inventory as synchronised, key (server, root, path); a rejected entry
is there too, with ``rejected`` set and no model. ``models``, ``model_server_availability`` and
``model_aliases`` keep the names and columns of the old StableQueue. Availability is a summary of
``server_files``: the one function that writes those rows writes it, in the same transaction, and appends
to ``events``. ``unreachable`` is never stored; it is derived from the last contact when read.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

# Keys to search and sort by compare by code points on both databases, whatever PostgreSQL's locale is.
Key = Text().with_variant(Text(collation="C"), "postgresql")

# SQLite only counts INTEGER primary keys up by itself; PostgreSQL needs 64 bits for the busy tables.
RowId = BigInteger().with_variant(Integer, "sqlite")

hub_facts = Table(
    "hub_facts",  # hub_id and other single values
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

servers = Table(
    "servers",
    metadata,
    Column("server_id", Text, primary_key=True),
    Column("alias", Text, nullable=False),
    Column("alias_key", Text, nullable=False, unique=True),  # casefolded NFC
    Column("version", Text, nullable=False, server_default=""),
    Column("joined_ms", BigInteger, nullable=False),
    Column("last_contact_ms", BigInteger),
    # What the hub has of its inventory; NULL index_id: nothing yet.
    Column("index_id", Text),
    Column("sequence", BigInteger, nullable=False, server_default="0"),
    Column("digest", Text, nullable=False, server_default="0" * 64),
    Column("last_sync_ms", BigInteger),
    # The running agent process, and why syncs are refused when two claim to be this server.
    Column("boot_id", Text),
    Column("boot_counter", BigInteger, nullable=False, server_default="0"),
    Column("frozen", Text),
    Column("capabilities_json", Text),  # a ServerCapabilities; NULL: it never said what its WebUI can do
    Column("jobs_paused", Integer, nullable=False, server_default="0"),  # 1: it gets no jobs
    Column("transfer_policy_json", Text),  # a TransferPolicy; NULL: it never said what its owner allows
    Column("api_url", Text),  # known by this address only: nothing of ours runs there; NULL: it joined
)

# Former agent processes of a server; heard again twice, they are alive beside the new one.
retired_boots = Table(
    "retired_boots",
    metadata,
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), primary_key=True),
    Column("boot_id", Text, primary_key=True),
    Column("boot_counter", BigInteger, nullable=False),
    Column("heard_again", Integer, nullable=False, server_default="0"),
    Column("retired_ms", BigInteger, nullable=False),
)

replaced_indexes = Table(
    "replaced_indexes",  # index ids a server had before; coming back with one is a rollback
    metadata,
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), primary_key=True),
    Column("index_id", Text, primary_key=True),
    Column("replaced_ms", BigInteger, nullable=False),
)

server_roots = Table(
    "server_roots",
    metadata,
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), primary_key=True),
    Column("root_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("health", Text, nullable=False),
    Column("label", Text),
    Column("rejected", Text),
    Column("row_digest", LargeBinary(32), nullable=False),
    Column("since_ms", BigInteger, nullable=False),  # since when it has this health
)

models = Table(
    "models",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("hash_autov2", Text),
    Column("hash_sha256", Text, unique=True),  # NULL: a lead, registered without its full SHA256
    Column("hash_blake3", Text),
    Column("hash_autov1", Text),
    Column("hash_autov3", Text),
    Column("size", BigInteger),
    Column("base_model", Text),
    Column("civitai_id", Text),
    Column("civitai_version_id", Text),
    # Allow-listed header fields; '{}' once a server answered that there are none.
    Column("metadata_json", Text),
    Column("output_key", Key),  # casefolded NFC of the name in a LoRA's header (ss_output_name)
    Column("search_key", Key, nullable=False),  # casefolded NFC of the name
    Column("created_ms", BigInteger, nullable=False),
    Column("source", Text, nullable=False),  # 'sync' or 'registered'
    Column("gone_ms", BigInteger),  # since when no server has it that was on one; NULL: on one, or never was
    CheckConstraint("type IN ('checkpoint', 'lora', 'vae', 'text_encoder', 'embedding')", name="type"),
)
Index("ix_models_hash_autov2", models.c.hash_autov2)
Index("ix_models_hash_autov3", models.c.hash_autov3)
Index("ix_models_hash_autov1", models.c.hash_autov1)
Index("ix_models_hash_blake3", models.c.hash_blake3)
Index("ix_models_search_key", models.c.search_key, models.c.id)
Index("ix_models_type", models.c.type, models.c.search_key, models.c.id)
_HAS_OUTPUT_NAME = models.c.output_key.is_not(None)
Index(
    "ix_models_output_key",
    models.c.output_key,
    sqlite_where=_HAS_OUTPUT_NAME,
    postgresql_where=_HAS_OUTPUT_NAME,
)
# The list without filters counts and sorts what is present by the first of these alone; ``gone_ms`` stands in
# it because SQLite visits the table for a column that only the index's condition names.
for _name, _where in (("present", models.c.gone_ms.is_(None)), ("gone", models.c.gone_ms.is_not(None))):
    Index(
        f"ix_models_{_name}",
        models.c.search_key,
        models.c.id,
        models.c.gone_ms,
        sqlite_where=_where,
        postgresql_where=_where,
    )
_NO_METADATA = models.c.metadata_json.is_(None)
Index("ix_models_no_metadata", models.c.id, sqlite_where=_NO_METADATA, postgresql_where=_NO_METADATA)

server_files = Table(
    "server_files",
    metadata,
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), primary_key=True),
    Column("root_id", Text, primary_key=True),
    Column("path", Text, primary_key=True),  # wire path
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),  # the WebUI's name, from the wire path
    Column("name_key", Key, nullable=False),  # casefolded NFC
    Column("size", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("sha256", Text),
    Column("blake3", Text),
    Column("autov1", Text),
    Column("autov3", Text),
    Column("claims_json", Text),
    Column(
        "link", Integer, nullable=False, server_default="0"
    ),  # 1: another name of a file that is here already
    # The strongest claim of a file that is not ready, as "sha256:<value>"; what claimed_model_id follows.
    Column("claim", Text),
    Column("kind_differs", Integer, nullable=False, server_default="0"),  # 1: in a folder of another kind
    Column("rejected", Text),  # why this entry is kept but offered to nobody
    Column("row_digest", LargeBinary(32), nullable=False),
    Column("model_id", RowId, ForeignKey("models.id", ondelete="SET NULL")),
    Column("claimed_model_id", RowId, ForeignKey("models.id", ondelete="SET NULL")),  # "probably this one"
    Column("changed_ms", BigInteger, nullable=False),
)
_UNIDENTIFIED = server_files.c.model_id.is_(None)
_HAS_CLAIM = server_files.c.claim.is_not(None)
_KIND_DIFFERS = server_files.c.kind_differs == 1
_CONTRADICTED = sa.and_(server_files.c.model_id.is_not(None), server_files.c.claims_json.is_not(None))
Index("ix_server_files_model_id", server_files.c.model_id, server_files.c.server_id)
Index("ix_server_files_claimed_model_id", server_files.c.claimed_model_id, server_files.c.server_id)
Index(
    "ix_server_files_unidentified",
    server_files.c.name_key,
    sqlite_where=_UNIDENTIFIED,
    postgresql_where=_UNIDENTIFIED,
)
Index("ix_server_files_claim", server_files.c.claim, sqlite_where=_HAS_CLAIM, postgresql_where=_HAS_CLAIM)
Index(
    "ix_server_files_kind_differs",
    server_files.c.kind,
    server_files.c.model_id,
    sqlite_where=_KIND_DIFFERS,
    postgresql_where=_KIND_DIFFERS,
)
Index(
    "ix_server_files_contradicted",
    server_files.c.model_id,
    sqlite_where=_CONTRADICTED,
    postgresql_where=_CONTRADICTED,
)

model_server_availability = Table(
    "model_server_availability",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("model_id", RowId, ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), nullable=False),
    Column("availability", Text, nullable=False),  # available, unhashed, unavailable
    Column("last_seen", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("files", Integer, nullable=False),
    UniqueConstraint("model_id", "server_id"),
    CheckConstraint("availability IN ('available', 'unhashed', 'unavailable')", name="availability"),
)
# Holds all that a cell of the matrix shows, so that a page need not visit the rows, which lie scattered.
Index(
    "ix_msa_cells",
    model_server_availability.c.model_id,
    model_server_availability.c.server_id,
    model_server_availability.c.availability,
    model_server_availability.c.files,
    model_server_availability.c.last_seen,
)
Index("ix_msa_server_id", model_server_availability.c.server_id, model_server_availability.c.availability)
Index("ix_msa_availability", model_server_availability.c.availability, model_server_availability.c.model_id)

model_aliases = Table(
    "model_aliases",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("model_id", RowId, ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("alias_path", Text, nullable=False),  # wire path, or a name that an admin stated
    Column("alias_key", Key, nullable=False),  # casefolded NFC of the path
    Column("stem_key", Key, nullable=False),  # its last part without extension
    UniqueConstraint("model_id", "alias_path"),
)
Index("ix_model_aliases_alias_key", model_aliases.c.alias_key)
Index("ix_model_aliases_stem_key", model_aliases.c.stem_key)

events = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("action", Text, nullable=False),  # e.g. availability_changed, server_joined, key_created
    Column("actor", Text, nullable=False),  # 'server:<id>', 'key:<id>', 'page', 'hub'
    Column("server_id", Text),
    Column("model_id", RowId),
    Column("details_json", Text),
    Column("job_id", Text),
)
Index("ix_events_job_id", events.c.job_id, events.c.id)
Index("ix_events_model_id", events.c.model_id, events.c.id)
Index("ix_events_server_id", events.c.server_id, events.c.id)

keys = Table(
    "keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("secret_hash", Text, nullable=False),  # SHA256 of the 256-bit secret, hex
    Column("scope", Text, nullable=False),
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE")),
    Column("name", Text, nullable=False, server_default=""),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("last_used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("single_server", Integer, nullable=False, server_default="0"),  # a code of "Add another computer"
    Column("used_by", Text),  # the server that used up such a code
    CheckConstraint("scope IN ('admin', 'jobs', 'view', 'join', 'server')", name="scope"),
)

page_sessions = Table(
    "page_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("key_id", Text),  # the admin key it was opened with; NULL: a one-time code of this machine's owner
)

orders = Table(
    "orders",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("arguments_json", Text, nullable=False, server_default="{}"),
    Column("actor", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # an id is never used twice: agents remember the highest one they saw
)
Index("ix_orders_server_id", orders.c.server_id, orders.c.id)

# What is to be generated, shared by the jobs of a batch, which differ in their seed only.
job_payloads = Table(
    "job_payloads",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("source_server_id", Text),  # where its names were written
    Column("needs_json", Text, nullable=False, server_default="[]"),  # what it needs besides models
    Column("prompt", Text, nullable=False, server_default=""),  # for lists: a payload may hold pictures
    Column("brief_json", Text),  # of a long payload, what lists show of it; NULL: all
    # Last: SQLite reads whatever stands before a column, and this may be 64 MB.
    Column("payload_json", Text, nullable=False),
)

job_requirements = Table(
    "job_requirements",  # the models that a payload names, and which content each means
    metadata,
    Column("payload_id", RowId, ForeignKey("job_payloads.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text),
    Column("status", Text, nullable=False),
    Column("sha256", Text),
    # What a person decided: 'not_a_model', or 'run_anyway' on decision_server_id (NULL: anywhere).
    Column("decision", Text),
    Column("decision_server_id", Text),
)

Index("ix_job_requirements_status", job_requirements.c.status)

jobs = Table(
    "jobs",
    metadata,
    Column("seq", RowId, primary_key=True, autoincrement=True),  # the order of submission
    Column("job_id", Text, nullable=False, unique=True),
    Column("batch_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("submitted_by", Text, nullable=False),  # an actor, as events have it
    Column("payload_id", RowId, ForeignKey("job_payloads.id"), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("targets_json", Text),  # ids of the servers that may run it; NULL: any
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("deadline_ms", BigInteger),  # until when it waits for a server; NULL: for ever
    Column("server_id", Text),  # the server that works on it, or did last
    Column("fence", BigInteger, nullable=False, server_default="0"),  # grows with each claim
    Column("attempts", Integer, nullable=False, server_default="0"),  # runs that were lost or failed
    Column("refusals", Integer, nullable=False, server_default="0"),  # times a server sent it back unstarted
    Column("starred", Integer, nullable=False, server_default="0"),
    Column("outcome", Text),  # of a finished run: 'confirmed', 'not_provable', 'wrong', 'accepted'
    Column("failure", Text),  # a stable code and
    Column("failure_text", Text),  # a sentence of why it failed
    CheckConstraint("state IN ('pending', 'processing', 'completed', 'failed', 'cancelled')", name="state"),
    sqlite_autoincrement=True,
)
Index("ix_jobs_state", jobs.c.state, jobs.c.priority, jobs.c.seq)
Index("ix_jobs_payload_id", jobs.c.payload_id)
Index("ix_jobs_batch_id", jobs.c.batch_id)
# One job at a time on each server, whatever else goes wrong.
_PROCESSING = jobs.c.state == "processing"
Index(
    "uq_jobs_server_id", jobs.c.server_id, unique=True, sqlite_where=_PROCESSING, postgresql_where=_PROCESSING
)

job_exclusions = Table(
    "job_exclusions",  # servers that are not to get a job again
    metadata,
    Column("job_id", Text, ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("server_id", Text, primary_key=True),
    Column("reason", Text, nullable=False),  # 'refused', 'failed', 'lost'
    Column("text", Text, nullable=False, server_default=""),
    Column("sequence", BigInteger),  # ends when the server's inventory went past this; NULL: when asked for
    Column("at_ms", BigInteger, nullable=False),
)

job_runs = Table(
    "job_runs",  # each time a server took a job: what was confirmed there, and how it ended
    metadata,
    Column("job_id", Text, ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("fence", BigInteger, primary_key=True),
    Column("server_id", Text, nullable=False),
    Column("runner_id", Text, nullable=False, server_default=""),  # the process that took it
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("ended", Text),  # 'completed', 'failed', 'refused', 'lost', 'cancelled', 'released'
    Column("text", Text, nullable=False, server_default=""),
    Column("models_json", Text, nullable=False, server_default="[]"),
    Column("renamed_json", Text, nullable=False, server_default="[]"),
    Column("loaded_json", Text, nullable=False, server_default="[]"),
    Column("verdicts_json", Text, nullable=False, server_default="[]"),
    Column("traceback", Text, nullable=False, server_default=""),  # of the WebUI's error
)

unloadable_models = Table(
    "unloadable_models",  # contents that the WebUI of a server failed to load; no job gets there with them
    metadata,
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("text", Text, nullable=False, server_default=""),  # what the WebUI said
    Column("at_ms", BigInteger, nullable=False),
)

job_pictures = Table(
    "job_pictures",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 0
    Column("file", Text, nullable=False),  # below the data folder's `pictures`
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("infotext", Text, nullable=False, server_default=""),
    Column("created_ms", BigInteger, nullable=False),
)

legacy_jobs = Table(
    "legacy_jobs",  # what only the old contract says of a job
    metadata,
    Column("job_id", Text, ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("app_type", Text, nullable=False),
    Column("source_info", Text, nullable=False),
    Column("hash_source", Text, nullable=False),  # where its checkpoint's hash stood
    Column("infotext", Text),  # the generation text it was made of
)

job_submissions = Table(
    "job_submissions",  # answers to a submission that is repeated under its idempotency key
    metadata,
    Column("submitter", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("body_digest", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

# History. Nothing here says what was asked for or by whom; it outlives the jobs.

hub_spans = Table(
    "hub_spans",  # when the hub ran; of all other time nothing is known
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger, nullable=False),  # of the last span: a minute old at most while the hub runs
)

presence_spans = Table(
    "presence_spans",  # how servers were while the hub ran
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), nullable=False),
    Column("state", Text, nullable=False),  # 'accepting': it would have taken a job from anybody
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger),  # NULL: as long as the hub's last span
    CheckConstraint("state IN ('silent', 'on', 'accepting')", name="state"),
)
Index("ix_presence_spans_server_id", presence_spans.c.server_id, presence_spans.c.from_ms)
_STILL = presence_spans.c.to_ms.is_(None)
Index(
    "uq_presence_spans_open",
    presence_spans.c.server_id,
    unique=True,
    sqlite_where=_STILL,
    postgresql_where=_STILL,
)

model_days = Table(
    "model_days",  # how often each model was used on a day (UTC, days since 1970)
    metadata,
    Column("day", Integer, primary_key=True),
    Column("server_id", Text, primary_key=True),  # "": no server had run the job when its deadline passed
    Column("sha256", Text, primary_key=True),
    Column("uses", Integer, nullable=False, server_default="0"),  # runs that made their pictures
    Column("unserved", Integer, nullable=False, server_default="0"),  # jobs whose deadline passed
    Column("wait_ms", BigInteger, nullable=False, server_default="0"),  # of both, from submission on
)
Index("ix_model_days_sha256", model_days.c.sha256, model_days.c.day)

run_days = Table(
    "run_days",  # how long jobs waited and ran on a day
    metadata,
    Column("day", Integer, primary_key=True),
    Column("server_id", Text, primary_key=True),
    Column("family", Text, primary_key=True),  # base model of the checkpoint; "": not known
    Column("runs", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),  # not in `runs`
    Column("wait_ms", BigInteger, nullable=False, server_default="0"),
    Column("run_ms", BigInteger, nullable=False, server_default="0"),
    # Of runs with known size: ln(ms for a megapixel and step), its sum and the sum of its squares.
    Column("measured", Integer, nullable=False, server_default="0"),
    Column("log_sum", Float, nullable=False, server_default="0"),
    Column("log_square_sum", Float, nullable=False, server_default="0"),
)

# Copies of models between servers. Who writes the state, and what leads where: transfers/rows and states.
transfers = Table(
    "transfers",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("sha256", Text, nullable=False),
    Column("target_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), nullable=False),
    Column("source_id", Text),  # who hands it out; NULL: nobody was chosen yet
    Column("state", Text, nullable=False),
    Column("way", Text, nullable=False),
    Column("name", Text, nullable=False),  # the file's at the source, as a wire path's last part
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("asked_by", Text, nullable=False),  # an actor; 'hub': jobs wait for it
    Column("by_person", Integer, nullable=False),  # 1: somebody asked for it, or accepted it
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("fence", BigInteger, nullable=False, server_default="0"),  # grows whenever a claim ends
    Column("bytes_done", BigInteger, nullable=False, server_default="0"),
    Column("bytes_per_s", BigInteger, nullable=False, server_default="0"),
    Column("unfit_json", Text, nullable=False, server_default="[]"),  # sources that turned out not to have it
    Column("failure", Text),  # a stable code and
    Column("text", Text, nullable=False, server_default=""),  # a sentence of why it waits or failed
    Column("path", Text),  # below the target's folder, once it is there
    CheckConstraint(
        "state IN ('planned', 'asked', 'waiting', 'running', 'verifying', 'done', 'failed', 'cancelled')",
        name="state",
    ),
    sqlite_autoincrement=True,
)
_UNDER_WAY = transfers.c.ended_ms.is_(None)
# One copy of a content to a server at a time, however many ask for it.
Index(
    "uq_transfers_under_way",
    transfers.c.sha256,
    transfers.c.target_id,
    unique=True,
    sqlite_where=_UNDER_WAY,
    postgresql_where=_UNDER_WAY,
)
