"""Where a setting comes from, and what a wrong one is told."""

from __future__ import annotations

from typing import Any

import pytest

from stablequeue_client.settings import (
    OPTIONS,
    InvalidSettingError,
    Settings,
    UnknownSettingError,
    resolve,
    typed_folders,
    unknown_environment,
)


def no_file(path: str) -> str:
    raise AssertionError(f"{path} must not be read")


def resolved(
    command_line: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    toml: dict[str, Any] | None = None,
    **options: Any,
) -> Settings:
    wanted = {"read_file": no_file, "path_separator": ":", **options}
    return resolve(command_line or {}, environment or {}, toml or {}, **wanted)


def test_without_anything_every_setting_has_its_default() -> None:
    assert resolved() == Settings()


def test_the_command_line_wins_over_environment_and_toml() -> None:
    settings = resolved({"alias": "typed"}, {"STABLEQUEUE_ALIAS": "variable"}, {"alias": "file"})
    assert settings.alias == "typed"


def test_the_environment_wins_over_toml() -> None:
    assert resolved({"alias": None}, {"STABLEQUEUE_ALIAS": "variable"}, {"alias": "file"}).alias == "variable"


def test_toml_wins_over_the_default() -> None:
    assert resolved(toml={"network_rate": 5}).network_rate == 5


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_can_be_set_in_all_three_ways(name: str) -> None:
    opt = OPTIONS[name]
    typed: Any
    text: str
    if opt.type == "flag":
        typed, text = not opt.default, "0" if opt.default else "1"
    elif opt.type == "number":
        typed, text = 77, "77"
    elif opt.type in ("folders", "names"):
        typed, text = ["/a", "/b"], "/a:/b" if opt.type == "folders" else "/a,/b"
    else:
        typed = text = opt.choices[-1] if opt.choices else "some text"
    wanted = tuple(typed) if isinstance(typed, list) else typed
    assert wanted != opt.default
    for settings in (
        resolved({name: typed}),
        resolved(environment={opt.environment: text}),
        resolved(toml={name: typed}),
    ):
        assert getattr(settings, name) == wanted


def test_an_unknown_toml_key_names_the_nearest_one() -> None:
    with pytest.raises(UnknownSettingError, match=r"checkpoint_folders.*'checkpoints'"):
        resolved(toml={"checkpoint_folders": "/models"})


def test_an_unknown_variable_is_told_with_the_nearest_name_and_ours_are_not() -> None:
    names = {"STABLEQUEUE_ALIASS": "x", "STABLEQUEUE_ALIAS": "x", "STABLEQUEUE_PARENT": "1:2", "PATH": "/bin"}
    assert [line for line in unknown_environment(names) if "'alias'" in line] == unknown_environment(names)
    assert len(unknown_environment(names)) == 1


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ({"port": "many"}, "port is 'many'"),
        ({"port": 70_000}, "0 to 65535"),
        ({"port": True}, "port is True"),
        ({"once": "yes"}, "true or false"),
        ({"checkpoints": [1]}, "checkpoints"),
        ({"scope": "root"}, "admin or jobs or view or join"),
        ({"alias": 5}, "alias is 5"),
    ],
)
def test_a_value_of_the_wrong_form_is_named_with_its_place(toml: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettingError, match=said) as raised:
        resolved(toml=toml, toml_name="/etc/sq.toml")
    assert "/etc/sq.toml" in str(raised.value)


def test_a_wrong_flag_in_the_environment_names_the_variable() -> None:
    with pytest.raises(InvalidSettingError, match="STABLEQUEUE_ONCE is 'perhaps'"):
        resolved(environment={"STABLEQUEUE_ONCE": "perhaps"})


def test_a_secret_can_be_the_first_line_of_a_file() -> None:
    settings = resolved({"key": "@/secret"}, read_file=lambda path: f" key of {path} \nmore\n")
    assert settings.key == "key of /secret"


def test_an_empty_secret_file_is_told() -> None:
    with pytest.raises(InvalidSettingError, match=r"--join: the file /empty is empty"):
        resolved({"join": "@/empty"}, read_file=lambda _: "\n")


def test_an_at_sign_means_a_file_for_secrets_only() -> None:
    assert resolved({"alias": "@home"}).alias == "@home"


def test_folders_keep_their_kind_and_order() -> None:
    settings = resolved({"loras": ["/l"], "checkpoints": ["/b", "/a"]})
    assert typed_folders(settings) == (("checkpoint", "/b"), ("checkpoint", "/a"), ("lora", "/l"))
