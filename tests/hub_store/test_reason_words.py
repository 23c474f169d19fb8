"""Every reason why a server does not get a job has words, for the server and for the sentence."""

from __future__ import annotations

from typing import get_args

from stablequeue_client.shared.wire.jobs import ReasonCode
from stablequeue_hub.matching import obstacles, reasons, sentence

SAID_BY_THE_SENTENCE_ITSELF = {"not_a_target", "no_agent", "not_for_others", "queue_paused"}
OF_THE_CAPABILITIES = {code for code, _ in obstacles._CAPABILITIES.values()}


def test_every_code_has_words_for_a_server() -> None:
    worded = {*reasons._MODELS, *reasons._SERVERS, *reasons._EXCLUDED, *OF_THE_CAPABILITIES}
    assert worded | {"refused_often", "server_in_use"} == set(get_args(ReasonCode))


def test_every_code_of_a_server_strikes_it_off_in_the_sentence() -> None:
    """Else a job would be in line for a server that does not get it."""
    of_a_server = {*reasons._SERVERS, "server_in_use"} - SAID_BY_THE_SENTENCE_ITSELF
    assert of_a_server == set(sentence._OF_THE_SERVER)
    assert set(reasons._EXCLUDED) == set(sentence._EXCLUDED)
