"""How soon the tab shows 10,000 models. The aims are of a person's machine; a busy test machine gets more."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tab as benchmark

from ..hosts.running_host import StartHost
from .conftest import OpenHost, serving

pytestmark = pytest.mark.browser
FACTOR = 4


@pytest.mark.alone
def test_ten_thousand_models_are_shown_and_filtered_without_a_wait(
    family: str, start_host: StartHost, open_host: OpenHost, tmp_path: Path
) -> None:
    data = tmp_path / "webui"
    host = start_host(family, data, "--bare", *serving(data))
    benchmark.fill(host, 10_000)
    tab = open_host(host)
    tab.page.wait_for_timeout(1000)
    took = benchmark.measure(tab.page, rounds=5)
    assert took["first_line"][0] <= 100 * FACTOR
    assert took["first_page"][0] <= 1000 * FACTOR
    assert sorted(took["filter"])[2] <= 300 * FACTOR
    assert tab.complaints == []
