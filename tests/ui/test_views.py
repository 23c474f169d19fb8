import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from stablequeue_client.shared.views import job_views, labels, views
from stablequeue_client.shared.views import values as v

from ..samples import sample_jobs
from ..samples.samples import SAMPLES

Elements = Callable[[str], list[Any]]
ALL = pytest.mark.parametrize("name", SAMPLES)


@ALL
def test_a_page_is_well_formed_and_its_ids_are_unique(name: str, elements: Elements) -> None:
    ids = [e.attributes["id"] for e in elements(SAMPLES[name].page("")) if "id" in e.attributes]
    if "hostile" not in name:  # there forty fragments stand on one page
        assert len(ids) == len(set(ids)), [one for one in ids if ids.count(one) > 1]


@ALL
def test_nothing_inline_that_the_content_security_policy_forbids(name: str, elements: Elements) -> None:
    for element in elements(SAMPLES[name].page("")):
        assert element.tag != "style"
        assert element.tag != "script" or element.attributes.get("src")
        assert not [a for a in element.attributes if a == "style" or a.startswith("on")]


@ALL
def test_ids_and_classes_start_with_sq(name: str, elements: Elements) -> None:
    for element in elements(SAMPLES[name].page("")):
        for part in (
            *element.attributes.get("class", "").split(),
            *element.attributes.get("id", "").split()[:1],
        ):
            assert part.startswith("sq-"), element


@ALL
def test_tables_have_a_caption_and_their_heads_a_scope(name: str, elements: Elements) -> None:
    found = elements(SAMPLES[name].page(""))
    assert len([e for e in found if e.tag == "table"]) == len([e for e in found if e.tag == "caption"])
    assert all(e.attributes.get("scope") in ("row", "col") for e in found if e.tag == "th")


@ALL
def test_links_stay_on_the_page_and_forms_go_to_views(name: str, elements: Elements) -> None:
    for element in elements(SAMPLES[name].page("")):
        if element.tag == "a":
            assert re.match(r"\?view=|#sq-|/$", element.attributes["href"]), element
        if element.tag == "form" and "data-sq-post" in element.attributes:
            assert not element.attributes["data-sq-post"].startswith("/")


@ALL
def test_every_field_has_a_label(name: str, elements: Elements) -> None:
    for element in elements(SAMPLES[name].page("")):
        hidden = element.attributes.get("type") == "hidden" or "hidden" in element.attributes
        if element.tag in ("input", "select", "textarea") and not hidden:
            assert "label" in element.parents, element


def test_every_shape_is_in_the_sprite(elements: Elements) -> None:
    page = SAMPLES["models-four-servers"].page("")
    symbols = {e.attributes["id"] for e in elements(page) if e.tag == "symbol"}
    assert {f"sq-m-{mark.shape}" for mark in labels.MARKS.values()} <= symbols
    used = {
        e.attributes["href"][1:]
        for name in SAMPLES
        for e in elements(SAMPLES[name].page(""))
        if e.tag == "use"
    }
    assert used <= symbols


def test_a_view_whose_value_did_not_change_keeps_its_etag() -> None:
    assert views.etag(SAMPLES["servers"].fragment()) == views.etag(SAMPLES["servers"].fragment())
    assert views.etag(SAMPLES["servers"].fragment()) != views.etag(SAMPLES["keys"].fragment())


def test_a_lone_surrogate_does_not_stop_the_page() -> None:
    views.notice(v.Notice("\ud800")).encode("utf-8")


def test_filters_come_back_in_the_address_of_another_page() -> None:
    filters = v.Filters(search="a&b c", kind="lora", server="s-1", page=3)
    assert views.models_query(filters, page=4) == "?view=models&search=a%26b+c&kind=lora&server=s-1&page=4"
    assert views.models_query(filters, page=1).endswith("server=s-1")


def test_only_several_servers_are_compared() -> None:
    one = SAMPLES["models-one-server"].fragment()
    several = SAMPLES["models-three-servers"].fragment()
    assert "Missing somewhere" not in one
    assert "Missing somewhere" in several


def test_the_matrix_names_a_server_and_a_word_in_each_cell(elements: Elements) -> None:
    html = SAMPLES["models-fifty-servers"].fragment()
    cells = [e for e in elements(html) if "sq-cell" in e.attributes.get("class", "")]
    assert len(cells) == 50 * 50
    assert all(cell.attributes["data-sq-server"] for cell in cells)
    assert html.count('class="sq-sr">here') > 0


def test_the_first_line_names_the_problem_before_the_numbers() -> None:
    line = views.first_line(
        v.FirstLine(models=1, needs=1, problem="Folder x is gone", action="?view=servers")
    )
    assert line.index("Folder x is gone") < line.index("1 model")
    calm = views.first_line(v.FirstLine(models=2, servers=1, connected=1))
    assert "All right" in calm


def test_words_to_type_stand_as_code_and_what_is_hostile_stays_text() -> None:
    frozen = dataclasses.replace(_cards()[0], frozen="delete `server.json` `<b>`, `it` and `\n` join")
    shown = views.servers(v.ServersPage((frozen,)))
    assert "delete <code>server.json</code> <code>&lt;b&gt;</code>, <code>it</code> and `\n` join" in shown
    told = views.problem(v.Problem("a `b", "run `stablequeue up`"))
    assert "a `b" in told
    assert "run <code>stablequeue up</code>" in told
    assert "<code>x</code>" in views.notice(v.Notice("try `x`"))


def test_who_may_only_look_gets_no_buttons() -> None:
    page = dataclasses.replace(v.ServersPage(()), servers=(), may_change=False)
    shown = views.servers(dataclasses.replace(page, servers=_cards()))
    assert "data-sq-post" not in shown
    assert "data-sq-post" in views.servers(v.ServersPage(_cards()))


def _cards() -> tuple[v.ServerCard, ...]:
    folder = v.Folder("r", "loras", "lora", "suspect", 3, 1)
    aside = v.FileRow("s", "attic", "r", "loras", "a.corrupted", "lora", "set_aside")
    return (
        v.ServerCard("s", "attic", True, folders=(folder,), problems=v.FileList((aside,), 1)),
        v.ServerCard("t", "studio", True, frozen="Stop one."),
    )


def test_where_no_job_may_be_changed_there_is_nothing_to_choose() -> None:
    page = sample_jobs.queue_page()
    assert "data-sq-pick-all" in job_views.queue(page)
    seen = dataclasses.replace(page, rows=tuple(row._replace(may_change=False) for row in page.rows))
    assert "data-sq-pick-all" not in job_views.queue(seen)


def test_the_first_line_warns_while_no_server_is_connected() -> None:
    alone = views.first_line(v.FirstLine(servers=2, connected=0))
    assert "sq-tone-warn" in alone
    assert "No server is connected" in alone
    assert "sq-tone-good" in views.first_line(v.FirstLine(servers=2, connected=1))
