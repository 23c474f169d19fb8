"""Pictures under the names of the old gallery: ``<first 8 of the job's id>_<time>_<number>.png``."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError
from stablequeue_hub.legacy.answers import OldGallery, OldPicture, iso_text
from stablequeue_hub.store.tables import job_pictures

LIST_MAX = 1_000
_NAME = re.compile(
    r"([0-9a-f]{8})_([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2})-([0-9]{3})Z_([0-9]{1,4})\.png"
)


def old_file_name(job_id: str, created_ms: int, number: int) -> str:
    """The time as it stands in answers, without what a file name must not hold."""
    moment = iso_text(created_ms).replace(":", "-").replace(".", "-")
    return f"{job_id[:8]}_{moment}_{number}.png"


def gallery(connection: Connection, limit: int | None, offset: int) -> OldGallery:
    """Pictures, newest first; ``total`` counts all."""
    total = connection.scalar(sa.select(sa.func.count()).select_from(job_pictures)) or 0
    newest = sa.select(job_pictures).order_by(
        job_pictures.c.created_ms.desc(), job_pictures.c.job_id, job_pictures.c.number
    )
    rows = connection.execute(newest.limit(min(limit or LIST_MAX, LIST_MAX)).offset(offset))
    return OldGallery(total, [_old_picture(row) for row in rows])


def find_picture(connection: Connection, name: str) -> Any:
    """The row of ``job_pictures`` with that old name. Raises InvalidValueError, NotFoundError."""
    if "/" in name or "\\" in name or ".." in name:
        raise InvalidValueError("Invalid filename", remedy="")
    match = _NAME.fullmatch(name)
    moment = _milliseconds(match[2], match[3]) if match else None
    if match is None or moment is None:
        raise _unknown()
    its = sa.select(job_pictures).where(
        job_pictures.c.job_id.like(f"{match[1]}%"),
        job_pictures.c.number == int(match[4]),
        job_pictures.c.created_ms == moment,
    )
    row = connection.execute(its.order_by(job_pictures.c.job_id)).first()
    if row is None:
        raise _unknown()
    return row


def picture_info(connection: Connection, name: str) -> OldPicture:
    """Raises InvalidValueError, NotFoundError."""
    return _old_picture(find_picture(connection, name))


def _old_picture(row: Any) -> OldPicture:
    name = old_file_name(row.job_id, row.created_ms, row.number)
    return OldPicture(
        name,
        iso_text(row.created_ms),
        row.bytes,
        row.job_id[:8],
        f"/outputs/{name}",
        row.job_id,
        row.job_id,
    )


def _milliseconds(text: str, rest: str) -> int | None:
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H-%M-%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1000 + int(rest)


def _unknown() -> NotFoundError:
    return NotFoundError("Image not found", remedy="")
