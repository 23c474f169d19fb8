"""Where a press of Queue goes: announced by the page, taken by Gradio's event, made into a job, kept, sent.

The page announces a press with its token, and Gradio's event carries only the number it got: so the event,
which every visitor of a WebUI's page could fire, takes nothing that was not asked for.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from stablequeue_client.shared.errors import InvalidValueError, StableQueueError
from stablequeue_client.shared.wire.jobs import JOB_MAX_BYTES
from stablequeue_client.webui.host.capture import TABS, CapturedPage, PageInput
from stablequeue_client.webui.submit.outbox import SubmissionOutbox
from stablequeue_client.webui.submit.sender import Sender

logger = logging.getLogger(__name__)

COUNT_MAX = 100
SEED_RULES = ("increment", "random", "same")
ANNOUNCED_S = 60.0
NO_WORD_S = 10.0
SUBMISSIONS_MAX = 100
LARGEST = JOB_MAX_BYTES - 64 * 1024
"""Of one payload, in characters of pictures: a longer one the hub would refuse anyway."""


class PageCapture(Protocol):
    """``host.capture.GenerationCapture``."""

    def capture(self, tab: str, values: Sequence[Any], inputs: Sequence[PageInput]) -> CapturedPage: ...
    def payload(self, page: CapturedPage) -> dict[str, Any]: ...


@dataclass(frozen=True)
class SubmissionChoices:
    """What is chosen beside the button. ``target``: a server's id, "" for any; ``count`` jobs, whose seeds
    are one more each (``increment``), each ``random``, or the ``same``."""

    target: str = ""
    count: int = 1
    seed_rule: str = "increment"


@dataclass(frozen=True)
class Submission:
    """One press and what became of it. ``announced``: the event has not come yet; ``failed``: ``text`` says
    why. Once it is ``kept``, the folder and the sender know more."""

    key: str
    tab: str
    choices: SubmissionChoices
    at: float
    stage: Literal["announced", "making", "kept", "failed"] = "announced"
    text: str = ""


class SubmissionService:
    """One per process; it survives "Reload UI". Any thread may call anything."""

    def __init__(
        self,
        page_capture: PageCapture,
        kept: SubmissionOutbox,
        sender: Sender,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kept, self.sender = kept, sender
        self._page_capture = page_capture
        self._now = now
        self._lock = threading.Lock()
        self._submissions: OrderedDict[str, Submission] = OrderedDict()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stablequeue-queue")

    def start(self) -> None:
        """Send what is kept, and what will be. Returns at once."""
        self.sender.start()

    def announce(self, tab: str, choices: SubmissionChoices) -> str:
        """A press is coming; its key. Raises InvalidValueError."""
        if tab not in TABS or choices.seed_rule not in SEED_RULES or not 1 <= choices.count <= COUNT_MAX:
            raise InvalidValueError("There is no such choice.", remedy="Reload the page.")
        key = secrets.token_hex(16)
        self._put(Submission(key, tab, choices, self._now()))
        return key

    def capture(self, key: Any, tab: str, values: Sequence[Any], inputs: Sequence[PageInput]) -> bool:
        """Capture what Gradio's event brings for an announced press. Returns at once; False for any other."""
        with self._lock:
            submission = self._submissions.get(key) if isinstance(key, str) else None
            late = submission is None or self._now() - submission.at > ANNOUNCED_S
            if submission is None or late or submission.stage != "announced" or submission.tab != tab:
                return False
            self._submissions[submission.key] = replace(submission, stage="making")
        page = self._page_capture.capture(tab, values, inputs)
        self._worker.submit(self._make, submission, page)
        return True

    def submission(self, key: str) -> Submission | None:
        """Return what became of a press of this process; None when it is not known any more."""
        with self._lock:
            return self._submissions.get(key)

    def timed_out(self, submission: Submission) -> bool:
        """The page announced it, and its event did not come."""
        return submission.stage == "announced" and self._now() - submission.at > NO_WORD_S

    def send_again(self, key: str) -> bool:
        """A refused job is sent again; False when there is no such job."""
        done = self.kept.send_again(key)
        self.sender.wake()
        return done

    # --- in a thread of our own --------------------------------------------------------------------------

    def _make(self, submission: Submission, page: CapturedPage) -> None:
        try:
            payload = self._page_capture.payload(page)
            if sum(map(len, _texts(payload))) > LARGEST:
                raise InvalidValueError("The pictures in it are too large.", remedy="Use smaller ones.")
            self.kept.keep(submission.key, _job_submission(submission.choices, payload))
        except StableQueueError as error:
            self._put(replace(submission, stage="failed", text=f"{error.message} {error.remedy}".strip()))
        except Exception as error:
            logger.exception("StableQueue: a press of Queue failed.")
            text = f"It could not be made into a job ({type(error).__name__}). The WebUI's log says more."
            self._put(replace(submission, stage="failed", text=text))
        else:
            self._put(replace(submission, stage="kept"))
            self.sender.wake()

    def _put(self, submission: Submission) -> None:
        with self._lock:
            self._submissions[submission.key] = submission
            self._submissions.move_to_end(submission.key)
            while len(self._submissions) > SUBMISSIONS_MAX:
                self._submissions.popitem(last=False)


def _job_submission(choices: SubmissionChoices, payload: dict[str, Any]) -> dict[str, Any]:
    wanted: dict[str, Any] = {"payload": payload, "count": choices.count, "seed_rule": choices.seed_rule}
    if choices.target:
        wanted["targets"] = [choices.target]
    return wanted


def _texts(payload: dict[str, Any]) -> list[str]:
    pictures = [*(payload.get("init_images") or ()), payload.get("mask")]
    return [one for one in pictures if isinstance(one, str)]
