"""A word of a prompt is an embedding where it was one, and a plain word elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from ..fake_runner import sha256_of

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base")
GIRL = ("embedding", "girl.pt", "girl embedding")
BAD_HANDS = ("embedding", "sub/bad-hands-5.pt", "bad hands")
PROMPT = "a girl in a red dress, bad-hands-5"
SETTINGS = {"override_settings": {"sd_model_checkpoint": "base.safetensors"}}


def submit(hub: Any, prompt: str = PROMPT, **fields: Any) -> dict[str, Any]:
    if "infotext" not in fields:
        fields["payload"] = {"prompt": prompt, **SETTINGS}
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=fields)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def words(answer: dict[str, Any]) -> dict[str, str]:
    """The embeddings that the job names, and what is known of each."""
    check = answer.get("check", answer)
    return {one["name"]: one["status"] for one in check["requirements"] if one["role"] == "embedding"}


def able(answer: dict[str, Any]) -> list[str]:
    return [server["alias"] for server in answer["check"]["servers"] if server["ok"]]


def test_a_word_counts_as_where_it_was_written(hub: Any, hosts: Any) -> None:
    hosts.add("with", BASE, GIRL)
    without = hosts.add("without", BASE)
    plain = submit(hub, server="without")
    assert (words(plain), able(plain)) == ({}, ["with", "without"])
    assert without.next()["job_id"] == plain["job_id"]
    needed = submit(hub, server="with")
    assert (words(needed), able(needed)) == ({"girl": "found"}, ["with"])


def test_without_a_source_an_ordinary_word_holds_up_nothing_and_a_made_up_name_does(
    hub: Any, hosts: Any
) -> None:
    hosts.add("with", BASE, GIRL, BAD_HANDS)
    hosts.add("without", BASE)
    answer = submit(hub)
    assert words(answer) == {"girl": "not_checked", "bad-hands-5": "found"}
    assert able(answer) == ["with"]
    said = [one["text"] for one in answer["check"]["helps"]]
    assert said[0] == "girl may be an embedding or a word, so it blocks nothing."
    word = submit(hub, "a girl in a red dress")
    assert (words(word), able(word)) == ({"girl": "not_checked"}, ["with", "without"])
    waiting = hub.request("GET", f"/api/v1/jobs/{word['job_id']}/why", key=hub.admin).json()
    assert waiting["servers"][1]["reasons"] == []
    again = hub.request("POST", f"/api/v1/jobs/{word['job_id']}/again", key=hub.admin, json={"seed": "new"})
    assert (words(again.json()), able(again.json())) == ({"girl": "not_checked"}, ["with", "without"])


@pytest.mark.parametrize("source", [None, "without"])
def test_a_hash_in_the_text_makes_any_word_an_embedding(hub: Any, hosts: Any, source: str | None) -> None:
    hosts.add("with", BASE, GIRL)
    hosts.add("without", BASE)
    stated = f'TI hashes: "girl: {sha256_of(GIRL[2])[:10]}"'
    text = f"a girl\nSteps: 20, Sampler: Euler, Seed: 7, Size: 64x64, Model: base, {stated}"
    answer = submit(hub, infotext=text, **({"server": source} if source else {}))
    assert (words(answer), able(answer)) == ({"girl": "found"}, ["with"])
    path = f"/api/v1/jobs/{answer['job_id']}"
    edited = hub.request("PATCH", path, key=hub.admin, json={"prompt": "a girl in a blue dress"}).json()
    assert words(edited["check"]) == {"girl": "found"}
    edited = hub.request("PATCH", path, key=hub.admin, json={"prompt": "a woman"}).json()
    assert words(edited["check"]) == {}


def test_an_embedding_that_lies_nowhere_any_more_is_a_word_again(hub: Any, hosts: Any) -> None:
    runner = hosts.add("with", BASE, GIRL, BAD_HANDS)
    assert words(submit(hub)) == {"girl": "not_checked", "bad-hands-5": "found"}
    runner.webui.files = [one for one in runner.webui.files if one.kind != "embedding"]
    hosts.tell(runner)
    for source in ({}, {"server": "with"}):
        answer = submit(hub, **source)
        assert (words(answer), able(answer)) == ({}, ["with"])


def test_one_content_counts_under_each_server_s_own_name(hub: Any, hosts: Any) -> None:
    hosts.add("one", BASE, GIRL)
    hosts.add("two", BASE, ("embedding", "style-7.pt", GIRL[2]))
    assert words(submit(hub, "a girl, style-7", server="one")) == {"girl": "found"}
    assert words(submit(hub, "a girl, style-7", server="two")) == {"style-7": "found"}


def test_a_server_that_never_told_what_it_has_may_mean_any_made_up_name(hub: Any, hosts: Any) -> None:
    hosts.add("with", BASE, GIRL, BAD_HANDS)
    hub.join("silent")
    assert words(submit(hub, server="silent")) == {"bad-hands-5": "missing"}
