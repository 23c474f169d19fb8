"""What people paste, and what a hub answers to it."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.hub_client.join import JoinRefusedError, join, leave, parse_join_text
from stablequeue_client.shared.errors import (
    HubUnreachableError,
    InvalidValueError,
    NotAHubError,
    OldStableQueueError,
    StableQueueError,
)

from .a_hub import Hub

CODE = "sq_f6419f051449b9bd_" + 32 * "5c"
URL = "http://192.168.1.20:8383"


# --- the text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"{URL} {CODE}",
        f"  {URL}\n{CODE}\n",
        f"{CODE} {URL}",
        f"'{URL} {CODE}'",
        f'"{URL}" "{CODE}"',
        f"192.168.1.20:8383 {CODE}",
        f"{URL}/ {CODE}",
        f"stablequeue agent --hub {URL} --join {CODE} --alias attic --webui DIR",
        f".venv/bin/stablequeue agent --hub {URL} --join {CODE} --alias 'my attic' --webui '/home/me/x:1'",
        f".venv\\Scripts\\stablequeue agent --hub {URL} --join {CODE} --alias 'it''s' --webui 'C:\\AI'",
        f"stablequeue agent --join {CODE} --alias http://x.y:1 --hub {URL}",
        f"Address: {URL}, code: {CODE}.",
        f"http://127.0.0.1:8398{URL} {CODE}",
        f"{URL} {CODE}http://127.0.0.1:8398",
        f"http://old.lan:3000/ {URL} {CODE}",
    ],
)
def test_address_and_code_are_found_in_what_was_pasted(text: str) -> None:
    assert parse_join_text(text) == (URL, CODE)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (f"hub.lan:8383 {CODE}", "http://hub.lan:8383"),
        (f"localhost {CODE}", "http://localhost"),
        (f"https://hub.example.org/stablequeue {CODE}", "https://hub.example.org/stablequeue"),
        (f"http://[fe80::1]:8383 {CODE}", "http://[fe80::1]:8383"),
        (f"Http://Hub.lan:8383 {CODE}", "http://Hub.lan:8383"),
        (f"http://hub.lan:8383/?view=servers {CODE}", "http://hub.lan:8383"),
        (f"http://hub.lan:8383#sq-app {CODE}", "http://hub.lan:8383"),
        (f"http://bücher.lan:8383 {CODE}", "http://bücher.lan:8383"),
    ],
)
def test_addresses_have_many_forms(text: str, address: str) -> None:
    assert parse_join_text(text) == (address, CODE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither"),
        ("hello there", "neither"),
        (URL, "The code is missing"),
        (CODE, "address is missing"),
        (f"somewhere {CODE}", "address is missing"),
        (f"http://192.168.1.20:99999 {CODE}", "not a hub address"),
        (f"ftp://192.168.1.20 {CODE}", "address is missing"),
    ],
)
def test_what_is_missing_is_said_with_where_to_find_it(text: str, says: str) -> None:
    with pytest.raises(InvalidValueError, match=says) as caught:
        parse_join_text(text)
    assert caught.value.remedy


@given(st.text(max_size=300))
def test_nothing_that_is_pasted_raises_anything_else(text: str) -> None:
    for given_text in (text, f"{text} {CODE}", f"{URL} {text}"):
        with suppress(InvalidValueError):
            url, code = parse_join_text(given_text)
            assert url.startswith(("http://", "https://"))
            assert code.startswith("sq_")


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z0-9-]{1,10}){0,2}", fullmatch=True),
    st.integers(1, 65535),
    st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=40),
)
def test_every_line_of_the_hubs_page_is_understood(host: str, port: int, alias: str) -> None:
    import shlex

    line = (
        f"stablequeue agent --hub http://{host}:{port} --join {CODE} --alias {shlex.quote(alias)} --webui DIR"
    )
    assert parse_join_text(line) == (f"http://{host}:{port}", CODE)


# --- the answer -----------------------------------------------------------------------------------------


def test_joining_stores_who_this_webui_is_and_uses_the_code_up(hub: Hub, tmp_path: Path) -> None:
    code = hub.code()
    identity = join(tmp_path / "a", hub.url, code, "attic")
    assert load_identity(tmp_path / "a") == identity
    assert (identity.alias, identity.hub_url) == ("attic", hub.url)
    assert (tmp_path / "a" / "server.json").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "a" / "joining").exists()
    with pytest.raises(JoinRefusedError, match="did not take the code") as caught:
        join(tmp_path / "b", hub.url, code, "cellar")
    assert "Add another computer" in caught.value.remedy
    assert load_identity(tmp_path / "b") is None


def test_a_name_that_is_taken_gets_a_number_and_the_answer_says_so(hub: Hub, tmp_path: Path) -> None:
    join(tmp_path / "a", hub.url, hub.code(), "attic")
    assert join(tmp_path / "b", hub.url, hub.code(), "Attic").alias != "Attic"


def test_a_join_whose_answer_got_lost_is_repeated_as_the_same_server(hub: Hub, tmp_path: Path) -> None:
    code = hub.code()
    with hub.answers_lost() as url, pytest.raises(HubUnreachableError):
        join(tmp_path / "a", url, code, "attic")
    assert load_identity(tmp_path / "a") is None
    with hub.answers_lost(lose=False, url=url) as same:
        join(tmp_path / "a", same, code, "attic")
    assert [server["alias"] for server in hub.api().servers()] == ["attic"]


def test_a_second_join_at_the_same_hub_keeps_the_server(hub: Hub, tmp_path: Path) -> None:
    first = join(tmp_path / "a", hub.url, hub.code(), "attic")
    second = join(tmp_path / "a", hub.url, hub.code(), "cellar")
    assert second.server_id == first.server_id
    assert len(hub.api().servers()) == 1


def test_another_hub_never_sees_the_secret_of_the_former_one(
    hub: Hub, other_hub: Hub, tmp_path: Path
) -> None:
    first = join(tmp_path / "a", hub.url, hub.code(), "attic")
    with pytest.raises(JoinRefusedError):
        join(tmp_path / "a", other_hub.url, CODE, "attic")
    assert load_identity(tmp_path / "a") == first
    second = join(tmp_path / "a", other_hub.url, other_hub.code(), "attic")
    assert (second.server_id, second.secret) != (first.server_id, first.secret)


def test_leaving_forgets_the_hub_and_can_be_repeated(hub: Hub, tmp_path: Path) -> None:
    join(tmp_path / "a", hub.url, hub.code(), "attic")
    leave(tmp_path / "a")
    leave(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


def test_what_answers_but_is_no_hub_is_named_with_the_remedy(tmp_path: Path) -> None:
    with serving("/status", b"MobileSD Server is running") as url, pytest.raises(OldStableQueueError) as old:
        join(tmp_path, url, CODE, "attic")
    assert "stablequeue up" in old.value.remedy
    with serving("/", b"<html>a router</html>") as url, pytest.raises(NotAHubError, match="is not a hub"):
        join(tmp_path, url, CODE, "attic")
    with pytest.raises(HubUnreachableError, match="connection refused") as away:
        join(tmp_path, "http://127.0.0.1:1", CODE, "attic")
    assert "firewall" in away.value.remedy
    assert not (tmp_path / "server.json").exists()


def test_an_unknown_authority_is_named_with_the_setting_that_trusts_it(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made = subprocess.run(
        [*words, "-keyout", str(key), "-out", str(certificate), *subject], capture_output=True
    )
    assert made.returncode == 0, made.stderr
    with serving("/", b"x", tls=(certificate, key)) as url:
        with pytest.raises(
            StableQueueError, match=r"certificate of https://127.0.0.1:[0-9]+ is not trusted"
        ) as caught:
            join(tmp_path, url, CODE, "attic")
        assert "STABLEQUEUE_CA_FILE" in caught.value.remedy
        with pytest.raises(NotAHubError):  # trusted, so it goes on to who answers
            join(tmp_path, url, CODE, "attic", ca_file=str(certificate))


@contextmanager
def serving(path: str, body: bytes, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """A web server that answers ``path`` with ``body``, and 404 else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == path else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
