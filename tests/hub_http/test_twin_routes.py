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
from dataclasses import dataclass, replace
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

from .conftest import BASE, FakeClock, Hosts, HubUnderTest, Server

FILES = (("checkpoint", "base.safetensors", "base"), ("lora", "ink.safetensors", "ink"))
CAT = {
    **{"prompt": "a cat", "negative_prompt": "", "steps": 20, "sampler_name": "Euler a", "cfg_scale": 6.5},
    **{"width": 512, "height": 512, "seed": 7, "batch_size": 1, "n_iter": 1, "override_settings": {}},
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RANDOM_ID = re.compile(r"\b[0-9a-f]{16}\b")
SECRETS = {"secret_hash", "token_hash"}
Way = Callable[["Scene"], tuple[str, str, Any]]
"""Method, path, and what is sent: an object as JSON, pairs as a form."""


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
        stack.callback(self.hub.lanes.close)
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
        (self.cellar,) = {*self.hub.presence.ids()} - {self.attic.server_id, self.frozen.server_id}
        for boot, number in (("one", 1), ("two", 1), ("one", 2), ("two", 2), ("one", 3)):
            self.under_test.beat(self.frozen, boot, number)
        assert self.hub.presence.known(self.frozen.server_id).frozen
        self.under_test.run(self.hub.flush())
        self.session = self.open_page(self.view)
        self.hub.dispatcher._asking.cool(self.attic.server_id, 600)

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
        known = {name: getattr(self, name) for name in ("done", "wrong", "waits")}
        known |= {"admin": self.under_test.admin.split("_")[1], "view": self.view.split("_")[1]}
        for name, ident in {**known, "hub": self.hub.hub_id, "cellar": self.cellar}.items():
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
            "runners": [
                (dispatcher.asks(one), dispatcher.cools(one), dispatcher.is_in_use(one)) for one in both
            ],
            "line": [dispatcher.paused, [[dispatcher.before(one, job) for job in jobs] for one in both]],
            "leases": [(lease.job_id, lease.server_id, lease.fence) for lease in dispatcher.leases.all()],
            "remembered": [
                hub.keys.is_known(key.split("_")[1])
                for key in (self.under_test.admin, self.view, self.attic.key)
            ],
            "sessions": hub.sessions.is_fresh(self.session),
            "disk": sorted(self.labelled(path.parent.name) for path in hub.pictures.folder.rglob("*.png")),
            "to_clear": hub.deleted_on_disk,
            "network": hub.host,
        }
        return {
            name: self.labelled(value).replace(str(hub.settings.data_dir), "")
            for name, value in found.items()
        }

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
        dispatcher, bell = self.hub.dispatcher, self.hub.bell
        wanted = NextRequest("attic-1", others=True, wait_s=50)
        runner = asyncio.ensure_future(dispatcher.next_job(self.attic.server_id, wanted, never))
        asking = dispatcher._asking.of(self.attic.server_id)
        parked = await until(lambda: asking.parked)
        jobs = {name: bell.next_ring_of(getattr(self, name)) for name in ("done", "wrong", "waits")}
        everybody, before = bell.next_ring(), self.parts(left_out)
        method, path, body = way(self)
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
        after["woken"] = [everybody.is_set(), [name for name, ring in jobs.items() if ring.is_set()]]
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
    return {"content": urlencode(body)} if isinstance(body, list) else {"json": body} if body else {}


@dataclass(frozen=True)
class Action:
    """``changes``: the parts of the hub that change; ``old_table``: what only the old contract writes."""

    changes: str
    ways: dict[str, Way]
    by: str = "admin"
    before: Callable[[Scene], Any] | None = None
    old_table: str = ""


def one_job(action: str, job: str, changes: str, **more: Way) -> Action:
    """By the API's buttons for many, and the page's."""
    ways: dict[str, Way] = {
        "actions": lambda s: ("POST", "/api/v1/jobs/actions", {"action": action, "ids": [getattr(s, job)]}),
        "page": lambda s: ("POST", "/views/jobs/actions", [("action", action), ("ids", getattr(s, job))]),
    }
    return Action(changes, {**ways, **more})


def api_job(what: str, job: str) -> Way:
    return lambda s: ("POST", f"/api/v1/jobs/{getattr(s, job)}/{what}", None)


