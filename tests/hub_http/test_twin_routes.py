"""The same action by another way leaves the same behind: by the API, the page and the old contract.

Each way is gone on a hub of its own in the same state. Compared are the rows of all tables, what the hub
remembers of servers, keys and the hand-over of jobs, the pictures on disk, who was woken that waits for jobs
or events, and what a runner does that waits for a job. What an action changes is named, so that it is noticed
when a part of the hub is not told any more, though all ways lead through one function.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from stablequeue_client.shared.wire.runner import NextRequest
from stablequeue_hub.access.sessions import cookie_name
from stablequeue_hub.app import ROUTERS, create_app
from stablequeue_hub.settings import HubSettings
from stablequeue_hub.store.engine import SQLITE_NAME, open_store
from stablequeue_hub.store.tables import metadata
from stablequeue_hub.transfers.rows import add_transfer
from stablequeue_hub.transfers.sources import SourceFile

from .conftest import BASE, FakeClock, Hosts, HubUnderTest, Server

FILES = (("checkpoint", "base.safetensors", "base"), ("lora", "ink.safetensors", "ink"))
CAT = {
    **{"prompt": "a cat", "negative_prompt": "", "steps": 20, "sampler_name": "Euler a", "cfg_scale": 6.5},
    **{"width": 512, "height": 512, "seed": 7, "batch_size": 1, "n_iter": 1, "override_settings": {}},
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RANDOM_ID = re.compile(r"\b[0-9a-f]{16}\b")
SECRETS = {"secret_hash", "token_hash"}
Way = tuple[str, Any]
"""Method and path, and what is sent: an object as JSON, pairs as a form."""


class Movable:
    """A listener that only notes where it was told to listen."""

    host = "127.0.0.1"

    async def listen_on(self, host: str) -> None:
        self.host = host


class SceneHub(HubUnderTest):
    """Its servers have ids that are the same each time."""

    def join(self, alias: str, *, key: str | None = None) -> Server:
        server = Server(alias[0] * 32, alias[0].encode().hex() * 32, alias)
        self.joined(server, key=key).raise_for_status()
        return server


class Scene:
    """A hub with a server that waits for jobs (it rests), one that is frozen, one of the old contract; a job
    that waits for a model, one that is done, one whose picture is wrong."""

    def __init__(self, folder: Path, template: Path, stack: ExitStack) -> None:
        folder.mkdir()
        shutil.copy(template, folder / SQLITE_NAME)
        store = open_store(None, folder)
        stack.callback(store.close)
        self.listener = Movable()
        settings = HubSettings(data_dir=folder, requests_per_s=0)
        app = create_app(settings, store, clock=FakeClock(), listener=self.listener)
        self.under_test = SceneHub(app, app.state.hub.clock)
        self.hub = self.under_test.hub
        stack.callback(self.under_test.loop.close)
        stack.callback(self.hub.sync_limits.close)
        self.view = self.under_test.make_key("view")
        hosts = Hosts(self.under_test)
        runner = hosts.add("attic", *FILES)
        self.attic, self.frozen = runner.server, self.under_test.join("frozen")
        self.done = self.submit({"prompt": "a cat <lora:ink:1>", "seed": 5})
        assert runner.step().json()["outcome"] == "confirmed"
        self.wrong = self.submit(
            {"prompt": "a dog", "seed": 6, "override_settings": {"sd_model_checkpoint": "base.safetensors"}}
        )
        job, picture = runner.next(), runner.webui.generate({"prompt": "a dog"})
        assert runner.send(job, 0, picture).status_code == 200
        loaded = [{"requirement": 0, "state": "other_file"}]
        assert runner.finish(job, [picture], loaded=loaded).json()["outcome"] == "wrong"
        self.waits = self.submit({"prompt": "a fox <lora:film:1>", "seed": 8})
        self.ask("POST", "/api/v1/servers", {"alias": "cellar", "apiUrl": "http://10.0.0.9:7860"})
        for boot, number in (("one", 1), ("two", 1), ("one", 2), ("two", 2), ("one", 3)):
            self.under_test.beat(self.frozen, boot, number)
        assert self.hub.presence.known(self.frozen.server_id).frozen
        ink = SourceFile(self.attic.server_id, "attic", "ink.safetensors", "lora", 1_000, True)
        with store.write() as connection:  # the first copy, which waits for a person
            add_transfer(
                connection, "1" * 64, self.attic.server_id, "asked", ink, source_id=self.attic.server_id,
                actor="hub", by_person=False, text="", now_ms=self.hub.clock.now_ms(),
            )  # fmt: skip
        self.under_test.run(self.hub.flush())
        self.session = self.open_page(self.view)
        self.ids = {
            **{"done": self.done, "wrong": self.wrong, "waits": self.waits, "hub": self.hub.hub_id},
            **{"attic": self.attic.server_id, "frozen": self.frozen.server_id},
            **{"admin": self.under_test.admin.split("_")[1], "view": self.view.split("_")[1]},
        }
        (self.ids["cellar"],) = {*self.hub.presence.ids()} - {*self.ids.values()}
        self.hub.dispatcher._polling.start_cooldown(self.attic.server_id, 600)

    def filled(self, way: Way) -> tuple[str, str, Any]:
        """Method, path and body with the scene's ids."""
        text = msgspec.json.encode(way).decode()
        for name, ident in self.ids.items():
            text = text.replace(f"{{{name}}}", ident)
        call, body = msgspec.json.decode(text)
        return (*call.split(" "), body)

    def submit(self, payload: dict[str, Any]) -> str:
        return str(self.ask("POST", "/api/v1/jobs", {"payload": payload}, key=self.attic.key)["job_id"])

    def ask(self, method: str, path: str, body: Any, *, key: str | None = None) -> Any:
        answer = self.under_test.request(method, path, key=key or self.under_test.admin, **sent(body))
        assert answer.status_code < 300, answer.text
        return answer.json() if "json" in answer.headers.get("content-type", "") else None

    def open_page(self, key: str) -> str:
        """A browser that is signed in with that key, and has just looked."""
        answer = self.under_test.request("POST", "/login", content=urlencode({"key": key}))
        token = answer.cookies[cookie_name(self.hub.settings.port)]
        headers = {"Cookie": f"{cookie_name(self.hub.settings.port)}={token}"}
        assert self.under_test.request("GET", "/views/models", headers=headers).status_code == 200
        return token

    # --- what is there ----------------------------------------------------------------------------------

    def labelled(self, value: Any) -> str:
        """As text, with names in place of ids that are others each time."""
        text = msgspec.json.encode(value, enc_hook=repr).decode()
        for name, ident in self.ids.items():
            text = text.replace(ident, f"<{name}>")
        return RANDOM_ID.sub("<random>", UUID.sub("<uuid>", text))

    def parts(self, left_out: str = "") -> dict[str, Any]:
        """``left_out``: a table that only one of the ways writes."""
        hub, both = self.hub, (self.attic.server_id, self.frozen.server_id)
        dispatcher = hub.dispatcher
        jobs = [self.done, self.wrong, self.waits]
        found = {
            **{name: rows for name, rows in self.rows().items() if name != left_out},
            "presence": [repr(hub.presence.find(one)) for one in both],
            "runners": [dispatcher.runner_status(one) for one in both],
            "line": [dispatcher.paused, [[dispatcher.jobs_ahead(one, job) for job in jobs] for one in both]],
            "leases": [(lease.job_id, lease.server_id, lease.fence) for lease in dispatcher.leases.all()],
            "remembered": [hub.keys.is_known(self.ids[name]) for name in ("admin", "view", "attic")],
            "sessions": hub.sessions.is_fresh(self.session),
            "disk": sorted(self.labelled(path.parent.name) for path in hub.pictures.folder.rglob("*.png")),
            "to_clear": hub.log_holds_deleted,
            "network": hub.host,
        }
        return {name: self.labelled(value) for name, value in found.items()}

    def rows(self) -> dict[str, list[str]]:
        with self.hub.store.read() as connection:
            return {
                table.name: sorted(
                    self.labelled(
                        {name: value for name, value in row._mapping.items() if name not in SECRETS}
                    )
                    for row in connection.execute(sa.select(table))
                )
                for table in metadata.sorted_tables
            }

    # --- what an action does ----------------------------------------------------------------------------

    async def act(self, way: Way, key: str, left_out: str) -> tuple[dict[str, Any], set[str]]:
        """What is there after it, and which parts changed."""
        dispatcher, notifier = self.hub.dispatcher, self.hub.notifier
        wanted = NextRequest("attic-1", others=True, wait_s=50)
        runner = asyncio.ensure_future(dispatcher.next_job(self.attic.server_id, wanted, never))
        asking = dispatcher._polling.get_or_add(self.attic.server_id)
        parked = await until(lambda: asking.parked)
        jobs = {name: notifier.next_change_of(getattr(self, name)) for name in ("done", "wrong", "waits")}
        everybody, before = notifier.next_change(), self.parts(left_out)
        method, path, body = self.filled(way)
        transport = httpx.ASGITransport(self.under_test.app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            headers = {"Authorization": f"Bearer {key}"}
            answer = await client.request(method, path, headers=headers, **sent(body))
        assert answer.status_code < 300, answer.text
        if parked.is_set():
            looked = dispatcher._lock.locked
            await until(lambda: runner.done() or (asking.parked is not parked and not looked()))
        after = self.parts(left_out)
        changed = {name for name in after if after[name] != before[name]}
        after["woken"] = [everybody.is_set(), [name for name, change in jobs.items() if change.is_set()]]
        after["runner"] = [parked.is_set(), runner.done()]
        changed |= {name for name in ("woken", "runner") if after[name][0]}
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        return after, changed


async def never() -> bool:
    return False


async def until(condition: Callable[[], Any]) -> Any:
    for _ in range(2_000):
        if found := condition():
            return found
        await asyncio.sleep(0.005)
    raise AssertionError("It did not come to that.")


def sent(body: Any) -> dict[str, Any]:
    if isinstance(body, list):
        return {"content": urlencode([(name, value) for name, value in body])}
    return {"json": body} if body else {}


class Action:
    """``changes``: the parts of the hub that change. ``before``: what is asked first, ``by``: whose key asks;
    ``old_table``: what only the old contract writes. ``{attic}`` and others stand for ids of the scene."""

    def __init__(
        self, changes: str, *ways: Way, by: str = "admin", before: Way | None = None, old_table: str = ""
    ) -> None:
        self.changes, self.ways, self.by, self.before = set(changes.split()), ways, by, before
        self.old_table = old_table


def one_job(action: str, job: str, changes: str, *more: Way, before: Way | None = None) -> Action:
    """By the buttons for many, the API's and the page's."""
    api: Way = ("POST /api/v1/jobs/actions", {"action": action, "ids": [job]})
    page: Way = ("POST /views/jobs/actions", [("action", action), ("ids", job)])
    return Action(changes, api, page, *more, before=before)


FIELDS = ("prompt", "sampler_name", "steps", "cfg_scale", "width", "height")
FORM = [(name, str(CAT[name])) for name in FIELDS]
OF_FORM = {name: CAT[name] for name in (*FIELDS, "seed")}
OLD = {"target_server_alias": "attic", "generation_params": CAT}
KEY = {"scope": "view", "name": "phone"}
TOLD = "events woken runner"
QUEUED = f"jobs job_runs runners leases {TOLD}"
OF_DONE = "jobs job_payloads job_requirements job_pictures job_runs disk to_clear"
OF_ATTIC = "servers server_roots server_files models model_server_availability keys transfers"

TWINS = {
    **{
        f"{action} a copy": Action(
            "transfers events",
            (f"POST /api/v1/transfers/1/{action}", None),
            (f"POST /views/transfers/1/{action}", None),
        )
        for action in ("accept", "cancel")
    },
    "submit": Action(
        f"job_payloads {QUEUED}",
        ("POST /api/v1/jobs", {"payload": OF_FORM}),
        ("POST /views/new/queue", [*FORM, ("seed", "7")]),
        by="attic",
    ),
    "submit to a server": Action(
        f"job_payloads {QUEUED}",
        ("POST /api/v1/jobs", {"payload": CAT, "server": "{attic}", "targets": ["{attic}"]}),
        ("POST /api/v1/generate", OLD),
        ("POST /api/v2/generate", OLD),
        by="attic",
        old_table="legacy_jobs",
    ),
    "again": Action(
        QUEUED,
        ("POST /api/v1/jobs/{done}/again", {"seed": "same"}),
        ("POST /views/jobs/{done}/again", [("seed", "same")]),
        by="attic",
    ),
    "edit": Action(
        f"jobs {TOLD}",
        ("PATCH /api/v1/jobs/{waits}", {"name": "fox", "priority": 3}),
        ("POST /views/jobs/{waits}/edit", [("name", "fox"), ("priority", "3")]),
    ),
    "decide": Action(
        f"job_requirements {TOLD}",
        ("POST /api/v1/jobs/{waits}/decisions", {"requirement": 0, "decision": "run_anyway"}),
        ("POST /views/jobs/{waits}/decisions", [("requirement", "0"), ("decision", "run_anyway")]),
    ),
    "cancel": one_job(
        "cancel",
        "{waits}",
        f"jobs {TOLD}",
        ("POST /api/v1/jobs/{waits}/cancel", None),
        ("POST /api/v1/queue/jobs/{waits}/cancel", None),
        ("POST /api/v2/jobs/{waits}/cancel", None),
    ),
    "delete": one_job(
        "delete",
        "{done}",
        f"{OF_DONE} {TOLD}",
        ("DELETE /api/v1/jobs/{done}", None),
        ("DELETE /api/v1/queue/jobs/{done}", None),
    ),
    "star": one_job("star", "{done}", f"jobs {TOLD}", ("POST /api/v1/jobs/{done}/star", None)),
    "unstar": one_job(
        "unstar",
        "{done}",
        f"jobs {TOLD}",
        ("POST /api/v1/jobs/{done}/unstar", None),
        before=("POST /api/v1/jobs/{done}/star", None),
    ),
    "retry": one_job("retry", "{waits}", TOLD, ("POST /api/v1/jobs/{waits}/retry", None)),
    "earlier": one_job("earlier", "{waits}", f"jobs {TOLD}"),
    "later": one_job("later", "{waits}", f"jobs {TOLD}"),
    "accept": Action(
        f"jobs {TOLD}", ("POST /api/v1/jobs/{wrong}/accept", None), ("POST /views/jobs/{wrong}/accept", [])
    ),
    "pause": Action(
        f"hub_facts line {TOLD}", ("POST /api/v1/queue/pause", None), ("POST /views/queue/pause", [])
    ),
    "resume": Action(
        f"hub_facts line {TOLD}",
        ("POST /api/v1/queue/resume", None),
        ("POST /views/queue/resume", []),
        before=("POST /api/v1/queue/pause", None),
    ),
    "pause a server": Action(
        f"servers {TOLD}",
        ("POST /api/v1/queue/servers/{attic}/pause", None),
        ("POST /views/queue/servers/{attic}/pause", []),
    ),
    "resume a server": Action(
        f"servers runners {TOLD}",
        ("POST /api/v1/queue/servers/{attic}/resume", None),
        ("POST /views/queue/servers/{attic}/resume", []),
        before=("POST /api/v1/queue/servers/{attic}/pause", None),
    ),
    "rename": Action(
        "servers events",
        ("PATCH /api/v1/servers/{attic}", {"alias": "loft"}),
        ("POST /views/servers/{attic}/rename", [("alias", "loft")]),
    ),
    "forget": Action(
        f"{OF_ATTIC} presence runners remembered {TOLD}",
        ("DELETE /api/v1/servers/{attic}", None),
        ("DELETE /api/v1/servers/ATTIC", None),
        ("POST /views/servers/{attic}/forget", []),
    ),
    "thaw": Action(
        "servers retired_boots keys events presence",
        ("POST /api/v1/servers/{frozen}/thaw", None),
        ("POST /views/servers/{frozen}/thaw", []),
    ),
    "order": Action(
        "orders events presence",
        ("POST /api/v1/servers/{attic}/orders", {"kind": "rescan"}),
        ("POST /views/servers/{attic}/orders", [("kind", "rescan")]),
    ),
    "create a key": Action("keys events", ("POST /api/v1/keys", KEY), ("POST /views/keys", [*KEY.items()])),
    "create a join code": Action(
        "keys events", ("POST /api/v1/keys/join-code", None), ("POST /views/join/code", [])
    ),
    "revoke a key": Action(
        "keys remembered sessions events",
        ("DELETE /api/v1/keys/{view}", None),
        ("POST /views/keys/{view}/revoke", []),
    ),
    "open to the network": Action(
        "hub_facts network events",
        ("POST /api/v1/network", {"reachable": True}),
        ("POST /views/join/network", [("reachable", "true")]),
    ),
}

ONE_WAY = {
    *("heartbeat", "sync", "capabilities", "metadata", "join", "add_server", "register"),
    *("next_job", "renew", "refuse", "picture", "finish", "session_code", "login", "logout"),
    *("copy", "policy", "claim", "report", "wanted", "send", "piece"),
}
"""Routes that change something and have no twin."""
READS = {"availability_many", "check", "text"}
"""Routes that are asked by POST and change nothing. ``picture`` of the form for a new job is one too."""


@pytest.fixture
def new_scene(tmp_path: Path, sqlite_template: Path) -> Iterator[Callable[[], Scene]]:
    with ExitStack() as stack:
        yield lambda: Scene(tmp_path / f"hub{len(list(tmp_path.iterdir()))}", sqlite_template, stack)


@pytest.mark.parametrize("name", TWINS)
def test_every_way_leaves_the_same_behind(name: str, new_scene: Callable[[], Scene]) -> None:
    action, left = TWINS[name], []
    for way in action.ways:
        scene = new_scene()
        if action.before is not None:
            scene.ask(*scene.filled(action.before))
        key = scene.attic.key if action.by == "attic" else scene.under_test.admin
        there, changed = scene.under_test.run(scene.act(way, key, action.old_table))
        assert changed == action.changes, way
        left.append(there)
    for way, there in zip(action.ways, left, strict=True):
        for part, found in there.items():
            assert found == left[0][part], f"{part} by {way}"


def test_every_route_that_changes_something_is_compared_or_has_no_twin(
    new_scene: Callable[[], Scene],
) -> None:
    scene = new_scene()
    gone = [scene.filled(way)[:2] for action in TWINS.values() for way in action.ways]
    routes = [route for module in ROUTERS for route in module.router.routes]
    first = [
        next(route for route in routes if method in route.methods and route.path_regex.fullmatch(path))
        for method, path in gone
    ]
    others = [route for route in routes if not route.methods & {"GET", "HEAD"} and route not in first]
    assert {route.endpoint.__name__ for route in others} == ONE_WAY | READS
