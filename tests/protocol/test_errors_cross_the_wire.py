"""Errors: each has a message, a code of its own, and is the same class again on the other side."""

from __future__ import annotations

import pytest

from stablequeue_client.shared import errors


def all_errors(
    cls: type[errors.StableQueueError] = errors.StableQueueError,
) -> list[type[errors.StableQueueError]]:
    found = [cls]
    for child in cls.__subclasses__():
        found += all_errors(child)
    return [error for error in found if error.__module__ == "stablequeue_client.shared.errors"]


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_an_error_is_rebuilt_from_its_wire_form(cls: type[errors.StableQueueError]) -> None:
    sent = cls("a message", details={"sequence": 3})
    rebuilt = errors.error_from_wire(sent.as_wire())
    assert type(rebuilt) is cls
    assert (rebuilt.message, rebuilt.remedy, rebuilt.details) == ("a message", sent.remedy, {"sequence": 3})


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in all_errors()]
    assert len(codes) == len(set(codes))


def test_an_unknown_code_becomes_the_base_class_with_its_text() -> None:
    error = errors.error_from_wire({"code": "from_the_future", "message": "what", "remedy": "update"})
    assert type(error) is errors.StableQueueError
    assert str(error) == "what update"
