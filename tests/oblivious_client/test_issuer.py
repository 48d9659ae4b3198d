"""An issuer's resources: what is sent to it, within which limits, and what it says otherwise."""

import json
import socket
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from oblivious_client import issuer as issuer_module
from oblivious_client.errors import IssuerRefused, IssuerSilent, UsageError
from oblivious_client.issuer import ANSWER_LIMIT, Issuer
from protocol.issuer_directory import IssuerDirectory
from tests.support.stand_in_issuer import SECRET, StandInIssuer
from tests.support.wallets import MINT

DIRECTORY = IssuerDirectory("/token-request", ())


@contextmanager
def saying(*pieces: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serve one connection with these octets; give its URL, and what arrived."""
    arrived: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            arrived.append(connection.recv(65536))
            try:
                for piece in pieces:
                    connection.sendall(piece)
            except OSError:
                return  # it had enough

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", arrived
    finally:
        listener.close()
        thread.join(60)


def head(*fields: bytes, status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", b""])


def test_the_directory() -> None:
    with StandInIssuer(MINT) as running, Issuer(running.url) as issuer:
        directory = issuer.directory()
        assert directory == running.directory
        assert all(directory.has(key.key) for key in MINT.keys)


def test_what_is_sent_is_no_more_than_is_needed() -> None:
    with saying(head(b"Content-Length: 0")) as (url, arrived), Issuer(url) as issuer:
        with pytest.raises(IssuerRefused):
            issuer.issue(DIRECTORY, b"batch", SECRET)
        lines = arrived[0].split(b"\r\n")
    assert lines[0] == b"POST /token-request HTTP/1.1"
    names = sorted(line.partition(b":")[0].lower() for line in lines[1:] if b":" in line)
    assert names == [
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"user-agent",
    ]
    assert f"Authorization: Bearer {SECRET}".encode() in lines
    assert b"User-Agent: oblivious-client" in lines
    assert b"Content-Type: application/private-token-generic-batch-request" in lines


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with StandInIssuer(MINT) as running, Issuer(running.url) as issuer:
        assert issuer.directory().keys


def test_a_proxy_that_is_named_is_used() -> None:
    answer = head(b"Content-Length: 0", status=b"404 Not Found")
    with (
        saying(answer) as (proxy, arrived),
        Issuer("http://localhost:1", proxy=proxy) as issuer,
    ):
        with pytest.raises(IssuerRefused, match="there is nothing there"):
            issuer.directory()
        assert arrived[0].startswith(b"GET http://localhost:1/.well-known/")


def test_a_socks_proxy_needs_its_package() -> None:
    with pytest.raises(UsageError, match="SOCKS") as caught:
        Issuer("http://localhost:1", proxy="socks5://127.0.0.1:1")
    assert "httpx[socks]" in caught.value.advice


def test_a_redirection_is_not_followed() -> None:
    moved = head(b"Location: http://localhost:1/", b"Content-Length: 0", status=b"302 Found")
    with (
        saying(moved) as (url, _),
        Issuer(url) as issuer,
        pytest.raises(IssuerRefused, match="answered 302"),
    ):
        issuer.issue(DIRECTORY, b"batch", SECRET)


def test_an_answer_that_is_too_long_is_given_up() -> None:
    body = b"x" * (ANSWER_LIMIT + 1)
    long = head(b"Content-Length: %d" % len(body))
    with (
        saying(long, body) as (url, _),
        Issuer(url) as issuer,
        pytest.raises(IssuerSilent, match="too much, or too slowly"),
    ):
        issuer.directory()


def test_an_answer_may_have_all_its_octets_and_all_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = json.dumps({"keys": [{"token_key_id": "aa", "at_least": 7}]}).encode()
    body += b" " * (ANSWER_LIMIT - len(body))
    with saying(head(b"Content-Length: %d" % len(body)), body) as (url, _), Issuer(url) as issuer:
        monkeypatch.setattr(issuer_module, "ANSWER_SECONDS", 0.0)
        monkeypatch.setattr(issuer_module, "time", types.SimpleNamespace(monotonic=lambda: 1.0))
        assert issuer.crowd(b"\xaa") == 7


def test_an_answer_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with saying(head(b"Content-Length: 2"), b"{}") as (url, _), Issuer(url) as issuer:
        monkeypatch.setattr(issuer_module, "ANSWER_SECONDS", -1.0)
        with pytest.raises(IssuerSilent, match="too slowly"):
            issuer.directory()


def test_silence_is_told() -> None:
    with (
        saying() as (url, _),
        Issuer(url) as issuer,
        pytest.raises(IssuerSilent, match=r"no answer of 127\.0\.0\.1"),
    ):
        issuer.directory()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"balance":"1","price":2}', b'{"balance":1}', b"\xff"],
)
def test_a_balance_that_is_none_is_not_told(body: bytes) -> None:
    answer = head(b"Content-Length: %d" % len(body), status=b"402 Payment Required")
    with (
        saying(answer, body) as (url, _),
        Issuer(url) as issuer,
        pytest.raises(IssuerRefused, match="too little left"),
    ):
        issuer.issue(DIRECTORY, b"batch", SECRET)
