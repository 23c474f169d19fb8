"""Where a queued generation would run, without waiting for a hub and without sending it a prompt."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from stablequeue_client.shared.errors import HubUnreachableError
from stablequeue_client.shared.generation.requirements import Requirement, generation_requirements
from stablequeue_client.shared.wire.jobs import Help, JobCheck, Reason, ServerCheck
from stablequeue_client.webui.prompt_line.target_check import TargetCheckCache, names_alone, target_words

LACKS = ServerCheck("2" * 32, "forge-b", False, [Reason("model_missing", "ink is not there.", 0)])
HAS = ServerCheck("1" * 32, "forge-a", True)
OTHER = ServerCheck("3" * 32, "attic", True)
CHECK = JobCheck(True, [], [HAS, LACKS, OTHER], [Help(0, "ink can be copied from forge-a.", ["forge-a"])])


class Hub:
    """Answers when it is let; counts what it was asked."""

    def __init__(self, answer: JobCheck | None = CHECK) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.answer = answer
        self.may = threading.Event()

    def check(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(request)
        self.may.wait(20)
        if self.answer is None:
            raise HubUnreachableError
        return msgspec.to_builtins(self.answer)  # type: ignore[no-any-return]


def lora(name: str) -> list[Requirement]:
    return [Requirement("lora", name, tag="lora")]


def answered(where: TargetCheckCache, wanted: list[Requirement], target: str = "") -> JobCheck | None:
    end = time.monotonic() + 60
    while True:
        found, asking = where.known(wanted, target)
        if not asking:
            return found
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_says_how_many_can_and_who_has_what_another_lacks() -> None:
    said = target_words(CHECK, "")
    assert said is not None
    assert (said.tone, said.text) == ("good", "Queued, it runs on 2 of 3 servers.")
    assert said.reasons == ("forge-b: ink is not there. forge-a has it.",)


def test_of_a_chosen_server_only_that_one_is_spoken() -> None:
    can, cannot = target_words(CHECK, HAS.server_id), target_words(CHECK, LACKS.server_id)
    gone = target_words(CHECK, "9" * 32)
    assert can is not None
    assert cannot is not None
    assert gone is not None
    assert (can.tone, can.text, can.reasons) == ("good", "Queued, it runs on forge-a.", ())
    assert (cannot.tone, cannot.text) == ("warn", "Queued, it waits.")
    assert cannot.reasons == ("forge-b: ink is not there. forge-a has it.",)
    assert gone.tone == "warn"


def test_one_server_alone_is_nothing_to_speak_of() -> None:
    assert target_words(JobCheck(True, [], [HAS]), "") is None


def unable(server_id: str, alias: str, *reasons: tuple[str, str]) -> ServerCheck:
    return ServerCheck(server_id * 32, alias, False, [Reason(code, text) for code, text in reasons])


IS_PAUSED = "The whole queue is paused."
IS_FOR_ITSELF = "It works for nobody else. Allow it in that WebUI."
ONLY_READS = "It cannot make pictures: only the agent runs there. Install the StableQueue extension there."
NOTHING_THERE = "Install the extension there."
LAPTOP = unable("4", "laptop", ("no_webui", ONLY_READS))
OLD = unable("5", "old", ("no_agent", NOTHING_THERE))


def test_a_server_without_a_webui_counts_for_nothing_where_another_is_able() -> None:
    assert target_words(JobCheck(True, [], [HAS, LAPTOP, OLD]), "") is None
    said = target_words(JobCheck(True, [], [LAPTOP, HAS, OTHER, OLD]), "")
    assert said is not None
    assert (said.text, said.reasons) == ("Queued, it runs on 2 of 2 servers.", ())


def test_where_nobody_may_make_it_every_server_says_why_with_the_remedy() -> None:
    itself = unable("6", "attic", ("not_for_others", IS_FOR_ITSELF))
    said = target_words(JobCheck(False, [], [LAPTOP, itself, OLD]), "")
    assert said is not None
    assert (said.tone, said.text) == ("warn", "Queued, it waits: no server can make it now.")
    assert said.reasons == (f"attic: {IS_FOR_ITSELF}", f"laptop: {ONLY_READS}", f"old: {NOTHING_THERE}")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("no_webui", ONLY_READS),
        ("not_for_others", IS_FOR_ITSELF),
        ("server_paused", "It is paused."),
        ("queue_paused", IS_PAUSED),
        ("server_in_use", "This WebUI is in use."),
        ("a_later_code", "It waits for the weekend."),
    ],
)
def test_the_only_server_says_what_keeps_it_from_the_job(code: str, text: str) -> None:
    only = unable("1", "forge-a", (code, text))
    for target in ("", only.server_id):
        said = target_words(JobCheck(False, [], [only]), target)
        assert said is not None
        assert (said.tone, said.reasons) == ("warn", (f"forge-a: {text}",))


def test_what_the_only_server_lacks_is_said_by_the_line_itself() -> None:
    assert target_words(JobCheck(False, [], [LACKS]), "") is None
    paused = ServerCheck(
        LACKS.server_id, "forge-b", False, [Reason("queue_paused", IS_PAUSED), *LACKS.reasons]
    )
    said = target_words(JobCheck(False, [], [paused]), "")
    assert said is not None
    assert said.reasons == (f"forge-b: {IS_PAUSED} ink is not there.",)


def test_a_webui_alone_that_generates_is_not_said_to_be_off() -> None:
    text = "It accepts no jobs: StableQueue is not running in a WebUI there. Start the WebUI."
    alone = unable("1", "forge-a", ("no_runner", text))
    assert target_words(JobCheck(False, [], [alone]), "") is None
    said = target_words(JobCheck(False, [], [alone, LAPTOP]), "")
    assert said is not None
    assert said.reasons == (f"forge-a: {text}", f"laptop: {ONLY_READS}")


def test_without_any_server_there_is_nothing_to_say() -> None:
    assert target_words(JobCheck(False, [], []), "") is None


def test_an_answer_is_not_waited_for_and_then_remembered() -> None:
    hub = Hub()
    where = TargetCheckCache(hub.check)
    begun = time.monotonic()
    assert where.known(lora("ink"), "") == (None, True)
    assert time.monotonic() - begun < 5, "the hub says nothing before it may"
    while not hub.asked:
        time.sleep(0.01)
    assert where.known(lora("ink"), "") == (None, True), "the line looks again meanwhile"
    hub.may.set()
    assert answered(where, lora("ink")) == CHECK
    assert answered(where, lora("ink")) == CHECK
    assert len(hub.asked) == 1


def test_of_what_was_typed_while_the_hub_thinks_only_the_last_is_asked() -> None:
    hub = Hub()
    where = TargetCheckCache(hub.check)
    where.known(lora("i"), "")
    while not hub.asked:
        time.sleep(0.01)
    for name in ("in", "ink"):
        where.known(lora(name), "")
    hub.may.set()
    assert answered(where, lora("ink")) == CHECK
    assert [request["payload"]["prompt"] for request in hub.asked] == ["<lora:i:1>", "<lora:ink:1>"]


def test_a_hub_that_cannot_be_asked_is_left_in_peace_for_a_while() -> None:
    hub, now = Hub(None), [0.0]
    hub.may.set()
    where = TargetCheckCache(hub.check, now=lambda: now[0])
    assert answered(where, lora("ink")) is None
    assert answered(where, lora("ink")) is None
    assert len(hub.asked) == 1
    now[0] = 6.0
    assert where.known(lora("ink"), "")[1]


def test_the_hub_is_told_names_and_no_prompt() -> None:
    values = {
        "prompt": "my secret cat <lora:ink:0.7:0.2>, again <lora:ink:1>",
        "negative_prompt": "secret dogs",
        "enable_hr": True,
        "hr_checkpoint_name": "big.safetensors",
        "refiner_checkpoint": "fine.safetensors",
        "override_settings": {
            "sd_model_checkpoint": "alpha.safetensors [31e35c80fc]",
            "forge_additional_modules": ["soft.safetensors", "clip_l.safetensors"],
        },
    }
    wanted = generation_requirements(values)
    told = names_alone(wanted)
    assert "secret" not in str(told)
    assert told["prompt"] == "<lora:ink:1>"
    named = {(one.role, one.name, one.hash) for one in generation_requirements(told)}
    assert named == {(one.role, one.name, one.hash) for one in wanted}


def test_the_hub_is_told_what_the_page_samples_with() -> None:
    hub = Hub()
    hub.may.set()
    where = TargetCheckCache(hub.check)
    page = {
        "sampler_name": "Euler",
        "scheduler": "Karras",
        "hr_sampler_name": "DDIM",
        "hr_upscaler": "ESRGAN",
        "styles": ["secret"],
        "enable_hr": False,
    }
    for values in (page, {**page, "enable_hr": True}, {"sampler_name": 3, "scheduler": None}):
        where.known(lora("ink"), "", values)
        while len(hub.asked) == 0 or where.known(lora("ink"), "", values)[1]:
            time.sleep(0.01)
    told = [{**request["payload"], "prompt": "", "override_settings": {}} for request in hub.asked]
    rest = {"prompt": "", "override_settings": {}}
    first = {**rest, "sampler_name": "Euler", "scheduler": "Karras"}
    hires = {"enable_hr": True, "hr_sampler_name": "DDIM", "hr_upscaler": "ESRGAN"}
    assert told == [first, {**first, **hires}, rest]
