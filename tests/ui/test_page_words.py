from typing import get_args

from stablequeue_client.commands.demo_library import MARKER
from stablequeue_client.shared.model_files.model_file import FILE_STATES
from stablequeue_client.shared.views import labels
from stablequeue_client.shared.views.views import FILE_STATES as CHOOSING_FILES
from stablequeue_client.shared.views.views import SORTS, STATES
from stablequeue_client.shared.wire.orders import Order, OrderKind
from stablequeue_hub.models.filters import SortOrder, StateFilter
from stablequeue_hub.page import labels as page_labels
from stablequeue_hub.page.sample import SAMPLE_MARKER


def test_every_state_of_a_file_has_a_mark() -> None:
    assert all(page_labels.file_mark(state) != "unknown" for state in (*FILE_STATES, "rejected"))


def test_every_state_of_a_file_that_is_no_model_is_listed_once() -> None:
    listed = [*labels.UNREAD_STATES, *labels.TROUBLED_STATES]
    assert sorted(listed) == sorted({*FILE_STATES, "rejected"} - {"ready"})


def test_the_page_offers_only_filters_the_registry_knows() -> None:
    assert {choice.value for choice in STATES} <= {*get_args(StateFilter), *CHOOSING_FILES}
    assert {choice.value for choice in SORTS} <= {"", *get_args(SortOrder)}


def test_every_order_has_its_sentence() -> None:
    sentences = {page_labels.order_text(Order(1, kind)) for kind in get_args(OrderKind)}
    assert len(sentences) == len(get_args(OrderKind))
    assert page_labels.order_text(Order(1, "hashing", mode="pause")) == "Asked to pause reading."


def test_a_model_behind_a_lost_folder_is_told_from_one_on_a_lost_server() -> None:
    assert page_labels.cell_mark("unreachable", reachable=True) == "folder"
    assert page_labels.cell_mark("unreachable", reachable=False) == "away"


def test_hub_and_demo_agree_on_the_mark_of_a_sample() -> None:
    assert SAMPLE_MARKER == MARKER
