"""The one object the extension consists of in a WebUI process: what its parts share.

A part knows the others as what stands here, never by their modules; ``shell`` alone makes them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from stablequeue_client.hub_client.user_calls import HubCalls
from stablequeue_client.hub_client.view_cache import HubReader
from stablequeue_client.index.snapshot import LocalModels
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.shared.models.model_files import Kind
from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.host.places import Places
from stablequeue_client.webui.parts.states import AgentState, KeptJob, RunnerState
from stablequeue_client.webui.settings.webui_settings import WebuiSettings

T = TypeVar("T")


class Agent(Protocol):
    """``agent_process.keeper``."""

    def start(self) -> None: ...
    def restart(self) -> None: ...
    def state(self) -> AgentState: ...
    def note_generating(self, generating_now: bool) -> None: ...


class Runner(Protocol):
    """``runner.runner``."""

    def start(self) -> None: ...
    def state(self) -> RunnerState: ...
    def note_use(self) -> None: ...
    def note_generating(self, generating: bool) -> None: ...
    def not_now(self) -> None: ...
    def help_again(self) -> None: ...


class KeptJobs(Protocol):
    """``submit.outbox``."""

    def all(self) -> list[KeptJob]: ...
    def drop(self, key: str) -> bool: ...


class Queue(Protocol):
    """``submit.submission``: what a press of Queue leads to."""

    @property
    def kept(self) -> KeptJobs: ...
    def start(self) -> None: ...
    def take(self, key: Any, tab: str, values: Sequence[Any], inputs: Sequence[Any]) -> bool: ...
    def send_again(self, key: str) -> bool: ...


class QueueLine(Protocol):
    """``submit.status_line``: what is said beside the Queue button."""

    def announce(self, values: Mapping[str, Any]) -> dict[str, Any]: ...
    def line(self, tab: str, press_key: str) -> dict[str, Any]: ...
    def change(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]: ...
    def choices(self) -> dict[str, Any]: ...


class Gate(Protocol):
    """``prompt_line.check``: the line under Generate."""

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]: ...


class Cards(Protocol):
    """``prompt_line.card_marks``."""

    def marks(self, kind: Kind) -> bytes: ...


@dataclass
class Runtime:
    """One per process; it survives "Reload UI", with its threads and the agent."""

    host: Host
    places: Places
    settings: Callable[[], WebuiSettings]
    """Resolved anew at each call: environment, TOML, the WebUI's options."""
    models: LocalModels
    hub: HubReader
    own_hub: OwnHub
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """What each request to our routes must carry; new in each process, never written anywhere."""
    agent: Agent = field(init=False)
    """This and what follows is set right after the runtime is made, because it is given the runtime."""
    runner: Runner = field(init=False)
    queueing: Queue = field(init=False)
    queue_line: QueueLine = field(init=False)
    gate: Gate = field(init=False)
    cards: Cards = field(init=False)
    calls: HubCalls = field(init=False)
    """What a person asks of the hub; for threads that may wait."""
    _workers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=2, thread_name_prefix="stablequeue-worker"),
        repr=False,
    )

    def __post_init__(self) -> None:
        self.calls = HubCalls(self.places.server_dir, ca_file=lambda: self.settings().ca_file)

    async def in_worker(self, call: Callable[[], T]) -> T:
        """Run something that blocks, in one of our own two threads (the host's 40 are for its own work)."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, call)