def pausing(what: str, changes: str, server: bool = False) -> Action:
    def way(prefix: str) -> Way:
        def there(s: Scene) -> tuple[str, str, Any]:
            its = f"/servers/{s.attic.server_id}" if server else ""
            return "POST", f"{prefix}/queue{its}/{what}", None if prefix.startswith("/api") else []

        return there

    api = way("/api/v1")
    undone: Callable[[Scene], Any] = lambda s: s.ask("POST", api(s)[1].replace("resume", "pause"), None)  # noqa: E731
    return Action(changes, {"api": api, "page": way("/views")}, before=undone if what == "resume" else None)


FIELDS = ("prompt", "sampler_name", "steps", "cfg_scale", "width", "height")
FORM = [(name, str(CAT[name])) for name in FIELDS]
OF_FORM = {name: CAT[name] for name in (*FIELDS, "seed")}
TOLD = "events woken runner"
QUEUED = "jobs job_payloads job_runs runners leases events woken runner"

TWINS: dict[str, Action] = {
    "submit": Action(
        QUEUED,
        {
            "api": lambda s: ("POST", "/api/v1/jobs", {"payload": OF_FORM}),
            "page": lambda s: ("POST", "/views/new/queue", [*FORM, ("seed", "7")]),
        },
        by="attic",
    ),
    "submit to a server": Action(
        QUEUED,
        {
            "api": lambda s: (
                "POST",
                "/api/v1/jobs",
                {"payload": CAT, "server": s.attic.server_id, "targets": [s.attic.server_id]},
            ),
            **{
                version: lambda s, version=version: (  # type: ignore[misc]
                    "POST",
                    f"/api/{version}/generate",
                    {"target_server_alias": "attic", "generation_params": CAT},
                )
                for version in ("v1", "v2")
            },
        },
        by="attic",
        old_table="legacy_jobs",
    ),
    "again": Action(
        QUEUED.replace("job_payloads ", ""),
        {
            "api": lambda s: ("POST", f"/api/v1/jobs/{s.done}/again", {"seed": "same"}),
            "page": lambda s: ("POST", f"/views/jobs/{s.done}/again", [("seed", "same")]),
        },
        by="attic",
    ),
    "edit": Action(
        f"jobs {TOLD}",
        {
            "api": lambda s: ("PATCH", f"/api/v1/jobs/{s.waits}", {"name": "fox", "priority": 3}),
            "page": lambda s: ("POST", f"/views/jobs/{s.waits}/edit", [("name", "fox"), ("priority", "3")]),
        },
    ),
    "decide": Action(
        f"job_requirements {TOLD}",
        {
            "api": lambda s: (
                "POST",
                f"/api/v1/jobs/{s.waits}/decisions",
                {"requirement": 0, "decision": "run_anyway"},
            ),
            "page": lambda s: (
                "POST",
                f"/views/jobs/{s.waits}/decisions",
                [("requirement", "0"), ("decision", "run_anyway")],
            ),
        },
    ),
    "cancel": one_job(
        "cancel",
        "waits",
        f"jobs {TOLD}",
        api=api_job("cancel", "waits"),
        v1=lambda s: ("POST", f"/api/v1/queue/jobs/{s.waits}/cancel", None),
        v2=lambda s: ("POST", f"/api/v2/jobs/{s.waits}/cancel", None),
    ),
    "delete": one_job(
        "delete",
        "done",
        f"jobs job_payloads job_requirements job_pictures job_runs disk to_clear {TOLD}",
        api=lambda s: ("DELETE", f"/api/v1/jobs/{s.done}", None),
        v1=lambda s: ("DELETE", f"/api/v1/queue/jobs/{s.done}", None),
    ),
    "star": one_job("star", "done", f"jobs {TOLD}", api=api_job("star", "done")),
    "unstar": replace(
        one_job("unstar", "done", f"jobs {TOLD}", api=api_job("unstar", "done")),
        before=lambda s: s.ask(*api_job("star", "done")(s)),
    ),
    "retry": one_job("retry", "waits", TOLD, api=api_job("retry", "waits")),
    "earlier": one_job("earlier", "waits", f"jobs {TOLD}"),
    "later": one_job("later", "waits", f"jobs {TOLD}"),
    "accept": Action(
        f"jobs {TOLD}",
        {
            "api": api_job("accept", "wrong"),
            "page": lambda s: ("POST", f"/views/jobs/{s.wrong}/accept", []),
        },
    ),
    "pause": pausing("pause", f"hub_facts line {TOLD}"),
    "resume": pausing("resume", f"hub_facts line {TOLD}"),
    "pause a server": pausing("pause", f"servers {TOLD}", server=True),
    "resume a server": pausing("resume", f"servers runners {TOLD}", server=True),
    "rename": Action(
        "servers events",
        {
            "api": lambda s: ("PATCH", f"/api/v1/servers/{s.attic.server_id}", {"alias": "loft"}),
            "page": lambda s: ("POST", f"/views/servers/{s.attic.server_id}/rename", [("alias", "loft")]),
        },
    ),
    "forget": Action(
        f"servers server_roots server_files models model_server_availability keys "
        f"presence runners remembered {TOLD}",
        {
            "api": lambda s: ("DELETE", f"/api/v1/servers/{s.attic.server_id}", None),
            "by alias": lambda s: ("DELETE", "/api/v1/servers/ATTIC", None),
            "page": lambda s: ("POST", f"/views/servers/{s.attic.server_id}/forget", []),
        },
    ),
    "thaw": Action(
        "servers retired_boots keys events presence",
        {
            "api": lambda s: ("POST", f"/api/v1/servers/{s.frozen.server_id}/thaw", None),
            "page": lambda s: ("POST", f"/views/servers/{s.frozen.server_id}/thaw", []),
        },
    ),
    "order": Action(
        "orders events presence",
        {
            "api": lambda s: ("POST", f"/api/v1/servers/{s.attic.server_id}/orders", {"kind": "rescan"}),
            "page": lambda s: ("POST", f"/views/servers/{s.attic.server_id}/orders", [("kind", "rescan")]),
        },
    ),
    "create a key": Action(
        "keys events",
        {
            "api": lambda s: ("POST", "/api/v1/keys", {"scope": "view", "name": "phone"}),
            "page": lambda s: ("POST", "/views/keys", [("scope", "view"), ("name", "phone")]),
        },
    ),
    "create a join code": Action(
        "keys events",
        {
            "api": lambda s: ("POST", "/api/v1/keys/join-code", None),
            "page": lambda s: ("POST", "/views/join/code", [("alias", "loft")]),
        },
    ),
    "revoke a key": Action(
        "keys remembered sessions events",
        {
            "api": lambda s: ("DELETE", f"/api/v1/keys/{s.view.split('_')[1]}", None),
            "page": lambda s: ("POST", f"/views/keys/{s.view.split('_')[1]}/revoke", []),
        },
    ),
    "open to the network": Action(
        "hub_facts network events",
        {
            "api": lambda s: ("POST", "/api/v1/network", {"reachable": True}),
            "page": lambda s: ("POST", "/views/join/network", [("reachable", "true")]),
        },
    ),
}

