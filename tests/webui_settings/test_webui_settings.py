"""Where a setting of the extension comes from, and that none of them can stop the WebUI."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from stablequeue_client.settings import OPTIONS as SETTINGS
from stablequeue_client.webui.settings.options import OPTIONS
from stablequeue_client.webui.settings.webui_settings import NAMES, WebuiSettings, folder_lines, resolve_webui


def resolved(
    opts: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    toml: dict[str, Any] | None = None,
) -> WebuiSettings:
    return resolve_webui(opts or {}, environment or {}, toml or {}, path_separator=":")


def test_without_anything_every_setting_has_its_default() -> None:
    assert resolved() == WebuiSettings()


def test_what_the_settings_page_shows_at_first_means_the_defaults() -> None:
    assert resolved({item.name: item.default for item in OPTIONS}) == WebuiSettings()


CASES: list[tuple[str, Any, Any, str, Any, Any, Any]] = [
    # name, option, its value, variable, its value, TOML, its value
    ("hub", " http://a:1 ", "http://a:1", "http://b:2", "http://b:2", "http://c:3", "http://c:3"),
    ("alias", "attic", "attic", "cellar", "cellar", "roof", "roof"),
    ("ca_file", "/o.pem", "/o.pem", "/e.pem", "/e.pem", "/t.pem", "/t.pem"),
    ("sync", "manual", "manual", "manual", "manual", "manual", "manual"),
    ("sync_on_start", False, False, "0", False, False, False),
    ("sync_every", 15.0, 15, "20", 20, 25, 25),
    ("watch", False, False, "no", False, False, False),
    ("private", "a/*\n\n b ", ("a/*", "b"), "c,d", ("c", "d"), ["e"], ("e",)),
    ("hashing", "later", "later", "now", "now", "later", "later"),
    ("network_rate", 5, 5, "6", 6, 7, 7),
    ("receive", "peers", "peers", "never", "never", "all", "all"),
    ("hand_out", True, True, "yes", True, True, True),
    ("works_for_others", "idle", "idle", "always", "always", "idle", "idle"),
    ("card_marks", False, False, "off", False, False, False),
    ("ask_before_generate", True, True, "yes", True, True, True),
    ("queue_button", "under", "under", "hidden", "hidden", "under", "under"),
    ("queue_shortcut", " Alt+Q ", "Alt+Q", "none", "none", "Alt+W", "Alt+W"),
    ("allowed_hosts", "x.example\ny.example", ("x.example", "y.example"), "z", ("z",), "w", ("w",)),
]


def test_every_setting_of_the_house_that_the_extension_takes_has_a_case() -> None:
    assert [case[0] for case in CASES] == list(NAMES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_the_environment_comes_before_toml_that_before_the_option_that_before_the_default(case: Any) -> None:
    name, option, from_option, variable, from_variable, toml, from_toml = case
    environment = {SETTINGS[name].environment: variable}
    for sources, wanted, outside in (
        (({name: option}, {}, {}), from_option, False),
        (({name: option}, {}, {name: toml}), from_toml, True),
        (({name: option}, environment, {name: toml}), from_variable, True),
        (({}, environment, {}), from_variable, True),
    ):
        settings = resolved(*sources)
        assert getattr(settings, name) == wanted
        assert settings.given_outside == ({name} if outside else set())
        assert settings.mistakes == ()


def test_a_shortcut_that_was_emptied_is_none_and_not_the_default() -> None:
    assert resolved({"queue_shortcut": " "}).queue_shortcut == ""
    assert resolved({}).queue_shortcut == "Ctrl+Shift+Enter"


@pytest.mark.parametrize(
    ("sources", "name", "wanted", "said"),
    [
        (
            ({"sync_every": "often"}, {}, {}),
            "sync_every",
            60,
            "Settings > StableQueue: sync_every is 'often'",
        ),
        (({"sync_every": 1.5}, {}, {}), "sync_every", 60, "whole number"),
        (({"network_rate": -1}, {}, {}), "network_rate", 30, "0 to 65535"),
        (({"hashing": "sometimes"}, {}, {}), "hashing", "idle", "now or later or idle"),
        (({"watch": "yes"}, {}, {}), "watch", True, "true or false"),
        (({"private": 5}, {}, {}), "private", (), "private"),
        (({}, {"STABLEQUEUE_WATCH": "perhaps"}, {}), "watch", True, "STABLEQUEUE_WATCH is 'perhaps'"),
        (({}, {}, {"receive": "yes"}), "receive", "ask", "never or ask or peers or all"),
        (({}, {}, {"works_for_others": "sure"}), "works_for_others", "never", "never or idle or always"),
        (({}, {}, {"allias": "x"}), "alias", None, "Did you mean 'alias'"),
        (({"hub": "ftp://x"}, {}, {}), "hub", None, "'ftp://x' is not a hub address. Give it as http://"),
        (({}, {"STABLEQUEUE_HUB": "http://u:p@h"}, {}), "hub", None, "'http://***@h' is not a hub address"),
        (({"extra_folders": "loras /mnt/x"}, {}, {}), "extra_folders", (), "'loras /mnt/x' is not used"),
        (({"extra_folders": ["loras"]}, {}, {}), "extra_folders", (), "extra_folders"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_the_default_counts(
    sources: Any, name: str, wanted: Any, said: str
) -> None:
    settings = resolved(*sources)
    assert getattr(settings, name) == wanted
    (sentence,) = settings.mistakes
    assert said in sentence
    assert name not in settings.given_outside


def test_a_wrong_variable_lets_the_next_source_count() -> None:
    settings = resolved({"sync_every": 5}, {"STABLEQUEUE_SYNC_EVERY": "x"}, {"sync_every": 7})
    assert settings.sync_every == 7
    assert len(settings.mistakes) == 1


def test_secrets_and_settings_of_commands_in_the_toml_disturb_nothing() -> None:
    settings = resolved(toml={"join": "@/nowhere", "port": 8383, "database": "@/nowhere"})
    assert settings == WebuiSettings()


def test_extra_folders_are_lines_of_kind_and_folder() -> None:
    text = 'loras = /mnt/x\n\n Checkpoints=C:\\models\\a b\nText encoders = "/t"\nloras = /mnt/x'
    text += "\nmusic = /m\nvae="
    found, mistakes = folder_lines(text)
    assert found == (("lora", "/mnt/x"), ("checkpoint", "C:\\models\\a b"), ("text_encoder", "/t"))
    assert [line.split("'")[1] for line in mistakes] == ["music = /m", "vae="]


def test_folders_named_outside_replace_those_of_the_option() -> None:
    settings = resolved({"extra_folders": "vae = /o"}, {"STABLEQUEUE_LORAS": "/e:/f"}, {"checkpoints": "/t"})
    assert settings.extra_folders == (("checkpoint", "/t"), ("lora", "/e"), ("lora", "/f"))
    assert settings.given_outside == {"extra_folders"}


def test_every_field_has_an_option_with_a_help_text_but_the_certificate_file() -> None:
    described = {item.name for item in fields(WebuiSettings)} - {"given_outside", "mistakes", "ca_file"}
    assert {item.name for item in OPTIONS} == described
    for item in OPTIONS:
        assert item.label
        assert item.help.endswith("."), item.name
        assert {value for _, value in item.choices} == set(
            SETTINGS[item.name].choices if item.name in SETTINGS else ()
        )


def test_no_secret_is_an_option_and_no_key_is_one_of_the_old_extension() -> None:
    secrets = {name for name, opt in SETTINGS.items() if opt.secret}
    assert not secrets & {item.name for item in OPTIONS}
    old = {"stablequeue_url", "stablequeue_api_key", "stablequeue_api_secret"}
    assert not old & {item.key for item in OPTIONS}
