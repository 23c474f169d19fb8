"""``stablequeue service`` in processes of its own."""

from __future__ import annotations

from pathlib import Path

from .conftest import Commands

SYSTEMCTL = "#!/bin/sh\nexit 0\n"


def with_systemctl(folder: Path) -> dict[str, str]:
    """An environment whose systemctl always agrees, and whose configuration lies in ``folder``."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "systemctl").write_text(SYSTEMCTL)
    (programs / "systemctl").chmod(0o755)
    return {"PATH": str(programs), "XDG_CONFIG_HOME": str(folder / "config")}


def test_the_service_is_installed_shown_and_removed(commands: Commands, tmp_path: Path) -> None:
    environment = with_systemctl(tmp_path)
    before = commands.run("service", "status", "--json", env=environment)
    assert (before.code, before.json["installed"]) == (0, False)
    made = commands.run("service", "install", "--json", env=environment)
    assert made.code == 0, made.err
    assert made.json["installed"] is True
    unit = Path(made.json["path"]).read_text()
    assert '"-m" "stablequeue_client" "hub" "--data"' in unit
    assert "starts with the system" in commands.run("service", "status", env=environment).out
    gone = commands.run("service", "remove", env=environment)
    assert gone.code == 0
    assert "does not start with the system" in gone.out
    assert not Path(made.json["path"]).exists()


def test_a_data_folder_of_its_own_has_a_service_of_its_own(commands: Commands, tmp_path: Path) -> None:
    environment = with_systemctl(tmp_path)
    paths = [
        commands.run("service", "install", "--json", *words, env=environment).json["path"]
        for words in ((), ("--data", str(tmp_path / "other")))
    ]
    assert paths[0] != paths[1]
    assert str(tmp_path / "other") in Path(paths[1]).read_text()


def test_without_systemctl_the_command_says_so_in_one_sentence(commands: Commands, tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = commands.run("service", "install", env=environment)
    assert done.code == 1
    assert "no systemctl" in done.err
    assert "Traceback" not in done.err
    as_json = commands.run("service", "install", "--json", env=environment)
    assert (as_json.code, as_json.json["error"]["code"]) == (1, "service")