ONE_WAY = {
    *("heartbeat", "sync", "capabilities", "metadata", "join", "add_server", "register"),
    *("next_job", "renew", "refuse", "picture", "finish", "session_code", "login", "logout"),
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
    action = TWINS[name]
    left: dict[str, dict[str, Any]] = {}
    for way, request in action.ways.items():
        scene = new_scene()
        if action.before is not None:
            action.before(scene)
        key = scene.attic.key if action.by == "attic" else scene.under_test.admin
        left[way], changed = scene.under_test.run(scene.act(request, key, action.old_table))
        assert changed == set(action.changes.split()), way
    first, *others = left
    for other in others:
        for part, there in left[other].items():
            assert there == left[first][part], f"{part} by {other} and {first}"


def test_every_route_that_changes_something_is_compared_or_has_no_twin(
    new_scene: Callable[[], Scene],
) -> None:
    scene, gone = new_scene(), set()
    for action in TWINS.values():
        for way in action.ways.values():
            method, path, _ = way(scene)
            gone |= {
                (method, route.path)
                for module in ROUTERS
                for route in module.router.routes
                if method in route.methods and route.path_regex.fullmatch(path)
            }
    left_over = {
        route.endpoint.__name__
        for module in ROUTERS
        for route in module.router.routes
        if not route.methods & {"GET", "HEAD"}
        and not any((method, route.path) in gone for method in route.methods)
    }
    assert left_over == ONE_WAY | READS
