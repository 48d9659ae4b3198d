"""HAProxy before several enclaves: who gets a sealed request, and how it passes."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from enclave_server.http.problems import key_rejected
from oblivious_client import Policy, Simulated
from protocol.binary_http import decode_response, encode_request
from protocol.encapsulation import encapsulate_request
from tests.support.enclave import (
    Answer,
    models_request,
)
from tests.support.front import Front, Member, fronted, members
from tests.support.haproxy import needs_haproxy
from tests.support.host_proxy_process import until

WHOLE = "message/ohttp-req"
REFUSED = key_rejected("ohttp")
LARGEST = 15 << 20
TRIAL = Policy(simulated=Simulated.ALLOWED)

pytestmark = needs_haproxy


def opens(answer: Answer, context: object) -> bool:
    """Whether an answer was sealed by the enclave that the request was sealed to."""
    assert answer.status == 200, answer
    return decode_response(context.open_response(answer.body)).status == 200  # type: ignore[attr-defined]


def is_refusal(answer: Answer) -> bool:
    """Whether an answer is the gateway's own refusal of a key, octet by octet."""
    return (
        answer.status == REFUSED.status
        and answer.body == REFUSED.body
        and answer.headers["content-type"] == "application/problem+json"
    )


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Front, list[Member]]]:
    """Two enclaves with keys of their own behind a front."""
    with members(2) as both, fronted(*(member.place for member in both)) as front:
        yield front, both


def in_pieces(front: Front, sealed: bytes, pieces: list[int], *, chunked: bool) -> Answer:
    """Send a sealed request in pieces, each when the one before has left."""
    with contextlib.closing(front.connect()) as connection:
        connection.putrequest("POST", "/v1/ohttp")
        connection.putheader("Content-Type", WHOLE)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        else:
            connection.putheader("Content-Length", str(len(sealed)))
        connection.endheaders()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in zip([0, *pieces], [*pieces, len(sealed)], strict=True):
            piece = sealed[begin:end]
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            threading.Event().wait(0.05)
        if chunked:
            connection.send(b"0\r\n\r\n")
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, fields, answer.read())


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("mechanism", [0, 1])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("pieces", [[], [1], [6, 7, 8, 38, 39, 40], [100]])
def test_the_enclave_that_has_the_key_opens(
    pair: tuple[Front, list[Member]],
    number: int,
    mechanism: int,
    chunked: bool,
    pieces: list[int],
) -> None:
    front, both = pair
    config = both[number].configs()[mechanism]
    sealed, context = encapsulate_request(config, encode_request(models_request()))
    assert opens(in_pieces(front, sealed, pieces, chunked=chunked), context)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_largest_request_comes_whole(
    pair: tuple[Front, list[Member]], number: int, chunked: bool
) -> None:
    front, both = pair
    padded = encode_request(models_request())
    padded += bytes(LARGEST - len(padded))  # padding of Binary HTTP: RFC 9292, Section 3.8
    sealed, context = encapsulate_request(both[number].configs()[0], padded)
    answer = in_pieces(front, sealed, [1 << 20, 8 << 20], chunked=chunked)
    assert opens(answer, context)


@pytest.mark.parametrize("body", [b"", b"short", bytes(6), bytes(38)])
def test_an_unknown_key_is_refused_as_the_enclave_refuses_it(
    pair: tuple[Front, list[Member]], body: bytes
) -> None:
    front, both = pair
    known = {key.key_id for member in both for key in member.configs()}
    unknown = next(octet for octet in range(256) if octet not in known)
    assert is_refusal(front.send(bytes([unknown]) + body))
    assert is_refusal(front.send(b""))


def test_what_is_refused_is_counted(pair: tuple[Front, list[Member]]) -> None:
    front, _ = pair
    front.round()
    front.agent.signal(signal.SIGUSR1)
    before = front.agent.event("counters", len(front.agent.events("counters")))["unknown"]
    for _ in range(3):
        front.send(b"")
    front.round()
    assert front.agent.events("counters")[-1]["unknown"] == before + 3


def test_one_list_is_told_to_everybody_and_statements_to_nobody(
    pair: tuple[Front, list[Member]],
) -> None:
    front, both = pair
    listed = both[0].request("GET", "/.well-known/ohttp-gateway").body
    for _ in range(6):
        assert front.request("GET", "/.well-known/ohttp-gateway").body == listed
    assert front.request("GET", "/v1/cluster").status == 404
    assert front.request("GET", "/v1/cluster?a=b").status == 404
    assert front.request("GET", "/nowhere").status == 404
    assert front.request("POST", "/v1/ohttp", b"{}", "application/json").status == 415


def test_a_key_moves_while_it_runs(pair: tuple[Front, list[Member]]) -> None:
    """A place of the map that is wrong is made right in the next round."""
    front, both = pair
    config = both[1].configs()[0]
    place = f"{config.key_id:02X}"
    front.runtime(f"set map {front.folder}/oblivious-keys.map {place} enclave1")
    sealed, context = encapsulate_request(config, encode_request(models_request()))
    answer = front.send(sealed)
    assert is_refusal(answer) or opens(answer, context)
    front.runtime(f"del map {front.folder}/oblivious-keys.map {place}")
    until(lambda: front.places().get(place) == "enclave2")
    sealed, context = encapsulate_request(config, encode_request(models_request()))
    assert opens(front.send(sealed), context)
