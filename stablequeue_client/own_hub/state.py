"""What is remembered of this computer's own hub: ``own_hub.json`` in the data folder.

{"wanted": it is to run while a WebUI runs, "port": N, 0 before its first start}
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from stablequeue_client.shared.atomic_file import write_private

FILE_NAME = "own_hub.json"


class OwnHubState(msgspec.Struct, frozen=True):
    wanted: bool = False
    port: int = 0


def load_state(machine_dir: Path) -> OwnHubState:
    """As it was stored; the default when there is none or the file is damaged, which costs a press only."""
    try:
        return msgspec.json.decode((machine_dir / FILE_NAME).read_bytes(), type=OwnHubState)
    except (OSError, msgspec.DecodeError):
        return OwnHubState()


def store_state(machine_dir: Path, state: OwnHubState) -> None:
    write_private(machine_dir / FILE_NAME, msgspec.json.encode(state))
