"""Jobs that the hub does not have yet: on the disk, whole, and for their owner alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stablequeue_client.hub_client.refused_here import QUEUED_FOLDER
from stablequeue_client.shared.errors import DataFolderError
from stablequeue_client.webui.submit.outbox import SubmissionOutbox

ONE, TWO = "1" * 32, "2" * 32


def test_they_are_there_again_in_order_with_their_key_as_idempotency_key(tmp_path: Path) -> None:
    times = iter([2.0, 1.0])
    kept = SubmissionOutbox(tmp_path, now=lambda: next(times))
    kept.keep(ONE, {"payload": {"prompt": "later"}})
    kept.keep(TWO, {"payload": {"prompt": "earlier"}})
    again = SubmissionOutbox(tmp_path)
    assert [job.key for job in again.all()] == [TWO, ONE]
    assert again.read(again.all()[0]) == {"payload": {"prompt": "earlier"}, "idempotency_key": TWO}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    path = SubmissionOutbox(tmp_path).keep(ONE, {"payload": {}}).path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_half_written_is_no_job(tmp_path: Path) -> None:
    kept = SubmissionOutbox(tmp_path)
    kept.keep(ONE, {"payload": {}})
    (tmp_path / QUEUED_FOLDER / f".0000000000002-{TWO}.json.part").write_bytes(b"{")
    (tmp_path / QUEUED_FOLDER / "readme.json").write_bytes(b"{}")
    assert [job.key for job in kept.all()] == [ONE]


def test_a_refused_one_stays_with_the_reason_until_it_is_sent_again_or_thrown_away(tmp_path: Path) -> None:
    kept = SubmissionOutbox(tmp_path)
    job = kept.keep(ONE, {"payload": {}})
    kept.refuse(job, "`seed` is a whole number")
    assert SubmissionOutbox(tmp_path).all()[0].refused == "`seed` is a whole number"
    assert kept.send_again(ONE)
    assert kept.all()[0].refused == ""
    kept.refuse(job, "no")
    assert kept.drop(ONE)
    assert list((tmp_path / QUEUED_FOLDER).iterdir()) == []
    assert not kept.drop(ONE)
    assert not kept.send_again(ONE)


def test_a_refusal_of_one_that_was_thrown_away_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    kept = SubmissionOutbox(tmp_path)
    job = kept.keep(ONE, {"payload": {}})
    kept.drop(ONE)
    kept.refuse(job, "no")
    assert list((tmp_path / QUEUED_FOLDER).iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / QUEUED_FOLDER).write_text("a file where the folder should be")
    with pytest.raises(DataFolderError, match="could not be kept"):
        SubmissionOutbox(tmp_path).keep(ONE, {"payload": {}})
