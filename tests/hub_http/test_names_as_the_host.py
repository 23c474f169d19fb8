"""A name means the file that the host would take, whatever the registry saw first under it."""

from __future__ import annotations

from typing import Any

import pytest

from stablequeue_client.shared.wire.inventory import FileEntry
from stablequeue_hub.store.tables import server_files, server_roots

from ..fake_runner import sha256_of
from .test_job_check import check, file, tell
from .test_job_resolution import header_says
from .test_job_waiting import can
from .test_shared_names import obstacles
from .test_shared_names import submit as submitted

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base")
TITLES = {"checkpoint": ".safetensors", "vae": ".safetensors", "text_encoder": ".safetensors"}


def naming(role: str, name: str) -> dict[str, Any]:
    """A payload that names this and nothing else."""
    settings = {"checkpoint": "sd_model_checkpoint", "vae": "sd_vae", "module": "forge_additional_modules"}
    if role in settings:
        return {"override_settings": {settings[role]: [name] if role == "module" else name}}
    return {
        "lora": {"prompt": f"<lora:{name}:1>"},
        "embedding": {"prompt": f"a cat, {name}"},
        "refiner": {"refiner_checkpoint": name},
        "hires_checkpoint": {"enable_hr": True, "hr_checkpoint_name": name},
    }[role]


def meaning(hub: Any, payload: dict[str, Any], server: str | None) -> tuple[str, str | None]:
    """Status and content of the last model that it names."""
    found = check(hub, payload, **({} if server is None else {"server": server}))["requirements"]
    return (found[-1]["status"], found[-1]["sha256"]) if found else ("none", None)


OTHER_KINDS = {"hires_checkpoint": "checkpoint", "refiner": "checkpoint", "module": "text_encoder"}


def names_of(role: str) -> tuple[str, str]:
    """The kind of the role's files, and what is behind their names where they are written."""
    kind = OTHER_KINDS.get(role, role)
    return kind, ".safetensors" if kind in TITLES else ""


@pytest.mark.parametrize(
    "role", ["lora", "embedding", "checkpoint", "hires_checkpoint", "refiner", "vae", "module"]
)
def test_a_file_is_meant_by_its_name_though_another_model_was_called_so_first(hub: Any, role: str) -> None:
    kind, ending = names_of(role)
    a, b = hub.join("a"), hub.join("b")
    tell(hub, a, file("Style A.safetensors", "X", kind=kind))
    tell(hub, b, file("my-style.safetensors", "X", kind=kind), file("only-b.safetensors", "Y", kind=kind))
    tell(
        hub,
        b,
        file("my-style.safetensors", "X", kind=kind),
        file("Style A.safetensors", "Y", kind=kind),
        sequence=2,
    )
    payload = naming(role, "Style A" + ending)
    assert meaning(hub, payload, "b") == ("found", sha256_of("Y"))
    assert meaning(hub, payload, "a") == ("found", sha256_of("X"))
    assert meaning(hub, payload, None) == ("ambiguous", None)
    # Once no file is called so on the other, the name means one content.
    tell(hub, a, file("else.safetensors", "X", kind=kind), sequence=2)
    assert meaning(hub, payload, None) == ("found", sha256_of("Y"))
    assert meaning(hub, payload, "a")[0] == ("none" if role == "embedding" else "found")


def test_the_picture_is_made_with_the_file_that_generate_takes_there(hub: Any, hosts: Any) -> None:
    hosts.add("a", BASE, ("lora", "styleA.safetensors", "X"))
    runner = hosts.add("b", BASE, ("lora", "my-style.safetensors", "X"), ("lora", "onlyb.safetensors", "Y"))
    runner.webui.files[-1].path = "styleA.safetensors"
    hosts.tell(runner)
    job_id, said = submitted(hub, payload={"prompt": "<lora:styleA:1>"}, server="b", targets=["b"])
    assert said == {"b": []}
    job = runner.next()
    assert [(one["path"], one["sha256"]) for one in job["files"]] == [("styleA.safetensors", sha256_of("Y"))]
    assert job["payload"]["prompt"] == "<lora:styleA:1>"
    assert runner.work(job).json()["outcome"] == "confirmed"
    report = hub.request("GET", f"/api/v1/jobs/{job_id}/report", key=hub.admin)
    assert report.status_code == 200


