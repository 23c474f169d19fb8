"""What the environment and stablequeue.toml say of this computer's hub."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from stablequeue_client.own_hub import OwnHub
from stablequeue_client.own_hub.hub_options import hub_flags, hub_variables
from stablequeue_client.settings import Settings
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.webui.settings.source import TomlFile, hub_settings

from ..free_ports import free_port
from .making import Made, settled


def toml(folder: Path, text: str) -> TomlFile:
    (folder / "stablequeue.toml").write_text(text)
    return TomlFile(folder / "stablequeue.toml")


def test_only_what_its_owner_chose_is_said_to_a_hub_that_may_be_older() -> None:
    assert (hub_flags(Settings()), hub_variables(Settings())) == ([], {})


def test_host_and_days_are_words_and_the_database_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("postgresql://me:hidden@db/sq\n")
    file = toml(tmp_path, f'host = "192.168.0.5"\nevents_days = 30\ndatabase = "@{tmp_path}/secret"\n')
    chosen = hub_settings(file)
    assert hub_flags(chosen) == ["--host=192.168.0.5", "--events-days=30"]
    assert hub_variables(chosen) == {"STABLEQUEUE_DATABASE": "postgresql://me:hidden@db/sq"}


def test_a_file_that_cannot_be_read_is_no_reason_to_start_with_another_database(tmp_path: Path) -> None:
    with pytest.raises(StableQueueError, match="not valid TOML"):
        hub_settings(toml(tmp_path, "database = "))
    with pytest.raises(StableQueueError, match="cannot be read"):
        hub_settings(toml(tmp_path, 'database = "@/nowhere/at/all"'))


def test_the_hub_listens_where_the_settings_file_says(made: Made, host_python: Path) -> None:
    file = toml(made.machine_dir, 'host = "0.0.0.0"\n')
    hub = OwnHub(
        made.machine_dir,
        made.checkout,
        str(host_python),
        first_port=free_port(),
        settings=lambda: hub_settings(file),
    )
    hub.start()
    status = settled(hub)
    assert status.phase == "running", status
    port = int(status.url.rsplit(":", 1)[1])
    listening = [
        c.laddr.ip for c in psutil.net_connections() if c.status == "LISTEN" and c.laddr.port == port
    ]
    assert listening == ["0.0.0.0"]
    assert "--host=0.0.0.0" in hub.service_words()


def test_with_a_mistake_in_the_settings_file_it_says_so_and_does_not_start(
    made: Made, host_python: Path
) -> None:
    file = toml(made.machine_dir, "database = ")
    hub = OwnHub(made.machine_dir, made.checkout, str(host_python), settings=lambda: hub_settings(file))
    hub.start()
    status = settled(hub)
    assert status.phase == "failed"
    assert status.error is not None
    assert "not valid TOML" in status.error.message
