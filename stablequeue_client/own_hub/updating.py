"""Has the hub run from another environment, and from the former one again when it does not start there.

A kill at any moment leaves ``former`` and the copy of the database, and the next start goes on from them: the
new version is tried once more, then the former one. By then nobody knows whether the new version had worked
for a while, so the database it leaves is never thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stablequeue_client.own_hub import database_copy, running
from stablequeue_client.own_hub.environments import EnvironmentRecord, Environments
from stablequeue_client.own_hub.errors import UpdateError
from stablequeue_client.shared.errors import StableQueueError

Launch = Callable[[EnvironmentRecord], object]
"""Starts the hub from an environment and waits for its answer. Raises StableQueueError."""


class HubUpdate:
    """``cut_off``: this start goes on with an update that a kill has ended."""

    def __init__(
        self, machine_dir: Path, environments: Environments, launch: Launch, *, cut_off: bool
    ) -> None:
        self._machine_dir = machine_dir
        self._environments = environments
        self._launch = launch
        self._cut_off = cut_off

    def switch(self, made: EnvironmentRecord, before: EnvironmentRecord) -> StableQueueError | None:
        """The hub must not run. Raises when neither starts."""
        if not (self._cut_off and database_copy.has_copy(self._machine_dir)):
            database_copy.copy_database(self._machine_dir)
        self._environments.begin_update(before)
        try:
            self._launch(made)
        except StableQueueError as error:
            kept = self.go_back(before)
            return UpdateError(
                f"The hub of version {made.version} did not start, so {before.version} runs again. "
                f"{error.message}{kept}",
                remedy=error.remedy,
            )
        finally:
            self._end()
        return None

    def go_back(self, before: EnvironmentRecord) -> str:
        """Run the hub from ``before``. What is to be told of the database; raises when it does not start."""
        running.end(self._machine_dir)
        try:
            if not self._cut_off:
                database_copy.put_back(self._machine_dir)
                self._launch(before)
                return ""
            return self._go_back_later(before)
        finally:
            self._end()

    def _go_back_later(self, before: EnvironmentRecord) -> str:
        """With the database as it is, if the former version can read it; else with the one it had."""
        try:
            self._launch(before)
        except StableQueueError:
            if not database_copy.has_copy(self._machine_dir):
                raise
            running.end(self._machine_dir)
            database_copy.set_aside(self._machine_dir)
            database_copy.put_back(self._machine_dir)
            self._launch(before)
            return f" The database as the new version left it is kept as {database_copy.SET_ASIDE}."
        return ""

    def _end(self) -> None:
        self._environments.end_update()
        database_copy.drop_copy(self._machine_dir)