def test_a_name_that_leads_to_another_file_when_the_picture_is_made_is_not_called_confirmed(
    hub: Any, hosts: Any
) -> None:
    """The files changed their names after the job was queued, or before and nobody had told yet."""
    runner = hosts.add("b", BASE, ("lora", "ink.safetensors", "X"), ("lora", "oil.safetensors", "Y"))
    bodies = [
        {"payload": {"prompt": "<lora:ink:1>"}, "server": "b"},
        {"payload": {"prompt": "<lora:ink:1>"}},
        {"infotext": f"<lora:ink:1>\nSteps: 1, Sampler: Euler, Seed: 1, Size: 64x64, "
         f'Lora hashes: "ink: {sha256_of("X")[:12]}"', "server": "b"},
    ]  # fmt: skip
    ids = [submitted(hub, **body)[0] for body in bodies]
    for one, path in zip(runner.webui.files[1:], ("oil.safetensors", "ink.safetensors"), strict=True):
        one.path = path
    hosts.tell(runner)
    ended = {}
    while (job := runner.next()) is not None:
        assert job["payload"]["prompt"].startswith("<lora:oil:1>")
        ended[job["job_id"]] = runner.work(job).json()
    assert [ended[job_id]["outcome"] for job_id in ids] == ["not_provable", "confirmed", "confirmed"]
    (verdict,) = ended[ids[0]]["verdicts"]
    assert (verdict["reason"], "“ink” now names another file" in verdict["text"]) == (
        "name_moved",
        True,
    )


def test_files_that_change_places_mean_each_other_s_names(hub: Any) -> None:
    a = hub.join("a")
    tell(hub, a, file("one.safetensors", "X"), file("two.safetensors", "Y"))
    tell(hub, a, file("one.safetensors", "Y"), file("two.safetensors", "X"), sequence=2)
    for name, content in (("one", "Y"), ("two", "X")):
        for server in ("a", None):
            assert meaning(hub, naming("lora", name), server) == ("found", sha256_of(content))


def test_a_claim_on_a_file_makes_its_name_neither_that_model_nor_two(hub: Any) -> None:
    """Where it was written the job runs with what lies there; elsewhere nobody knows what it means."""
    a, b = hub.join("a"), hub.join("b")
    tell(hub, b, file("ink.safetensors", "claimed"))
    tell(hub, a, file("ink.safetensors", None, claim="claimed"))
    assert meaning(hub, naming("lora", "ink"), "a") == ("unhashed", None)
    _, said = submitted(hub, payload=naming("lora", "ink"), server="a")
    assert said == {"a": [], "b": ["model_missing"]}


def test_an_unread_checkpoint_in_a_folder_is_meant_by_its_stem(hub: Any) -> None:
    a, b = hub.join("a"), hub.join("b")
    tell(hub, b, file("base.safetensors", "another", kind="checkpoint"))
    tell(hub, a, file("sub/base.safetensors", None, kind="checkpoint"))
    for name in ("base", "sub/base.safetensors", "sub\\base.safetensors"):
        assert meaning(hub, naming("checkpoint", name), "a") == ("unhashed", None), name
    # The hosts do not know a file in a folder by this name: nobody knows whose is meant.
    assert meaning(hub, naming("checkpoint", "base.safetensors"), "a") == ("ambiguous", None)


def test_a_file_that_is_being_copied_is_not_taken_for_another_server_s(hub: Any) -> None:
    a, b = hub.join("a"), hub.join("b")
    tell(hub, b, file("ink.safetensors", "another"))
    tell(hub, a, FileEntry("lora", "ink.safetensors", "lora", 1000, "partial"))
    can(hub, a)
    assert meaning(hub, naming("lora", "ink"), "a") == ("unhashed", None)
    job_id, said = submitted(hub, payload=naming("lora", "ink"), server="a", targets=["a"])
    assert (said, obstacles(hub, job_id)["a"]) == ({"a": ["model_unhashed"]}, ["model_unhashed"])
    waiting = hub.request("GET", f"/api/v1/jobs/{job_id}/why", key=hub.admin).json()["waiting_for"]
    assert waiting == "Waits for ink, which has to be read first on a"
    tell(hub, a, file("ink.safetensors", "mine"), sequence=2)
    found = hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).json()["requirements"]
    assert found[0]["sha256"] == sha256_of("mine")


def test_a_file_in_a_folder_that_is_away_does_not_hide_the_one_that_is_there(hub: Any) -> None:
    a = hub.join("a")
    tell(hub, a, file("ink.safetensors", "here"), file("x/ink.safetensors", "away"))
    assert meaning(hub, naming("lora", "ink"), "a") == ("ambiguous", None)
    with hub.hub.store.write() as connection:
        row = {"server_id": a.server_id, "kind": "lora", "health": "unreachable", "row_digest": b"0" * 32}
        connection.execute(server_roots.insert().values(**row, root_id="nas", since_ms=1))
        moved = server_files.update().where(server_files.c.path == "x/ink.safetensors")
        connection.execute(moved.values(root_id="nas"))
    assert meaning(hub, naming("lora", "ink"), "a") == ("found", sha256_of("here"))


