""" "Set up" and "This hub" as HTML, in every state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stablequeue_client.webui.settings.options import OPTIONS
from stablequeue_client.webui.views import setup_view as sv

from ..samples.setup_samples import SETUP_SAMPLES

Elements = Callable[[str], list[Any]]
ALL = pytest.mark.parametrize("name", SETUP_SAMPLES)


@ALL
def test_a_setup_page_is_well_formed_and_holds_nothing_inline(name: str, elements: Elements) -> None:
    found = elements(SETUP_SAMPLES[name].page(""))
    ids = [element.attributes["id"] for element in found if "id" in element.attributes]
    if "hostile" not in name:  # there many fragments stand on one page
        assert len(ids) == len(set(ids))
    for element in found:
        assert element.tag != "style"
        assert element.tag != "script" or element.attributes.get("src")
        assert not [a for a in element.attributes if a == "style" or a.startswith("on")]
        for part in element.attributes.get("class", "").split():
            assert part.startswith("sq-"), element


@ALL
def test_every_field_of_a_setup_page_has_a_label(name: str, elements: Elements) -> None:
    for element in elements(SETUP_SAMPLES[name].page("")):
        if element.tag == "select" or (
            element.tag == "input" and element.attributes.get("type") not in ("hidden", "checkbox")
        ):
            assert "label" in element.parents, element


@ALL
def test_links_lead_to_views_or_sign_in_at_the_hub(name: str, elements: Elements) -> None:
    if "hostile" in name:
        return
    for element in elements(SETUP_SAMPLES[name].fragment()):
        if element.tag != "a":
            continue
        address = element.attributes["href"]
        assert address.startswith("?view=") or "/login?code=" in address
        if not address.startswith("?"):
            assert element.attributes["rel"] == "noopener noreferrer"


def test_nobody_is_asked_to_work_for_others_by_default(elements: Elements) -> None:
    options = [e for e in elements(sv.setup(sv.SetupPage("studio"))) if e.tag == "option"]
    assert len(options) == 6  # the question stands in both ways
    assert {e.attributes["value"] for e in options if "selected" in e.attributes} == {"never"}


def test_the_settings_page_is_named_only_where_the_name_can_be_changed_there() -> None:
    assert "another name can be given in Settings" in str(sv.setup(sv.SetupPage("studio")))
    fixed = str(sv.setup(sv.SetupPage("studio", alias_fixed=True)))
    assert "another name" not in fixed
    assert "as the environment or stablequeue.toml says" in fixed


def posts(html: str, elements: Elements) -> set[str]:
    return {
        e.attributes["data-sq-post"]
        for e in elements(html)
        if e.tag == "form" and "data-sq-post" in e.attributes
    }


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (sv.SetupPage("s"), {"setup/use-here", "setup/join"}),
        (sv.SetupPage("s", work=sv.HubWork("x")), {"setup/join"}),
        (sv.SetupPage("s", fixed="http://hub:1"), set()),
        (sv.SetupPage("s", sv.Connection("http://hub:1", "s")), {"setup/works", "setup/leave"}),
        (sv.SetupPage("s", sv.Connection("http://hub:1", "s"), fixed="http://hub:1"), {"setup/works"}),
        (sv.SetupPage("s", sv.Connection("u", "s"), works_fixed=True), {"setup/leave"}),
    ],
)
def test_only_buttons_that_can_do_something_are_shown(
    page: sv.SetupPage, expected: set[str], elements: Elements
) -> None:
    assert posts(sv.setup(page), elements) == expected


def test_a_hub_that_a_command_started_is_neither_stopped_nor_removed_here(elements: Elements) -> None:
    ours = posts(sv.own_hub(sv.HubPage(True)), elements)
    assert {"hub/stop", "hub/service", "hub/remove"} <= ours
    assert posts(sv.own_hub(sv.HubPage(True, elsewhere=True)), elements) == {"hub/open", "hub/network"}
    assert posts(sv.own_hub(sv.HubPage(False)), elements) == {"hub/start", "hub/service", "hub/remove"}


def test_working_for_others_is_asked_in_the_words_of_the_settings_page() -> None:
    option = next(item for item in OPTIONS if item.name == "works_for_others")
    assert [(choice.label, choice.value) for choice in sv.WORKS] == list(option.choices)
