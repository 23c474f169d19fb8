"""A picture that arrives slowly, while its job ends or goes: nothing of it stays on disk."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from stablequeue_hub.jobs.picture_files import PictureFiles, StagedPicture
from stablequeue_hub.jobs.rows import change_state, delete_job
from stablequeue_hub.store.tables import job_pictures

from ..fake_runner import png

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base checkpoint")
PAYLOAD = {"prompt": "a cat", "override_settings": {"sd_model_checkpoint": "base.safetensors"}}
PICTURE = png(64, 64, "a cat nobody may know of")
Ask = Callable[..., Awaitable[httpx.Response]]


def started(hub: Any, hosts: Any) -> tuple[Any, dict[str, Any]]:
    """A runner and the job it works on."""
    runner = hosts.add("forge", BASE)
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"payload": PAYLOAD})
    assert answer.status_code == 202, answer.text
    job = runner.next()
    assert job is not None
    return runner, job


def put_slowly(hub: Any, runner: Any, job: dict[str, Any], meanwhile: Callable[[Ask], Any]) -> httpx.Response:
    """Sends a picture; when half of it has arrived, ``meanwhile`` happens."""

    async def all_of_it() -> httpx.Response:
        transport = httpx.ASGITransport(hub.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8383") as client:

            async def ask(method: str, path: str, key: str, **options: Any) -> httpx.Response:
                headers = {"Authorization": f"Bearer {key}"}
                return await client.request(method, path, headers=headers, **options)

            async def halves() -> AsyncIterator[bytes]:
                yield PICTURE[:40]
                await meanwhile(ask)
                yield PICTURE[40:]

            path = f"/api/v1/servers/{runner.server.server_id}/runner/jobs/{job['job_id']}/pictures/0"
            return await ask("PUT", f"{path}?fence={job['fence']}", runner.server.key, content=halves())

    answer: httpx.Response = hub.run(all_of_it())
    return answer


def lying(hub: Any) -> list[str]:
    """What lies in the folder of pictures."""
    folder = hub.hub.pictures.folder
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != "hub_id")


@pytest.mark.parametrize("deleted", [True, False])
def test_a_picture_of_a_job_that_was_cancelled_meanwhile_is_not_kept(
    hub: Any, hosts: Any, deleted: bool
) -> None:
    runner, job = started(hub, hosts)

    async def end(ask: Ask) -> None:
        path = f"/api/v1/jobs/{job['job_id']}"
        assert (await ask("POST", f"{path}/cancel", hub.admin)).status_code == 200
        if deleted:
            assert (await ask("DELETE", path, hub.admin)).status_code == 204

    answer = put_slowly(hub, runner, job, end)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "stale_run")
    assert lying(hub) == []


class EndsWhileWriting(PictureFiles):
    """The job goes between the last look and the file."""

    def __init__(self, hub: Any, delete: bool) -> None:
        super().__init__(hub.settings.data_dir)
        self._hub, self._delete = hub, delete

    def stage(self, job_id: str, fence: int, number: int, data: bytes) -> StagedPicture:
        with self._hub.store.write() as connection:
            how = {"action": "job_cancelled", "actor": "hub", "now_ms": 1}
            change_state(connection, job_id, "cancelled", **how)
            if self._delete:
                delete_job(connection, job_id, actor="hub", now_ms=1)
        self.remove_jobs([job_id])
        return super().stage(job_id, fence, number, data)


@pytest.mark.parametrize("deleted", [True, False])
def test_a_picture_whose_job_goes_while_it_is_written_is_not_kept(
    hub: Any, hosts: Any, deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, job = started(hub, hosts)
    files = EndsWhileWriting(hub.hub, deleted)
    monkeypatch.setattr(type(hub.hub), "pictures", property(lambda _: files))
    answer = runner.send(job, 0, PICTURE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "stale_run")
    assert lying(hub) == []


def test_a_picture_sent_twice_stays_when_its_job_was_completed_with_it(hub: Any, hosts: Any) -> None:
    runner, job = started(hub, hosts)
    data = runner.webui.generate(job["payload"])

    async def complete(ask: Ask) -> None:
        path = f"/api/v1/servers/{runner.server.server_id}/runner"
        picture = f"{path}/jobs/{job['job_id']}/pictures/0?fence={job['fence']}"
        assert (await ask("PUT", picture, runner.server.key, content=data)).status_code == 200
        body = {"job_id": job["job_id"], "fence": job["fence"], "outcome": "done"}
        body["pictures"] = [hashlib.sha256(data).hexdigest()]
        assert (await ask("POST", f"{path}/finish", runner.server.key, json=body)).status_code == 200

    answer = put_slowly(hub, runner, job, complete)
    assert answer.status_code == 409
    with hub.hub.store.read() as connection:
        (row,) = connection.execute(job_pictures.select()).all()
    assert hub.hub.pictures.read(row.file) == data
