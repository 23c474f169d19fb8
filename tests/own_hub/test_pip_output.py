"""What pip and uv print becomes progress and causes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.own_hub.pip_output import FETCHED, INSTALLING, PipProgress, build_error

OUTPUT = """\
Looking in indexes: https://pypi.org/simple
Collecting blake3>=1.0
  Downloading blake3-1.0.11-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl (385 kB)
Processing /opt/wheels/jinja2-3.1.6-py3-none-any.whl
Collecting sqlalchemy>=2.0.30
  Using cached sqlalchemy-2.1.9-cp311-cp311-manylinux2014_x86_64.whl (4.7 MB)
Installing collected packages: urllib3, tqdm, psutil
Successfully installed psutil-7.2.2 tqdm-4.70.1 urllib3-2.8.0
"""


def test_a_person_reads_which_package_is_fetched_and_how_far_it_is() -> None:
    progress, seen = PipProgress(), []
    for line in OUTPUT.splitlines():
        progress.take(line)
        seen.append((progress.words, progress.percent))
    assert [words for words, _ in dict.fromkeys(seen)] == [
        "Looking for the packages",
        "Fetching blake3",
        "Fetching blake3 (385 kB)",
        "Fetching jinja2",
        "Fetching sqlalchemy",
        "Unpacking 3 packages",
    ]
    assert seen[-1][1] == INSTALLING


@given(st.lists(st.one_of(st.text(), st.sampled_from(OUTPUT.splitlines())), max_size=200))
def test_progress_never_goes_back_nor_beyond_its_end(lines: list[str]) -> None:
    progress, percents = PipProgress(), [0]
    for line in lines:
        progress.take(line)
        percents.append(progress.percent)
    assert percents == sorted(percents)
    assert FETCHED < INSTALLING
    assert percents[-1] <= INSTALLING


@pytest.mark.parametrize(
    ("line", "says", "remedy"),
    [
        (
            "ERROR: OSError: [Errno 28] No space left on device",
            "disk is full",
            "300 MB",
        ),
        ("/usr/bin/python3: No module named pip", "has no pip", "ensurepip"),
        ("SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...')", "certificate", "clock"),
        (
            "NewConnectionError: Failed to establish a new connection",
            "cannot be reached",
            "internet",
        ),
        ("error: Failed to fetch: dns error: failed to lookup address", "cannot be reached", "internet"),
        (
            "ERROR: OSError: [Errno 13] Permission denied",
            "denied",
            "/data",
        ),
        ("ERROR: No matching distribution found for fastapi>=0.110", "this Python", "3.10"),
        ("ERROR: something nobody thought of", "something nobody thought of", "hub-build.log"),
    ],
)
def test_each_cause_is_one_sentence_with_its_remedy(line: str, says: str, remedy: str) -> None:
    error = build_error(
        ["Collecting fastapi\n", line + "\n", "WARNING: a new pip is there\n"], "/data/hub-env"
    )
    assert says in error.message
    assert remedy in error.remedy


def test_nothing_printed_is_said_too() -> None:
    assert "it printed nothing" in build_error([], "/data").message
