"""Where a generation would run if it was queued: the hub's check, asked in a thread of its own.

The hub is sent the names of models, samplers and upscalers, and no prompt. So typing ordinary words asks
nothing, and an answer is remembered for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.generation.requirements import Requirement
from stablequeue_client.shared.wire.jobs import JobCheck, Reason, ServerCheck
from stablequeue_client.webui.views.prompt_check_view import PromptLineTarget, who_has

FRESH_S = 10.0
FAILED_FOR_S = 5.0
CACHED_MAX = 16
NO_WEBUI = ("no_agent", "no_webui")
"""Reasons of a server without a WebUI that makes pictures: not counted where another server is able."""
Check = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""``JobCheckRequest`` -> ``JobCheck`` as JSON values; raises StableQueueError."""
_SAMPLING = ("sampler_name", "scheduler")
_SAMPLING_OF_HIRES = ("hr_sampler_name", "hr_scheduler", "hr_upscaler")


class TargetCheckCache:
    """What the hub says of the last generations. Any thread may call ``known``; it returns at once."""

    def __init__(self, check: Check, now: Callable[[], float] = time.monotonic) -> None:
        self._check, self._now = check, now
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[float, JobCheck | None]] = {}
        self._wanted: tuple[str, dict[str, Any]] | None = None
        self._asked = ""
        self._busy = False
        self._asker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stablequeue-where")

    def known(
        self, requirements: Sequence[Requirement], target: str, values: Mapping[str, Any] | None = None
    ) -> tuple[JobCheck | None, bool]:
        """(what the hub said of it, whether it is being asked). ``target``: a server's id, "" for any.
        ``values``: of the page, for what it samples with."""
        request: dict[str, Any] = {"payload": {**names_alone(requirements), **sampling(values or {})}}
        if target:
            request["targets"] = [target]
        key = msgspec.json.encode(request).decode()
        with self._lock:
            kept = self._answers.get(key)
            age = self._now() - kept[0] if kept else 0.0
            if kept is not None and age < (FRESH_S if kept[1] is not None else FAILED_FOR_S):
                return kept[1], False
            # Of what was typed meanwhile only the last counts, and what is being asked is not asked again.
            self._wanted = (key, request) if key != self._asked else None
            if not self._busy:
                self._busy = True
                self._asker.submit(self._ask)
            return (kept[1] if kept else None), True

    def _ask(self) -> None:
        while True:
            with self._lock:
                if self._wanted is None:
                    self._asked, self._busy = "", False
                    return
                (key, request), self._wanted = self._wanted, None
                self._asked = key
            answer: JobCheck | None = None
            try:
                answer = msgspec.convert(self._check(request), JobCheck)
            except (StableQueueError, msgspec.ValidationError):
                answer = None  # the line says what is known here, and asks again
            finally:
                with self._lock:
                    self._answers.pop(key, None)
                    self._answers[key] = (self._now(), answer)
                    while len(self._answers) > CACHED_MAX:
                        del self._answers[next(iter(self._answers))]


def names_alone(requirements: Iterable[Requirement]) -> dict[str, Any]:
    """A payload that names the same models in the same places, and says nothing else."""
    words: list[str] = []
    settings: dict[str, Any] = {}
    payload: dict[str, Any] = {}
    modules: list[str] = []
    for one in requirements:
        if one.role == "lora":
            words.append(f"<{one.tag or 'lora'}:{one.name}:1>")
        elif one.role == "embedding":
            words.append(one.name)
        elif one.role == "checkpoint":
            settings["sd_model_checkpoint"] = one.name
        elif one.role == "refiner":
            payload.update(refiner_checkpoint=one.name, refiner_switch_at=0.8)
        elif one.role == "hires_checkpoint":
            payload.update(enable_hr=True, hr_checkpoint_name=one.name)
        elif one.role == "vae":
            settings["sd_vae"] = one.name
        else:
            modules.append(one.name)
    if modules:
        settings["forge_additional_modules"] = list(dict.fromkeys(modules))
    return {"prompt": ", ".join(dict.fromkeys(words)), **payload, "override_settings": settings}


def sampling(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a generation needs besides models, as far as the page's values name it."""
    hires = {"enable_hr": True} if values.get("enable_hr") is True else {}
    wanted = (*_SAMPLING, *(_SAMPLING_OF_HIRES if hires else ()))
    return {name: values[name] for name in wanted if isinstance(values.get(name), str)} | hires


def target_words(check: JobCheck, target: str) -> PromptLineTarget | None:
    """Return what is said beside the line; None where there is no choice and nothing in the way."""
    if target:
        return _of_one(check, next((one for one in check.servers if one.server_id == target), None))
    able = sum(one.ok for one in check.servers)
    if not able:
        return _of_none(check)
    servers = [one for one in check.servers if not _is_no_webui(one)]
    if len(servers) < 2:
        return None
    reasons = tuple(_why(check, one) for one in servers if not one.ok)
    return PromptLineTarget("good", f"Queued, it runs on {able} of {len(servers)} servers.", reasons)


def _of_none(check: JobCheck) -> PromptLineTarget | None:
    """Return why no server is able.

    A server alone is this WebUI: it runs, and the line itself names the models that are missing here.
    """
    codes = [reason.code for one in check.servers for reason in one.reasons]
    if len(check.servers) < 2 and all(code.startswith("model_") or code == "no_runner" for code in codes):
        return None
    reasons = tuple(_why(check, one) for one in sorted(check.servers, key=_is_no_webui))
    return PromptLineTarget("warn", "Queued, it waits: no server can make it now.", reasons)


def _of_one(check: JobCheck, server: ServerCheck | None) -> PromptLineTarget:
    if server is None:
        return PromptLineTarget("warn", "The hub no longer knows the chosen server.")
    if server.ok:
        return PromptLineTarget("good", f"Queued, it runs on {server.alias}.")
    return PromptLineTarget("warn", "Queued, it waits.", (_why(check, server),))


def _why(check: JobCheck, server: ServerCheck) -> str:
    """ "forge-b: ink is missing there. forge-a has it." """
    said = [_with_who(check, reason) for reason in server.reasons[:2]]
    more = len(server.reasons) - len(said)
    return f"{server.alias}: {' '.join(said)}" + (f" And {more} more." if more else "")


def _with_who(check: JobCheck, reason: Reason) -> str:
    helps = [one for one in check.helps if one.requirement == reason.requirement and one.servers]
    if reason.code != "model_missing" or not helps:
        return reason.text
    return f"{reason.text} {who_has(helps[0].servers)}"


def _is_no_webui(server: ServerCheck) -> bool:
    return any(reason.code in NO_WEBUI for reason in server.reasons)
