"""How this WebUI joins a hub, and leaves it.

``joining/server.json`` beside ``server.json`` holds the identity of a join under way: a join whose answer got
lost is repeated with it, and until the hub has agreed nothing of the former connection changes.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import msgspec

from stablequeue_client import __version__
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Timeouts, checked_base_url
from stablequeue_client.hub_client.identity import (
    FILE_NAME,
    Identity,
    load_identity,
    new_identity,
    store_identity,
)
from stablequeue_client.shared.errors import (
    AuthenticationError,
    ForbiddenError,
    HubUnreachableError,
    InvalidValueError,
    OldStableQueueError,
)
from stablequeue_client.shared.wire import inventory

JOINING = "joining"
"""Folder in the server's data folder for the identity of a join under way."""
_CODE = re.compile(r"sq_[A-Za-z0-9]+_[A-Za-z0-9_-]+")
_GLUED = re.compile(r"(?<=[A-Za-z0-9/_-])(?=https?://)", re.IGNORECASE)
_HOST = re.compile(r"(https?://)?(\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(:[0-9]{1,5})?(/[!-~]*)?", re.IGNORECASE)
_PLACE_ON_A_PAGE = re.compile(r"[?#].*")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_SHOWN_AT = '"Add another computer" on the hub\'s page shows both; the code begins with sq_.'
_TIMEOUTS = Timeouts(connect=3.0, read=4.0, total=6.0)


class JoinRefusedError(ForbiddenError):
    """The hub did not take the code: it was used already, is older than an hour, or was mistyped."""

    code = "join_refused"
    remedy_text = 'Have "Add another computer" on the hub\'s page show a new one, and paste that.'


def parse_join_text(text: str) -> tuple[str, str]:
    """(address, code) of what was pasted: ``http://HOST:PORT sq_..._...``, or a whole command line.

    Raises InvalidValueError, which says what is missing.
    """
    words = _words(text)
    code = next((found[0] for found in map(_CODE.search, words) if found), None)
    address = _address(_nearest_first(words))
    if code is None and address is None:
        raise InvalidValueError("This holds neither an address nor a code.", remedy=_SHOWN_AT)
    if code is None:
        raise InvalidValueError("The code is missing.", remedy=_SHOWN_AT)
    if address is None:
        raise InvalidValueError("The hub's address is missing.", remedy=_SHOWN_AT)
    return checked_base_url(address), code


def _nearest_first(words: list[str]) -> list[str]:
    """All but the code; of several addresses the one before it was pasted with it, the others stood there."""
    at = next((place for place, word in enumerate(words) if _CODE.search(word)), 0)
    others = words[:at][::-1] + words[at:]
    if "--hub" in words:  # a command line says which
        others = words
    return [word for word in others if not _CODE.search(word)]


def _words(text: str) -> list[str]:
    """The words of a line, without quotes around them; an address begins a word, whatever it was pasted
    behind."""
    text = _GLUED.sub(" ", text)
    try:
        words = shlex.split(text.replace("\\", "\\\\"))
    except ValueError:  # an odd quote
        words = text.split()
    return [word.strip("\"'`<>,;") for part in words for word in (part.split() or [part])]


def _address(words: list[str]) -> str | None:
    """Return what stands behind ``--hub``, else the first word that is an address with its scheme, else any.

    It may be what a browser shows of the hub's page, or begin as a phone's keyboard writes it.
    """
    words = [_SCHEME.sub(lambda found: found[0].lower(), _PLACE_ON_A_PAGE.sub("", word)) for word in words]
    if "--hub" in words[:-1]:
        return words[words.index("--hub") + 1]
    fitting = [word for word in words if _HOST.fullmatch(word)]
    marked = [word for word in fitting if "://" in word]
    plain = [word for word in fitting if re.search(r":[0-9]+", word) or "." in word or word == "localhost"]
    return next(iter([*marked, *plain]), None)


def join(server_dir: Path, url: str, code: str, alias: str, *, ca_file: str | None = None) -> Identity:
    """Join the hub at ``url`` and store ``server.json``. The hub may have given another alias.

    Raises OldStableQueueError, JoinRefusedError, HubUnreachableError and what else the hub says, each with
    its remedy; the former connection is then as it was.
    """
    hub = HubApi(url, code, ca_file=ca_file, timeouts=_TIMEOUTS)
    try:
        hub_id = hub.health().hub_id
        wished = _identity_for(server_dir, hub.base_url, hub_id, alias)
        answer = hub.join(inventory.JoinRequest(wished.server_id, wished.secret, wished.alias, __version__))
    except (AuthenticationError, ForbiddenError) as error:
        raise JoinRefusedError(f"The hub at {hub.base_url} did not take the code: {error.message}") from error
    except OldStableQueueError:
        raise
    except HubUnreachableError as error:
        raise _with_remedy(error, hub.base_url) from error
    finally:
        hub.close()
    joined = msgspec.structs.replace(wished, alias=answer.alias, hub_id=answer.hub_id)
    store_identity(server_dir, joined)
    _drop_joining(server_dir)
    return joined


def _identity_for(server_dir: Path, url: str, hub_id: str, alias: str) -> Identity:
    """Return whom the hub is told: who we are there already, who we said we were in a join whose answer got
    lost, else somebody new, stored first. No hub is shown the secret of another."""
    stored = load_identity(server_dir)
    if stored is not None and stored.hub_id == hub_id:
        return msgspec.structs.replace(stored, hub_url=url, alias=alias, met_url="")
    pending = load_identity(server_dir / JOINING)
    if pending is not None and pending.hub_url == url:
        return msgspec.structs.replace(pending, alias=alias)
    fresh = new_identity(alias, url)
    store_identity(server_dir / JOINING, fresh)
    return fresh


def _with_remedy(error: HubUnreachableError, url: str) -> HubUnreachableError:
    """The same error with what helps somebody who pasted an address."""
    message = error.message
    if "certificate is not trusted" in message:
        message = f"The certificate of {url} is not trusted, so the code was not sent."
        remedy = (
            "If the certificate is your own, name its authority's PEM file in STABLEQUEUE_CA_FILE "
            "(or `ca_file` in stablequeue.toml) and start the WebUI again."
        )
    else:
        remedy = (
            "Check that the hub's computer is on, that the address is the one its page shows, "
            "and that its firewall lets this port in."
        )
    return type(error)(message, remedy=remedy, details=error.details)


def leave(server_dir: Path) -> None:
    """Forget the hub here. The hub keeps what it knows until its owner forgets this server there."""
    (server_dir / FILE_NAME).unlink(missing_ok=True)
    _drop_joining(server_dir)


def _drop_joining(server_dir: Path) -> None:
    with contextlib.suppress(OSError):
        (server_dir / JOINING / FILE_NAME).unlink(missing_ok=True)
        (server_dir / JOINING).rmdir()
