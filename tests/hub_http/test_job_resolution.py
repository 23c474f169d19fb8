"""What waiting jobs name is looked up again; a LoRA is found by the name in its header too."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from stablequeue_client.shared.wire.inventory import (
    FileEntry,
    RootEntry,
    WireDigests,
    digest_hex,
    digest_sum,
    entry_dict,
    row_digest,
)
from stablequeue_hub.inventory.sync import apply_sync, decode_sync
from stablequeue_hub.matching.re_resolve import resolve_waiting

ON_BOTH_DATABASES = True


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def tell(hub: Any, server: Any, *, sequence: int = 1, **files: str | None) -> None:
    """``server`` has LoRAs called so: name=content, None where nobody has read the file."""
    root = entry_dict(RootEntry("lora", "lora", "healthy"))
    entries = [
        entry_dict(
            FileEntry(
                "lora",
                f"{name}.safetensors",
                "lora",
                1000,
                "unhashed" if content is None else "ready",
                None if content is None else WireDigests(sha256=sha(content)),
            )
        )
        for name, content in files.items()
    ]
    body = {
        "protocol": 1,
        "index_id": "index",
        "mode": "full",
        "base_sequence": 0,
        "sequence": sequence,
        "digest": digest_hex(digest_sum(row_digest(entry) for entry in [root, *entries])),
        "roots": [root],
        "upserts": entries,
        "removals": [],
    }
    # Past the route, which looks up again by itself.
    request = decode_sync(json.dumps(body).encode())
    apply_sync(hub.hub.store, server.server_id, request, now_ms=hub.clock.now_ms())


def header_says(hub: Any, server: Any, content: str, name: str) -> None:
    path = f"/api/v1/models/{sha(content)}/metadata"
    answer = hub.request("PUT", path, key=server.key, json={"ss_output_name": name})
    assert answer.status_code == 200, answer.text


def submit(hub: Any, prompt: str, **options: Any) -> list[str]:
    body = {"payload": {"prompt": prompt}, **options}
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body)
    assert answer.status_code == 202, answer.text
    ids: list[str] = answer.json()["job_ids"]
    return ids


def requirements(hub: Any, job_id: str) -> list[tuple[str, str | None]]:
    found = hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).json()["requirements"]
    return [(one["status"], one["sha256"]) for one in found]


def resolved(hub: Any) -> list[str]:
    with hub.hub.store.write() as connection:
        return resolve_waiting(connection, hub.hub.presence, hub.clock.now_ms())


def model_events(hub: Any) -> list[tuple[str, str]]:
    events = hub.request("GET", "/api/v1/events?limit=1000", key=hub.admin).json()["events"]
    return [(e["action"], e["job_id"]) for e in events if e["action"].startswith("job_model")]


def test_a_model_that_arrives_is_found_for_every_waiting_job_and_told_once(hub: Any) -> None:
    a = hub.join("forge-a")
    tell(hub, a, film="film")
    ids = submit(hub, "<lora:ink:1> <lora:film:1>", count=2)
    other = submit(hub, "<lora:none:1>")[0]
    cancelled = submit(hub, "<lora:ink:1>")[0]
    hub.request("POST", f"/api/v1/jobs/{cancelled}/cancel", key=hub.admin)
    assert resolved(hub) == []
    tell(hub, a, sequence=2, film="film", ink="ink")
    assert resolved(hub) == ids
    assert requirements(hub, ids[1]) == [("found", sha("ink")), ("found", sha("film"))]
    assert requirements(hub, other) == [("missing", None)]
    assert requirements(hub, cancelled) == [("missing", None)]
    assert model_events(hub) == [("job_model_found", job_id) for job_id in ids]
    assert resolved(hub) == []


def test_a_name_counts_as_on_the_server_where_the_job_was_written(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, film="film")
    tell(hub, b, film="film")
    here, anywhere = submit(hub, "<lora:ink:1>", server="forge-a"), submit(hub, "<lora:ink:1>")
    tell(hub, a, sequence=2, ink=None)
    tell(hub, b, sequence=2, ink="theirs")
    assert resolved(hub) == here + anywhere
    assert requirements(hub, here[0]) == [("unhashed", None)]
    assert requirements(hub, anywhere[0]) == [("found", sha("theirs"))]
    tell(hub, a, sequence=3, ink="mine")
    assert resolved(hub) == here
    assert requirements(hub, here[0]) == [("found", sha("mine"))]
    # What was found stays: other files of that name say nothing about what the job meant.
    assert requirements(hub, anywhere[0]) == [("found", sha("theirs"))]


def test_a_name_that_came_to_mean_two_models_is_doubtful_until_one_of_them_is_named(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    job_id = submit(hub, "<lora:ink:1>")[0]
    tell(hub, a, ink="one")
    tell(hub, b, ink="two")
    assert resolved(hub) == [job_id]
    assert requirements(hub, job_id) == [("ambiguous", None)]
    assert model_events(hub) == [("job_model_ambiguous", job_id)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [("forge-a", ("found", sha("one"))), (None, ("found", sha("one"))), ("forge-b", ("found", sha("one")))],
)
def test_a_lora_is_found_by_the_name_in_its_header_where_no_file_is_called_so(
    hub: Any, source: str | None, expected: tuple[str, str | None]
) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, ink_v2="one")
    tell(hub, b, film="film")
    job_id = submit(hub, "<lora:Ink:1>", server=source)[0]
    assert requirements(hub, job_id) == [("missing", None)]
    header_says(hub, a, "one", "ink")
    assert requirements(hub, job_id) == [expected]
    assert model_events(hub) == [("job_model_found", job_id)]


def test_several_loras_with_one_name_in_their_headers_are_not_guessed_among(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, ink_v2="one")
    tell(hub, b, ink_v3="two")
    header_says(hub, a, "one", "ink")
    header_says(hub, b, "two", "ink")
    assert requirements(hub, submit(hub, "<lora:ink:1>")[0]) == [("ambiguous", None)]
    assert requirements(hub, submit(hub, "<lora:ink:1>", server="forge-b")[0]) == [("found", sha("two"))]
    tell(hub, b, sequence=2, ink_v3="two", ink_v2="one")
    assert requirements(hub, submit(hub, "<lora:ink:1>", server="forge-b")[0]) == [("ambiguous", None)]


def test_a_header_s_name_on_the_source_counts_before_a_file_elsewhere_and_after_its_own_files(
    hub: Any,
) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, ink_v2="one")
    tell(hub, b, ink="two")
    header_says(hub, a, "one", "ink")
    assert requirements(hub, submit(hub, "<lora:ink:1>", server="forge-a")[0]) == [("found", sha("one"))]
    assert requirements(hub, submit(hub, "<lora:ink:1>", server="forge-b")[0]) == [("found", sha("two"))]
    # Where nobody says where it was written, a host of each may be meant.
    assert requirements(hub, submit(hub, "<lora:ink:1>")[0]) == [("ambiguous", None)]
    tell(hub, a, sequence=2, ink_v2="one", ink=None)
    assert requirements(hub, submit(hub, "<lora:ink:1>", server="forge-a")[0]) == [("unhashed", None)]
