"""Advice about answers that are not sealed."""

import contextlib
import socket
import ssl
import threading

import httpx
import pytest
import trustme

from oblivious_client.advice import (
    advising,
    on_distrust,
    on_proxy,
    on_refusal,
    on_silence,
    silence,
    warnings,
)
from oblivious_client.client import ObliviousClient
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import (
    AnswerTruncated,
    ClientError,
    ConnectionLost,
    NoAnswer,
    NoConnection,
)
from oblivious_client.exits import Exit

RELAY = Endpoint.parse(Role.RELAY, "https://relay.example")
PROBLEM = "application/problem+json; charset=utf-8"


def answered(status: int, kind: str = "text/html") -> httpx.Response:
    return httpx.Response(status, headers={"content-type": kind})


@pytest.mark.parametrize("status", [502, 503, 504])
def test_who_does_not_answer_depends_on_who_was_asked(status: int) -> None:
    relay, gateway = (silence(answered(status), role) for role in (Role.RELAY, Role.GATEWAY))
    assert relay is not None
    assert relay.startswith("the relay answers, but ")
    assert "its gateway" in relay
    assert gateway is not None
    assert gateway.startswith("what stands before the gateway answers, but ")
    assert "the enclave" in gateway


@pytest.mark.parametrize("status", [200, 404, 429, 500])
def test_other_statuses_do_not_tell_of_silence(status: int) -> None:
    assert silence(answered(status), Role.RELAY) is None


def test_a_problem_document_is_the_gateways_own() -> None:
    assert silence(answered(503, PROBLEM), Role.RELAY) is None
    assert "full or starting" in on_refusal(answered(503, PROBLEM), Role.RELAY)
    assert "no way to its gateway" in on_refusal(answered(503), Role.RELAY)
    assert silence(httpx.Response(503), Role.RELAY) is not None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "malformed"),
        (404, "sealed requests are not taken there"),
        (405, "sealed requests are not taken there"),
        (408, "too slow"),
        (413, "too large"),
        (415, "--framing whole"),
        (422, "attested key"),
        (429, "limits how often"),
        (502, "does not reach its gateway"),
        (503, "has no way to its gateway"),
        (504, "its gateway says nothing"),
    ],
)
def test_each_refusal_has_its_advice(status: int, words: str) -> None:
    assert words in on_refusal(answered(status), Role.RELAY)
    for other in (status - 1, status + 1):
        if other not in (404, 405):
            assert words not in on_refusal(answered(other), Role.RELAY)


def test_what_else_can_be_done() -> None:
    assert "check the address" in on_refusal(answered(418), Role.GATEWAY)
    assert "try again later" in on_refusal(answered(500), Role.RELAY)


def test_an_address_that_was_right_is_not_doubted() -> None:
    known = on_silence(RELAY, None, is_known=True)
    assert known.startswith("the relay has answered before")
    assert "try again" in known
    unknown = on_silence(RELAY, "http://proxy.example:8080", is_known=False)
    assert "http://proxy.example:8080 and https://relay.example" in unknown
    local = Endpoint.parse(Role.GATEWAY, "unix:/run/gateway")
    assert "unix:/run/gateway" in on_silence(local, None, is_known=False)


@pytest.mark.parametrize(
    ("failure", "kind", "advice"),
    [
        (httpx.ConnectError("refused"), NoConnection, "answered before"),
        (httpx.ConnectTimeout("late"), NoAnswer, "down or overloaded"),
        (httpx.ReadTimeout("late"), NoAnswer, "down or overloaded"),
        (httpx.ReadError(""), ConnectionLost, "answered before"),
        (httpx.WriteError("reset"), ConnectionLost, "answered before"),
        (httpx.RemoteProtocolError("no HTTP"), ConnectionLost, "answered before"),
    ],
)
def test_every_failure_of_a_connection_has_advice(
    failure: httpx.TransportError, kind: type[ClientError], advice: str
) -> None:
    with pytest.raises(kind) as caught, advising(RELAY, None, is_known=True):
        raise failure
    assert caught.value.code is Exit.NO_CONNECTION
    assert advice in caught.value.advice
    assert caught.value.__cause__ is failure
    assert not str(caught.value).endswith(": ")


def test_a_certificate_that_does_not_hold_is_no_outage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

        def answer() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as plain:
                context.wrap_socket(plain, server_side=True)

        server = threading.Thread(target=answer)
        server.start()
        with ObliviousClient(f"https://127.0.0.1:{listener.getsockname()[1]}") as client:
            client.transport.source.has_verified = True
            with pytest.raises(NoConnection) as caught:
                client.evidence()
        server.join()
    assert "vouches for the certificate there" in caught.value.advice
    assert "somebody is in the way" in caught.value.advice


def distrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("x")
    error.verify_code = code
    return error


def test_who_vouches_for_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    assert "name it in SSL_CERT_FILE" in on_distrust(distrusted(20))
    monkeypatch.setenv("SSL_CERT_FILE", "/my/authorities.pem")
    assert "in /my/authorities.pem, which SSL_CERT_FILE names," in on_distrust(distrusted(18))
    for expired_or_of_another_name in (10, 62):
        told = on_distrust(distrusted(expired_or_of_another_name))
        assert told.startswith("the certificate there does not hold")


@pytest.mark.parametrize("status", [407, 502, 503, 504])
def test_a_proxy_that_opens_no_way_is_told_from_the_relay(status: int) -> None:
    told = on_proxy(f"{status} Whatever")
    assert told is not None
    assert told.startswith("the proxy ")
    assert on_proxy("418 Teapot") is on_proxy("") is None
    with pytest.raises(NoConnection) as caught, advising(RELAY, "http://p", is_known=False):
        raise httpx.ProxyError(f"{status} Whatever")
    assert caught.value.advice == told
    assert str(caught.value) == f"the proxy answered {status} Whatever"


def test_a_proxys_word_is_not_shown() -> None:
    told = on_silence(RELAY, "http://name:word@proxy.example:8080", is_known=False)
    assert "http://proxy.example:8080" in told
    assert "word" not in told.replace("somebody", "")


def test_who_sees_something_is_warned_of() -> None:
    assert warnings(RELAY) == []
    clear = Endpoint.parse(Role.GATEWAY, "http://gateway.example")
    assert [each.split(":")[1] for each in warnings(clear)] == [" no relay", " no TLS"]


def test_what_has_advice_already_keeps_it() -> None:
    truncated = AnswerTruncated()
    with pytest.raises(AnswerTruncated) as caught, advising(RELAY, None, is_known=True):
        raise truncated
    assert caught.value is truncated
