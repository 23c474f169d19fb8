"""A real hub that a fake host joined, and another server there that makes jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from ..agent.real_hub import RealHub
from ..fake_runner import DiskFile, FakeRunner, FakeWebUI
from ..hosts.running_host import FakeHost
from .conftest import RT

JOIN = """
import msgspec
from stablequeue_client.hub_client.identity import new_identity, store_identity
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.shared.wire.inventory import JoinRequest
made = new_identity("desk", {url!r})
said = HubApi({url!r}, {key!r}).join(JoinRequest(made.server_id, made.secret, "desk", "1"))
made = msgspec.structs.replace(made, alias=said.alias, hub_id=said.hub_id)
store_identity(rt.places.server_dir, made)
result = [made.server_id, made.key]
"""


def join(host: FakeHost, hub: RealHub) -> tuple[str, str]:
    """Its server id there, and its key."""
    server_id, key = host.run(RT + JOIN.format(url=hub.url, key=hub.join_key()))
    return str(server_id), str(key)


def until(true: Callable[[], Any], what: str, limit_s: float = 30) -> Any:
    end = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.05)
    return found


@dataclass
class Attic:
    """A server with a checkpoint and a LoRA that works for everybody, when it is told to."""

    hub: RealHub
    server_id: str = "a" * 32
    secret: str = "b" * 64
    webui: FakeWebUI = field(
        default_factory=lambda: FakeWebUI(
            files=[
                DiskFile("checkpoint", "base.safetensors", "base"),
                DiskFile("lora", "ink.safetensors", "ink"),
            ]
        )
    )

    def __post_init__(self) -> None:
        join_key = self.hub.join_key()
        body = {"server_id": self.server_id, "secret": self.secret, "alias": "attic"}
        self.ask("POST", "/api/v1/servers/join", key=join_key, json=body)
        path = f"/api/v1/servers/{self.server_id}"
        told = self.webui.inventory()
        self.ask("POST", f"{path}/models/sync", json=told)
        beat = {"boot_id": "c" * 16, "boot_counter": 1, "index_id": "index", "sequence": told["sequence"]}
        self.ask("POST", f"{path}/heartbeat", json={**beat, "digest": told["digest"], "activity": {}})
        says = {"webui": "forge", "works_for_others": "always", "samplers": ["Euler"]}
        self.ask("PUT", f"{path}/capabilities", json=says)
        self.runner = FakeRunner(self.webui, self._call, self.server_id)
        self.runner.next()

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        if "content" in options:
            options["data"] = options.pop("content")
        return self.ask(method, path, **options)

    def ask(self, method: str, path: str, key: str = "", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {key or f'sq_{self.server_id}_{self.secret}'}"}
        answer = requests.request(method, self.hub.url + path, headers=headers, timeout=30, **options)
        assert answer.ok, (path, answer.status_code, answer.text)
        return answer

    def make_all(self) -> None:
        """Every job that it gets now."""
        while (job := self.runner.next()) is not None:
            self.runner.work(job)

    def submit(self, key: str, prompt: str, **options: Any) -> str:
        """A job for this server, in the name of whose ``key`` it is."""
        payload = {
            "prompt": prompt,
            "steps": 20,
            "width": 512,
            "height": 512,
            "sampler_name": "Euler",
            "override_settings": {"sd_model_checkpoint": "base"},
            **options.pop("payload", {}),
        }
        body = {"payload": payload, "targets": [self.server_id], "server": "attic", **options}
        made = self.ask("POST", "/api/v1/jobs", key=key, json=body).json()
        return str(made["job_id"])
