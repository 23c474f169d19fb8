"""The login form, as HTML."""

from __future__ import annotations

from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.views import values, views


def login_form(error: StableQueueError | None = None, *, sample: bool, base: str) -> str:
    """The whole page; ``error``: why the last try failed. ``sample``: the models behind it are invented.
    ``base``: where the hub's page lies."""
    problem = values.Problem(error.message, error.remedy) if error else None
    return str(views.login_page(values.LoginForm(problem, sample, base)))
