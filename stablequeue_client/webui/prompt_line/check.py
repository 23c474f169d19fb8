"""The prompt check: is everything here that the next generation names?

Answered from this process's own values within milliseconds; whether a hub hangs makes no difference. Who else
has what is missing is asked beside it, once per name, and comes with a later answer.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from stablequeue_client.files.file_io import WINDOWS
from stablequeue_client.index.rows import IndexRow, RootRow
from stablequeue_client.index.snapshot import Snapshot
from stablequeue_client.prompt_check import CheckResult, Finding, LocalNames, written_name
from stablequeue_client.prompt_check import check as check_requirements
from stablequeue_client.shared.generation.requirements import (
    EmbeddingNames,
    Requirement,
    can_be_written,
    generation_requirements,
)
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.model_files.nearest_names import NearestNames
from stablequeue_client.shared.views.labels import visible
from stablequeue_client.shared.wire.inventory import native_path
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.prompt_line.target_check import TargetCheckCache, target_words
from stablequeue_client.webui.views.prompt_check_view import (
    PromptLine,
    PromptLineItem,
    PromptLineTarget,
    plain_sentence,
    prompt_line,
)

T = TypeVar("T")
Name = tuple[Kind, str]
REFRESH_WAIT_S = 0.05
"""How long an answer waits for the index; what comes later serves the next answer."""
KNOWN_FOR_S = 2.0
WHO_FOR_S = 60.0
WHO_MAX = 20
NEAREST_FOR_S = 0.05
"""Time limit for suggesting similar names for one generation's missing ones."""
LONGEST_NAME = 300


