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

from stablequeue_client.hub_client.user_calls import UserCalls
from stablequeue_client.hub_client.view_cache import HubViewCache
from stablequeue_client.index.snapshot import IndexReader
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.host.extension_folders import ExtensionFolders
from stablequeue_client.webui.parts.states import AgentState, OutboxJob, RunnerStatus
from stablequeue_client.webui.settings.webui_settings import WebuiSettings

T = TypeVar("T")


class AgentPart(Protocol):
    """``agent_process.keeper``."""

    def start(self) -> None: ...
    def restart(self) -> None: ...
    def state(self) -> AgentState: ...
    def note_generating(self, generating_now: bool) -> None: ...


class RunnerPart(Protocol):
    """``runner.runner``."""

    def start(self) -> None: ...
    def state(self) -> RunnerStatus: ...
    def note_use(self) -> None: ...
    def note_generating(self, generating: bool) -> None: ...
    def not_now(self) -> None: ...
    def resume_helping(self) -> None: ...


class OutboxPart(Protocol):
    """``submit.outbox``."""

    def all(self) -> list[OutboxJob]: ...
    def drop(self, key: str) -> bool: ...


class SubmissionPart(Protocol):
    """``submit.submission``: what a press of Queue leads to."""

    @property
    def kept(self) -> OutboxPart: ...
    def start(self) -> None: ...
    def capture(self, key: Any, tab: str, values: Sequence[Any], inputs: Sequence[Any]) -> bool: ...
    def send_again(self, key: str) -> bool: ...


class QueueLinePart(Protocol):
    """``submit.status_line``: what is said beside the Queue button."""

    def announce(self, values: Mapping[str, Any]) -> dict[str, Any]: ...
    def line(self, tab: str, press_key: str) -> dict[str, Any]: ...
    def change(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]: ...
    def choices(self) -> dict[str, Any]: ...


class PromptCheckPart(Protocol):
    """``prompt_line.check``: the line under Generate."""

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]: ...


class CardMarksPart(Protocol):
    """``prompt_line.card_marks``."""

    def marks(self, kind: Kind) -> bytes: ...


@dataclass
class Runtime:
    """One per process; it survives "Reload UI", with its threads and the agent."""

    host: Host
    places: ExtensionFolders
    settings: Callable[[], WebuiSettings]
    """Resolved anew at each call: environment, TOML, the WebUI's options."""
    models: IndexReader
    hub: HubViewCache
    own_hub: OwnHub
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """What each request to our routes must carry; new in each process, never written anywhere."""
    agent: AgentPart = field(init=False)
    """This and what follows is set right after the runtime is made, because it is given the runtime."""
    runner: RunnerPart = field(init=False)
    queueing: SubmissionPart = field(init=False)
    queue_line: QueueLinePart = field(init=False)
    prompt_check: PromptCheckPart = field(init=False)
    card_marks: CardMarksPart = field(init=False)
    calls: UserCalls = field(init=False)
    """What a person asks of the hub; for threads that may wait."""
    _workers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=2, thread_name_prefix="stablequeue-worker"),
        repr=False,
    )

    def __post_init__(self) -> None:
        self.calls = UserCalls(self.places.server_dir, ca_file=lambda: self.settings().ca_file)

    async def in_worker(self, call: Callable[[], T]) -> T:
        """Run something that blocks, in one of our own two threads (the host's 40 are for its own work)."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, call)
