"""The hub of this computer, as its owner starts and ends it by a button.

What it does is safe to be cut off anywhere: an environment counts only when it is complete, the database is
the hub's own business, and the next press or start goes on from what is there.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from stablequeue_client.data_folder import HUB_STATE, OWNER_KEY, owner_key, up_state
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.own_hub import database_copy, running
from stablequeue_client.own_hub.building import LOG as BUILD_LOG
from stablequeue_client.own_hub.building import build
from stablequeue_client.own_hub.environments import (
    EnvironmentRecord,
    Environments,
    HubSource,
    read_source,
    replaces,
)
from stablequeue_client.own_hub.errors import OwnHubError, StartedElsewhereError, UpdateError
from stablequeue_client.own_hub.hub_options import hub_flags
from stablequeue_client.own_hub.ports import PORTS_TRIED, port_is_free
from stablequeue_client.own_hub.restarts import Liveness, Restarts
from stablequeue_client.own_hub.running import RunningHub
from stablequeue_client.own_hub.service import Service, service_of
from stablequeue_client.own_hub.shared_progress import SharedProgress, SharedStep
from stablequeue_client.own_hub.state import FILE_NAME as STATE
from stablequeue_client.own_hub.state import OwnHubState, load_state, store_state
from stablequeue_client.own_hub.status import OwnHubStatus, Phase
from stablequeue_client.own_hub.updating import HubUpdate
from stablequeue_client.settings import DEFAULT_HOST, DEFAULT_PORT, Settings
from stablequeue_client.shared.errors import DataFolderError, HubUnreachableError, StableQueueError
from stablequeue_client.terminal_text import visible

log = logging.getLogger(__name__)

LOCK = "own_hub.lock"
LOG_LINES = 30
_LOCK_POLL_S = 0.3
Then = Callable[[HubApi], None]


class OwnHub:
    """``machine_dir``: its data folder, as for ``stablequeue hub --data``. ``source_dir``: the checkout it is
    made from. ``python``: the interpreter that a new environment is made for. ``settings``: what its owner
    says of it outside of the page, asked at each start; may raise StableQueueError, and it does not start.

    Thread-safe. ``start`` and ``ensure_running`` return at once and work in a thread of their own; of several
    WebUIs on one computer one works at a time.
    """

    def __init__(
        self,
        machine_dir: Path,
        source_dir: Path,
        python: str,
        *,
        first_port: int = DEFAULT_PORT,
        settings: Callable[[], Settings] = Settings,
    ) -> None:
        self._machine_dir = machine_dir
        self._source_dir = source_dir
        self._python = python
        self._first_port = first_port
        self._settings = settings
        self._environments = Environments(machine_dir)
        self._progress = SharedProgress(machine_dir)
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._then: list[Then] = []
        self._error: StableQueueError | None = None
        self._known: RunningHub | None = None
        self._restarts = Restarts()
        self._by_hand = False

    @property
    def service(self) -> Service:
        return service_of(self._machine_dir)

    # --- looking -----------------------------------------------------------------------------------------

    def status(self) -> OwnHubStatus:
        """Return how it is now. May ask the hub, for two seconds at most: not for the main thread."""
        here = self._here()
        state, step = load_state(self._machine_dir), self._step()
        has_data = (self._machine_dir / database_copy.DATABASE).is_file() or self._has_database(state)
        return OwnHubStatus(
            phase=self._phase(here, step, has_data),
            url=here.url if here else "",
            hub_id=here.hub_id if here else "",
            step=step.words if step else "",
            done=step.done if step else 0,
            total=step.total if step else 0,
            error=None if step else self._error,
            wanted=state.wanted,
            service=self.service.status().installed,
            started_elsewhere=here is not None and not self._is_ours(here),
            has_data=has_data,
            log_tail=tuple(visible(line) for line in running.log_tail(self._machine_dir, LOG_LINES)),
        )

    def _has_database(self, state: OwnHubState) -> bool:
        """Return whether it ran here with a database elsewhere."""
        try:
            return state.port > 0 and bool(self._settings().database)
        except StableQueueError:  # told at the next start
            return False

    def _phase(self, here: RunningHub | None, step: SharedStep | None, has_data: bool) -> Phase:
        if step is not None:
            return step.phase
        if here is not None:
            return "running"
        if self._error is not None:
            return "failed"
        return "stopped" if has_data else "none"

    def _step(self) -> SharedStep | None:
        """Return what is being done by us, or by another WebUI of this computer."""
        with self._guard:
            busy = self._thread is not None
        return self._progress.mine(busy)

    def trouble(self) -> str:
        """A sentence while it is to run and died; returns at once and asks no hub."""
        down = self._liveness()
        error = self._error
        if down == "down" and self._restarts.gave_up:
            return error.message if error else "The hub of this computer is down and ended at each start"
        if down == "down" or (down == "busy" and self._restarts.tries and self._pid() is None):
            return "The hub of this computer is down and is being started again"
        return ""

    def _liveness(self) -> Liveness:
        if not load_state(self._machine_dir).wanted:
            return "off"
        if self._step() is not None:
            return "busy"
        return "down" if self._pid() is None else "up"

    def _pid(self) -> int | None:
        return running.living(self._machine_dir)

    def _here(self) -> RunningHub | None:
        self._known = running.find_running(self._machine_dir, self._known)
        return self._known

    def _is_ours(self, here: RunningHub) -> bool:
        return running.is_started_by(here.pid, self._environments.starter)

    def api(self) -> HubApi:
        """The owner's client of the running hub. Raises HubUnreachableError, DataFolderError."""
        here = self._here()
        if here is None:
            raise HubUnreachableError("The hub of this computer is not running.", remedy="Start it first.")
        key = owner_key(self._machine_dir)
        if key is None:
            raise DataFolderError(
                f"The owner's key in {self._machine_dir} is missing.",
                remedy="Stop the hub and start it again: it makes a new one.",
            )
        return HubApi(here.url, key)

    def join_code(self) -> str:
        """A code with which one server joins within an hour. Raises as ``api``, and what the hub says."""
        return str(self.api().join_code()["key"])

    # --- starting ----------------------------------------------------------------------------------------

    def start(self, then: Then | None = None) -> None:
        """Have it run, and from now on whenever a WebUI runs. Returns at once.

        ``then`` gets the owner's client when it answers; what it raises stands in ``status().error``.
        """
        self._restarts.begin_anew()
        self._begin(then, by_hand=True)

    def _begin(self, then: Then | None = None, *, by_hand: bool = False) -> None:
        with self._guard:
            if then is not None:
                self._then.append(then)
            self._by_hand = self._by_hand or by_hand
            if self._thread is not None:
                return
            self._error = None
            self._progress.wait("Looking for the hub")
            self._thread = threading.Thread(target=self._work, name="stablequeue-own-hub", daemon=True)
            self._thread.start()

    def ensure_running(self) -> None:
        """At the WebUI's start: start it when it is wanted, and bring it to this version. Returns at once."""
        if load_state(self._machine_dir).wanted:
            self._begin()

    def keep_running(self, then: Then) -> None:
        """Start it again when it died, though not when a person stopped it; called every second or so.

        ``then``: as in ``start``. Returns at once.
        """
        if self._restarts.is_due(self._liveness()):
            log.warning("The hub of this computer has ended; it is started again.")
            self._begin(then)

    def _work(self) -> None:
        error: StableQueueError | None = None
        try:
            with self._exclusive():
                if not (self._is_by_hand() or load_state(self._machine_dir).wanted):
                    return  # somebody pressed Stop, in another WebUI, while we waited
                error = self._ensure_running()
            self._do_what_follows()
        except StableQueueError as problem:
            error = problem
        except Exception as problem:
            log.exception("The hub of this computer could not be started.")
            error = OwnHubError(f"The hub could not be started: {type(problem).__name__}: {problem}.")
        finally:
            with self._guard:
                self._error, self._thread, self._by_hand = error, None, False
                self._then.clear()
            self._progress.end()

    def _is_by_hand(self) -> bool:
        with self._guard:
            return self._by_hand

    def _do_what_follows(self) -> None:
        while True:
            with self._guard:
                if not self._then:
                    return
                follow = self._then.pop(0)
            self._progress.say("starting", "Connecting this WebUI", 98, 100)
            follow(self.api())

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One process of this computer at a time."""
        try:
            self._machine_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = filelock.FileLock(self._machine_dir / LOCK)
            while True:
                with suppress(filelock.Timeout):
                    lock.acquire(timeout=_LOCK_POLL_S)
                    break
                self._progress.wait("Another WebUI of this computer is starting the hub")
        except OSError as error:
            raise DataFolderError(f"{self._machine_dir} cannot be used: {error.strerror}.") from error
        try:
            yield
        finally:
            lock.release()

    def _ensure_running(self) -> StableQueueError | None:
        """A hub that answers, of this version where that is ours to decide. The error is one that left
        another hub running. Raises what left none."""
        here = self._found()
        if here is not None and not self._is_ours(here):
            return None
        former = self._former(here)
        source = read_source(self._source_dir)
        made, before = source.made(self._python), former or self._environments.current()
        if before is not None and not replaces(made, before):
            made = before
        error = None
        if not self._environments.is_complete(made):
            error = self._build(source, made, before)
            made = before if error and before else made
        if here is None or before is None or made.name != before.name:
            cut_off = former is not None
            error = self._switch(made, before, was_running=here is not None, cut_off=cut_off) or error
        self._environments.clean_up(keep=self._environments.current() or made)
        database_copy.drop_copy(self._machine_dir)  # of an update during which a WebUI was killed
        return error

    def _former(self, here: RunningHub | None) -> EnvironmentRecord | None:
        """Return what ran before an update that a kill has cut off; None where that update is through after
        all."""
        former, current = self._environments.former(), self._environments.current()
        if former is None or here is not None or (current is not None and current.name == former.name):
            self._environments.end_update()
            return None
        running.end_unreachable(self._environments.starter)
        return former

    def _found(self) -> RunningHub | None:
        """The hub that answers. One of ours that lives and does not is ended: it would be in the way."""
        here = running.find_running(self._machine_dir, timeouts=running.PATIENT_TIMEOUTS)
        pid = running.living(self._machine_dir)
        if here is None and pid is not None and running.is_started_by(pid, self._environments.starter):
            running.end(self._machine_dir)
        self._known = here
        return here

    def _build(
        self, source: HubSource, made: EnvironmentRecord, before: EnvironmentRecord | None
    ) -> StableQueueError | None:
        """Make the environment; with one from before, a failure is only reported."""
        self._progress.say("building", "Looking for the packages", 0, 100)
        try:
            build(
                self._environments,
                source,
                made,
                lambda words, done, total: self._progress.say("building", words, done, total),
            )
        except StableQueueError as error:
            if before is None:
                raise
            return UpdateError(
                f"The hub was not updated to {made.version}: {error.message}", remedy=error.remedy
            )
        return None

    def _switch(
        self, made: EnvironmentRecord, before: EnvironmentRecord | None, *, was_running: bool, cut_off: bool
    ) -> StableQueueError | None:
        """Run the hub from ``made``; when it does not answer, from ``before`` again."""
        updating = HubUpdate(self._machine_dir, self._environments, self._launch, cut_off=cut_off)
        if before is None or (made.name == before.name and not cut_off):
            self._launch(made)
            return None
        if was_running:
            self._progress.say("starting", "Stopping the previous version of the hub", 90, 100)
            running.end(self._machine_dir)
        self._settings(), self._port()  # what neither version can start with is no failure of the update
        if made.name == before.name:
            updating.go_back(before)
            return None
        return updating.switch(made, before)

    def _launch(self, made: EnvironmentRecord) -> RunningHub:
        self._progress.say("starting", "Starting the hub", 92, 100)
        settings, port = self._settings(), self._port()
        self._environments.use(made)
        process = running.start_detached(
            made.python, self._environments.starter, self._machine_dir, port, settings
        )
        here = self._known = running.wait_until_it_answers(self._machine_dir, process)
        store_state(self._machine_dir, OwnHubState(wanted=True, port=port))
        return here

    def _port(self) -> int:
        """The port it had before, because other computers know it by that; at first any that is free."""
        used = load_state(self._machine_dir).port
        if used:
            if not port_is_free(DEFAULT_HOST, used):
                raise OwnHubError(
                    f"Another program uses port {used}, at which the other computers know this hub.",
                    remedy="Stop that program, then press Start.",
                )
            return used
        remembered = up_state(self._machine_dir).get("port")
        first = remembered if isinstance(remembered, int) else self._first_port
        for port in range(first, min(first + PORTS_TRIED, 65_536)):
            if port_is_free(DEFAULT_HOST, port):
                return port
        raise OwnHubError(f"No port from {first} on is free.", remedy="Stop programs that listen there.")

    # --- ending ------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End it, and do not start it with the WebUI any more. Waits until it has ended.

        Raises StartedElsewhereError, and OwnHubError while it is being started.
        """
        with self._when_idle():
            pid = running.living(self._machine_dir)
            if pid is not None and not running.is_started_by(pid, self._environments.starter):
                raise StartedElsewhereError
            # First of all, or a WebUI that sees it end starts it again.
            store_state(self._machine_dir, OwnHubState(False, load_state(self._machine_dir).port))
            running.end(self._machine_dir)

    def remove(self) -> None:
        """Stop it and delete its database, keys, environments, logs and service. There is no way back.

        What agents of this computer know of its files stays. Raises as ``stop``, and ServiceError.
        """
        self.stop()
        self.service.remove()
        with self._when_idle():
            names = [HUB_STATE, OWNER_KEY, STATE, str(running.LOG), f"{running.LOG}.1", f"logs/{BUILD_LOG}"]
            targets = [self._machine_dir / name for name in names]
            for path in [*targets, *self._machine_dir.glob(f"{database_copy.DATABASE}*")]:
                path.unlink(missing_ok=True)
            shutil.rmtree(self._environments.folder, ignore_errors=True)

    @contextmanager
    def _when_idle(self) -> Iterator[None]:
        """While nobody starts it. Raises OwnHubError at once when somebody does."""
        with self._guard:
            busy = self._thread is not None
        lock = filelock.FileLock(self._machine_dir / LOCK)
        try:
            if busy:
                raise filelock.Timeout(str(LOCK))
            self._machine_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.acquire(timeout=_LOCK_POLL_S)
        except filelock.Timeout:
            raise OwnHubError("The hub is starting.", remedy="Wait until it runs.") from None
        try:
            self._error = None
            yield
        finally:
            lock.release()

    # --- the system ----------------------------------------------------------------------------------------

    def service_words(self) -> list[str]:
        """Return what a service runs. Raises OwnHubError before the first start."""
        made, port = self._environments.current(), load_state(self._machine_dir).port
        if made is None or not port:
            raise OwnHubError("There is no hub here yet.", remedy="Start it once.")
        settings = self._settings()
        if settings.database:
            raise OwnHubError(
                "The database's address is a secret, which the file of a service must not hold.",
                remedy="Have the system's own means start `stablequeue hub`, which reads stablequeue.toml.",
            )
        words = running.hub_words(made.python, self._environments.starter, self._machine_dir, port)
        return [*words, *hub_flags(settings)]