class PromptCheck:
    """What is remembered between two answers. Any thread may call ``check``."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._own = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stablequeue-prompt-check")
        self._refreshing: Future[bool] | None = None
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._who = WhoHasCache(rt)
        self._looks = FileProbe()
        self._where = TargetCheckCache(lambda request: rt.calls.run(lambda hub: hub.check_job(request)))

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The line for these values (docs/extension-api.md). From local values only; never waits for a hub.

        ``html``: the line. ``tone``: good, note, warn or bad; "" when nothing is named. ``ask``: the
        sentences to ask about before Generate, as plain text. ``more``: who else has it is being asked; ask
        again soon.
        """
        self._refresh()
        snapshot = self._rt.models.snapshot
        wanted = generation_requirements(self._as_in_the_api(values), self._embeddings(snapshot))
        result = check_requirements(wanted, self._names(snapshot))
        others, asking = self._who.known(result.missing[:WHO_MAX])
        target, asking_where = self._target(wanted, values)
        return self._answer(result, others, asking, target, asking_where)

    def _target(
        self, wanted: Sequence[Requirement], values: Mapping[str, Any]
    ) -> tuple[PromptLineTarget | None, bool]:
        """Return where Queue would have it made, as far as the hub said, and whether it is being asked."""
        if self._rt.settings().queue_button == "hidden" or self._rt.hub.state().kind != "connected":
            return None, False
        chosen = values.get("queue_target")
        server = chosen if isinstance(chosen, str) else ""
        check, asking = self._where.known(wanted, server, values)
        return (target_words(check, server) if check is not None else None), asking

    def _answer(
        self,
        result: CheckResult,
        others: Mapping[Name, list[str]],
        asking: bool,
        target: PromptLineTarget | None,
        asking_where: bool,
    ) -> dict[str, Any]:
        items = [_item(found, others) for found in result.findings if found.weight != "good"]
        line = PromptLine(
            items=tuple(items),
            named=len(result.findings),
            unread=sum(found.status == "not_read" for found in result.findings),
            asking=asking,
            target=target,
        )
        asks = self._rt.settings().ask_before_generate
        return {
            "html": str(prompt_line(line)),
            "tone": result.weight if result.findings else "",
            "asks": asks,
            "ask": [plain_sentence(item) for item in items if item.tone == "bad"] if asks else [],
            "more": asking or asking_where,
        }

    def _refresh(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = self._own.submit(self._rt.models.refresh)
        try:
            self._refreshing.result(REFRESH_WAIT_S)
        except FutureTimeout:
            return

    # --- values -----------------------------------------------------------------------------------------

    def _as_in_the_api(self, values: Mapping[str, Any]) -> dict[str, Any]:
        host = self._rt.host
        settings: dict[str, Any] = {
            "sd_model_checkpoint": values.get("checkpoint") or host.current_checkpoint(),
            "sd_lora": host.option("sd_lora"),
            "enable_prompt_comments": host.option("enable_prompt_comments", True),
        }
        if "modules" in values:
            settings["forge_additional_modules"] = values["modules"]
        elif "vae" in values:
            settings["sd_vae"] = values["vae"]
        else:
            settings["forge_additional_modules"] = host.current_modules()
        settings.update(_overridden(values.get("override_settings_texts")))
        styles = [name for name in _strings(values.get("styles")) if name]
        refined = values.get("enable_refiner") is True
        return {
            **values,
            "styles": host.styles(styles),
            "refiner_checkpoint": values.get("refiner_checkpoint") if refined else None,
            "override_settings": settings,
        }

    # --- names ------------------------------------------------------------------------------------------

    def _names(self, snapshot: Snapshot) -> LocalNames:
        family = self._rt.host.family
        until = time.monotonic() + NEAREST_FOR_S
        suspect = {root.root_id: root.path_on_disk for root in snapshot.roots if root.health == "suspect"}
        return LocalNames(
            find=self._rt.models.find,
            known=self._known,
            is_lost=lambda row: (
                row.root_id in suspect and self._looks.finds_no_file(_place(suspect[row.root_id], row))
            ),
            is_gone=lambda kind, name: self._looks.finds_no_file(self._rt.host.listed_file(kind, name)),
            nearest=lambda kind, name: (
                self._nearest(snapshot, kind, name) if time.monotonic() < until else ()
            ),
            read_roots=self._read_roots(snapshot),
            away_roots=frozenset(root.root_id for root in snapshot.roots if root.health == "unreachable"),
            one_drops_all=family != "a1111",
            tags=frozenset({"lora", "lyco"} if family == "a1111" else {"lora"}),
            shared=_loras_sharing,
        )

    def _known(self, kind: Kind) -> frozenset[str]:
        span = int(time.monotonic() / KNOWN_FOR_S)
        return self._keep(f"known {kind}", span, lambda: self._rt.host.known_names(kind))

    def _nearest(self, snapshot: Snapshot, kind: Kind, name: str) -> tuple[str, ...]:
        known = self._known(kind)
        names = self._keep(
            f"nearest {kind}",
            (snapshot.version, known),
            lambda: NearestNames(_choices(snapshot, kind, known), pause=lambda: time.sleep(0.001)),
        )
        return names.nearest(name[:LONGEST_NAME])

    def _embeddings(self, snapshot: Snapshot) -> EmbeddingNames:
        known = self._known("embedding")
        return self._keep(
            "embeddings",
            (snapshot.version, known),
            lambda: EmbeddingNames({*_names_of(snapshot, "embedding"), *known}),
        )

    def _read_roots(self, snapshot: Snapshot) -> frozenset[str]:
        span, host, roots = int(time.monotonic() / KNOWN_FOR_S), self._rt.host, snapshot.roots
        return self._keep("roots", (span, roots), lambda: _read_roots(roots, host.model_folders()))

    def _keep(self, what: str, key: Any, make: Callable[[], T]) -> T:
        """Return what ``make`` makes, as long as ``key`` stays the same."""
        kept = self._kept.get(what)
        if kept is None or kept[0] != key:
            kept = self._kept[what] = (key, make())
        value: T = kept[1]
        return value


class FileProbe:
    """Whether a file is there, looked at in a thread of its own: a share may hang."""

    def __init__(self) -> None:
        self._looker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stablequeue-looks")
        self._looking: Future[bool] | None = None

    def finds_no_file(self, path: str | None) -> bool:
        """False also for what cannot be said at once."""
        if path is None or (self._looking is not None and not self._looking.done()):
            return False
        self._looking = self._looker.submit(os.path.exists, path)
        try:
            return not self._looking.result(REFRESH_WAIT_S)
        except FutureTimeout:
            return False


class WhoHasCache:
    """Which other servers have a name: asked in a thread of its own, remembered for a minute."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._lock = threading.Lock()
        self._answers: dict[Name, tuple[float, list[str]]] = {}
        self._asking: set[Name] = set()
        self._asker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stablequeue-who")

    def known(self, names: Sequence[Name]) -> tuple[dict[Name, list[str]], bool]:
        """(name -> aliases as far as known, whether some are being asked for). Returns at once."""
        if not names or self._rt.hub.state().kind != "connected":
            return {}, False
        now = time.monotonic()
        with self._lock:
            self._answers = {n: kept for n, kept in self._answers.items() if now - kept[0] < WHO_FOR_S}
            unknown = [name for name in names if name not in self._answers and name not in self._asking]
            self._asking.update(unknown)
            asking = any(name in self._asking for name in names)
            found = {name: self._answers[name][1] for name in names if name in self._answers}
        if unknown:
            self._asker.submit(self._ask, unknown)
        return found, asking

    def _ask(self, names: Sequence[Name]) -> None:
        answer: Mapping[Name, list[str]] = {}
        try:
            answer = self._rt.hub.who_has_named(names)
        finally:
            now = time.monotonic()
            with self._lock:
                self._asking.difference_update(names)
                self._answers.update((name, (now, answer.get(name, []))) for name in names)


# --- parts ------------------------------------------------------------------------------------------------


def _item(found: Finding, others: Mapping[Name, list[str]]) -> PromptLineItem:
    in_a_prompt = found.requirement.role == "lora" and found.requirement.where not in ("setting", "style")
    meant = found.nearest[0] if found.status == "missing" and found.nearest and in_a_prompt else ""
    if visible(meant) != meant or not can_be_written(meant):
        meant = ""  # no button could put it into a prompt as it is
    return PromptLineItem(
        tone=found.weight,
        text=found.sentence.text,
        names=found.sentence.names,
        others=_others(found.requirement, others),
        written=found.requirement.name if meant else "",
        meant=meant,
    )


def _others(wanted: Requirement, others: Mapping[Name, list[str]]) -> tuple[str, ...]:
    who = (alias for kind in wanted.kinds for alias in others.get((kind, wanted.name), ()))
    return tuple(dict.fromkeys(who))


def _place(folder: str, row: IndexRow) -> str:
    return os.path.join(folder, native_path(row.path, windows=WINDOWS))


def _overridden(texts: Any) -> dict[str, str]:
    """Return what "Override settings" puts in the place of the settings: ``Model hash: 31e35c80fc``."""
    names = {"Model hash": "sd_model_checkpoint", "VAE": "sd_vae"}
    pairs = (text.partition(":") for text in _strings(texts))
    return {names[name]: value.strip() for name, _, value in pairs if name in names}


def _strings(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _names_of(snapshot: Snapshot, kind: Kind) -> Iterable[str]:
    return (written_name(row) for row in snapshot.rows if row.kind == kind)


def _choices(snapshot: Snapshot, kind: Kind, known: Iterable[str]) -> list[str]:
    """Return what a person can mean: names of files, and aliases; no hashes and no titles with one."""
    names = set(_names_of(snapshot, kind))
    if kind == "checkpoint":
        return sorted(names or {name for name in known if "." in name and " [" not in name})
    return sorted(names.union(known))


def _read_roots(roots: Iterable[RootRow], folders: Iterable[tuple[Kind, str]]) -> frozenset[str]:
    """The roots that lie in a folder which the WebUI itself reads for that kind."""
    read = [(kind, os.path.realpath(folder)) for kind, folder in folders]
    return frozenset(
        root.root_id
        for root in roots
        for kind, folder in read
        if root.kind == kind and _lies_in(os.path.realpath(root.path_on_disk), folder)
    )


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _loras_sharing(alias: str) -> list[str]:
    """Names of the files that carry this alias in their headers, as the LoRA extension has read them."""
    networks = sys.modules.get("networks")  # the extension's own name for it; absent when switched off
    if networks is None:
        return []
    return sorted(name for name, item in list(networks.available_networks.items()) if item.alias == alias)