def test_a_lora_s_header_counts_on_its_server_in_its_own_case_and_while_no_other_carries_it(hub: Any) -> None:
    a, b = hub.join("a"), hub.join("b")
    tell(
        hub,
        a,
        *(
            file(f"ink_v{number}.safetensors", content)
            for number, content in enumerate(("one", "two", "six"))
        ),
    )
    tell(hub, b, file("Ink.safetensors", "three"))
    header_says(hub, a, "one", "ink")
    assert meaning(hub, naming("lora", "ink"), "a") == ("found", sha256_of("one"))
    assert meaning(hub, naming("lora", "Ink"), "a") == ("ambiguous", None)
    header_says(hub, a, "two", "INK")
    assert meaning(hub, naming("lora", "ink"), "a") == ("found", sha256_of("one"))
    assert meaning(hub, naming("lora", "INK"), "a") == ("found", sha256_of("two"))
    header_says(hub, a, "six", "INK")
    for name in ("ink", "INK"):
        assert meaning(hub, naming("lora", name), "a") == ("ambiguous", None)
    assert meaning(hub, naming("lora", "Ink"), "b") == ("found", sha256_of("three"))


@pytest.mark.parametrize("role", ["hires_checkpoint", "refiner"])
def test_hires_and_refiner_checkpoints_are_also_found_by_a_part_of_their_title(hub: Any, role: str) -> None:
    a, b = hub.join("a"), hub.join("b")
    tell(hub, b, file("sdxl.safetensors", "theirs", kind="checkpoint"))
    long = "x/a much longer name of sdxl than that.safetensors"
    tell(
        hub,
        a,
        file("my sdxl.safetensors", "mine", kind="checkpoint"),
        file(long, "longer", kind="checkpoint"),
    )
    assert meaning(hub, naming(role, "sdxl"), "a") == ("found", sha256_of("mine"))
    assert meaning(hub, naming("checkpoint", "sdxl"), "a") == ("found", sha256_of("theirs"))
    tell(
        hub,
        a,
        file("my sdxl.safetensors", "mine", kind="checkpoint"),
        file("our sdxl.safetensors", "ours", kind="checkpoint"),
        sequence=2,
    )
    assert meaning(hub, naming(role, "sdxl"), "a") == ("ambiguous", None)


def test_a_content_counts_as_what_the_folder_makes_of_it_not_as_what_it_was_first(hub: Any) -> None:
    a, b = hub.join("a"), hub.join("b")
    tell(hub, a, file("thing.safetensors", "X", kind="lora"))
    tell(hub, b, file("thing word.safetensors", "X", kind="embedding"))
    assert meaning(hub, naming("embedding", "thing word"), "b") == ("found", sha256_of("X"))
    assert meaning(hub, naming("lora", "thing"), "a") == ("found", sha256_of("X"))


def test_where_a_bare_name_is_shows_the_file_that_is_called_so_now(hub: Any) -> None:
    a = hub.join("a")
    tell(hub, a, file("styleA.safetensors", "X"))
    tell(hub, a, file("my-style.safetensors", "X"), file("other.safetensors", "Y"), sequence=2)
    tell(hub, a, file("my-style.safetensors", "X"), file("styleA.safetensors", "Y"), sequence=3)
    answer = hub.request("GET", "/api/v1/models/styleA/availability", key=hub.admin).json()
    assert [match["hash_sha256"] for match in answer["matches"]] == [sha256_of("Y")]


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize(
    ("kind", "path", "written"),
    [
        ("checkpoint", "merge [20240101].safetensors", "merge [20240101]"),
        ("checkpoint", "sub/merge [20240101].safetensors", "sub\\merge [20240101].safetensors"),
        ("checkpoint", "base .safetensors", "base "),
        ("lora", "tune .safetensors", "tune "),
        ("lora", " tune.safetensors", " tune"),
    ],
)
def test_the_whole_name_is_tried_before_it_is_taken_apart(
    hub: Any, kind: str, path: str, written: str, server: bool
) -> None:
    a = hub.join("a")
    tell(hub, a, file(path, "X", kind=kind), file("merge.safetensors", "Y", kind=kind))
    found = meaning(hub, naming(kind, written), a.server_id if server else None)
    assert found == ("found", sha256_of("X"))


def test_a_title_with_a_hash_is_one_where_no_file_is_called_so(hub: Any) -> None:
    a = hub.join("a")
    tell(hub, a, file("base.safetensors", "X", kind="checkpoint"), file("x.safetensors", "Y"))
    title = f"base [{sha256_of('X')[:10]}]"
    assert meaning(hub, naming("checkpoint", title), a.server_id) == ("found", sha256_of("X"))
    other = f"base [{sha256_of('Z')[:10]}]"
    assert meaning(hub, naming("checkpoint", other), a.server_id)[0] == "missing"


def test_a_title_of_a_file_that_nobody_has_read_waits_to_be_read(hub: Any) -> None:
    a, b = hub.join("a"), hub.join("b")
    tell(hub, a, file("zeta.safetensors", None, kind="checkpoint"))
    tell(hub, b, file("other.safetensors", "Y", kind="checkpoint"))
    title = "zeta.safetensors [6a65d66ded]"
    assert meaning(hub, naming("checkpoint", title), a.server_id)[0] == "unhashed"
    assert meaning(hub, naming("checkpoint", title), b.server_id)[0] == "missing"
    assert meaning(hub, naming("checkpoint", title), None)[0] == "missing"
