"""Settings, --help, README and docs/settings.md say the same."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from stablequeue_client.cli import COMMANDS, Command, build_parser
from stablequeue_client.settings import IN_A_WEBUI, OPTIONS, Option

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")


def help_of(*words: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*words, "--help"])
    assert ended.value.code == 0
    return out.getvalue()


def readme_row(opt: Option) -> str:
    """The row of the settings table."""
    default = {True: "yes", False: "no"}.get(opt.default) if isinstance(opt.default, bool) else None
    shown = default or (f"`{opt.default}`" if opt.default not in (None, ()) else "")
    meaning = opt.help + (f": {', '.join(opt.choices)}" if opt.choices else "")
    flag = "" if opt.commands == {IN_A_WEBUI} else f"`{opt.flag}`"
    return f"| {flag} | `{opt.environment}` | `{opt.name}` | {shown} | {meaning} |"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_shows_exactly_the_options_and_the_examples_of_a_command(command: Command) -> None:
    text = help_of(*command.name.split())
    shown = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", text, re.MULTILINE))
    assert shown == {opt.flag for opt in command.options()} | {"--help", "--config"}
    assert all(f"  stablequeue {example}" in text for example in command.examples)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_examples_of_a_command_are_of_its_form(command: Command) -> None:
    import shlex

    for example in command.examples:
        assert build_parser().parse_args(shlex.split(example)).command is command


def test_every_option_belongs_to_a_command_or_to_the_webui() -> None:
    used = {opt.name for command in COMMANDS for opt in command.options()}
    webui = {opt.name for opt in OPTIONS.values() if opt.commands == {IN_A_WEBUI}}
    assert used | webui == set(OPTIONS)
    assert not used & webui


def test_every_command_takes_json() -> None:
    assert all(OPTIONS["json"] in command.options() for command in COMMANDS)


def test_the_page_on_settings_lists_every_one_and_no_other() -> None:
    rows = [line for line in SETTINGS.splitlines() if "`STABLEQUEUE_" in line and line.startswith("|")]
    assert rows == [readme_row(opt) for opt in OPTIONS.values()]


def test_the_readme_is_short_before_its_reference_and_shows_four_pictures_that_are_there() -> None:
    first = README.partition("\n## Commands\n")[0]
    assert len(first) <= 8_000
    shown = re.findall(r"!\[[^\]]+\]\((docs/pictures/[a-z-]+\.png)\)", first)
    assert sorted(ROOT / path for path in shown) == sorted((ROOT / "docs" / "pictures").iterdir())
    assert len(shown) == 4


def test_the_readme_lists_every_command() -> None:
    assert re.findall(r"^\| `stablequeue ([a-z -]+)` \|", README, re.MULTILINE) == [c.name for c in COMMANDS]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    (line,) = re.findall(r"^\.venv/bin/pip install .*\[dev\].*$", README, re.MULTILINE)
    for part in line.split(" && "):
        assert part in script.splitlines()
    assert script.rstrip().endswith(line.split(" && ")[-1])
