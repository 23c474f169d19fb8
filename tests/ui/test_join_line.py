import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.hub_client.join import parse_join_text
from stablequeue_client.settings import OPTIONS
from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.views import views
from stablequeue_hub.access.keys import CreatedKey
from stablequeue_hub.access.network import NetworkInfo
from stablequeue_hub.page.keys import LINUX_INSTALL, join_line, join_page, join_target, powershell_quote

CODE = CreatedKey("id", "sq_id_" + "0" * 64, "join", "", 0, 3_600_000)
NETWORK = NetworkInfo(True, "0.0.0.0", 8383, ("192.168.1.20", "10.0.0.4"))


def line(**given: str) -> list[str]:
    fields = {"address": "", "alias": "", "webui": "", **given}
    return [command.text for command in join_line(join_target(NETWORK, **fields), CODE).commands]


def test_a_shell_reads_back_what_the_person_typed() -> None:
    linux, _ = line(alias="o'brien; rm -rf /", webui="/home/me/my models")
    words = shlex.split(linux)
    assert words[:2] == [".venv/bin/stablequeue", "agent"]
    assert words[words.index("--alias") + 1] == "o'brien; rm -rf /"
    assert words[words.index("--webui") + 1] == "/home/me/my models"
    assert words[words.index("--hub") + 1] == "http://192.168.1.20:8383"


def test_powershell_gets_its_own_quotes() -> None:
    _, windows = line(alias="a$(calc)", webui="C:\\AI\\my models")
    assert "--alias 'a$(calc)'" in windows
    assert "--webui 'C:\\AI\\my models'" in windows
    assert powershell_quote("it's") == "'it''s'"
    assert powershell_quote("it\u2019s") == "'it\u2019\u2019s'"
    assert powershell_quote("") == "''"
    assert powershell_quote("C:\\AI\\forge") == "C:\\AI\\forge"


@pytest.mark.parametrize("field", ["alias", "webui"])
def test_a_line_break_is_refused(field: str) -> None:
    with pytest.raises(InvalidValueError):
        line(**{field: "a\nrm"})


def test_only_addresses_of_this_computer_are_offered() -> None:
    assert "10.0.0.4:8383" in line(address="http://10.0.0.4:8383")[0]
    with pytest.raises(InvalidValueError, match="not an address"):
        line(address="http://evil.example:8383")


def test_the_text_for_a_webui_is_what_its_field_takes_with_the_code_of_the_line() -> None:
    made = join_line(join_target(NETWORK, address="http://10.0.0.4:8383", alias="attic", webui=""), CODE)
    assert made.paste == f"http://10.0.0.4:8383 {CODE.key}"
    assert all(CODE.key in command.text for command in made.commands)
    assert parse_join_text(made.paste) == ("http://10.0.0.4:8383", CODE.key)
    assert parse_join_text(made.commands[0].text) == ("http://10.0.0.4:8383", CODE.key)


def test_both_ways_and_the_firewall_are_named_beside_the_code(elements: Callable[[str], list[Any]]) -> None:
    html = views.join_line(join_line(join_target(NETWORK, address="", alias="", webui=""), CODE))
    assert "Join my other computers" in html
    assert "allow incoming connections on port 8383" in html
    copies = [e.attributes["aria-label"] for e in elements(html) if "data-sq-copy" in e.attributes]
    assert copies[0] == "Copy the text for its WebUI"
    assert len(copies) == 5


def test_the_question_names_address_and_firewall_before_anything_is_opened() -> None:
    html = views.join(join_page(NetworkInfo(False, "127.0.0.1", 8383, ("192.168.1.20",))))
    assert "http://192.168.1.20:8383" in html
    assert "firewall" in html
    assert "join/network" in html
    assert "join/code" not in html


def test_without_a_network_it_says_so() -> None:
    with pytest.raises(InvalidValueError, match="no address"):
        join_target(NetworkInfo(True, "0.0.0.0", 8383, ()), address="", alias="", webui="")


def test_the_agent_knows_every_option_of_the_line() -> None:
    flags = {
        "--" + option.name.replace("_", "-") for option in OPTIONS.values() if "agent" in option.commands
    }
    assert {word for word in shlex.split(line(alias="a")[0]) if word.startswith("--")} <= flags


def test_the_readme_installs_in_the_same_way() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert LINUX_INSTALL in readme
