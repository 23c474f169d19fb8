"""The agent of this WebUI: a child process, kept running by one thread of ours.

The thread starts the child, starts it again when it died or when its settings changed, tells it when the
WebUI generates (so that it reads nothing then), and keeps ``capabilities.json`` up to date. The child
ends by itself when the WebUI is gone, however that ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stablequeue_client.webui.runtime import Runtime


@dataclass(frozen=True)
class AgentState:
    """``since``: Unix seconds of the start of the running agent, or of the end of the last one.

    ``last_words``: the last line it printed (what was wrong, when it is not running). ``problem``: what
    keeps it from working although it runs or is started again and again; empty when all is well.
    """

    running: bool
    since: float
    last_words: str
    problem: str = ""


class AgentKeeper:
    """One per WebUI process. Any thread may call anything; nothing here blocks for long but ``stop``."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt

    def start(self) -> None:
        """Keep an agent running from now on. Returns at once; does nothing when it is kept already."""
        raise NotImplementedError

    def restart(self) -> None:
        """Settings or connection changed: look now instead of in some seconds. Returns at once."""
        raise NotImplementedError

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the agent and do not start it again."""
        raise NotImplementedError

    def state(self) -> AgentState:
        """How the agent is; costs nothing."""
        raise NotImplementedError

    def note_generating(self, generating: bool) -> None:
        """The WebUI generates (or does not any more); to be repeated at least every 2 s while it does."""
        raise NotImplementedError
