"""Tests of what one worker does with opened requests, evidence and key sets."""

import asyncio
import contextlib
import dataclasses
import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enclave_server.gateway.pacing import unpadded
from enclave_server.http.dates import format_date
from enclave_server.http.limits import Limits
from protocol import chunked
from protocol.binary_http import (
    Fields,
    Request,
    Response,
    ResponseDecoder,
    ResponseHead,
    encode_request,
)
from protocol.encapsulation import GatewayKey, encapsulate_request
from protocol.errors import TruncatedMessage
from protocol.gateway import Answer, Delivery, Gateway, StreamedResponse
from protocol.key_config import KeyConfig
from protocol.registry import DATE_PROBLEM
from protocol.signature import ASKED_FIELD, Algorithm, verify_choices
from tests.support.enclave import (
    DEADLINE,
    Enclave,
    chat_request,
    exchange,
    models_request,
    opened_again,
    running_enclave,
    running_upstream,
    stand_in_config,
    verified,
)
from tests.support.upstream import answering, silent

PLAIN = stand_in_config("unix:/nonexistent")


def send_twice(
    enclave: Enclave, request: Request, config: KeyConfig | None = None
) -> tuple[Response, Response]:
    """Return the inner answers to the same sealed bytes, sent twice on new connections."""
    sealed, context = encapsulate_request(
        config or enclave.key_configs()[0], encode_request(request)
    )
    answers = []
    for _ in range(2):
        outer = enclave.send(sealed)
        assert outer.status == 200
        answers.append(opened_again(context, outer.body))
    return answers[0], answers[1]


def test_a_request_is_answered_once_whatever_worker_it_reaches() -> None:
    with running_enclave(PLAIN, workers=3) as enclave:
        for config in 5 * enclave.key_configs():  # of either mechanism
            first, second = send_twice(enclave, models_request(), config)
            assert (first.status, second.status) == (200, 409)
            assert json.loads(second.content)["status"] == 409


def test_a_replay_through_every_worker_is_refused() -> None:
    with running_enclave(PLAIN, workers=4) as enclave:
        request = encode_request(models_request())
        sealed, context = encapsulate_request(enclave.key_configs()[0], request)
        statuses = []
        with contextlib.ExitStack() as stack:
            # Connections that stay open are spread over the workers.
            connections = [
                stack.enter_context(contextlib.closing(enclave.connect())) for _ in range(16)
            ]
            for connection in connections:
                headers = {"content-type": "message/ohttp-req"}
                answer = exchange(connection, "POST", "/v1/ohttp", sealed, headers)
                statuses.append(opened_again(context, answer.body).status)
        assert sorted(statuses) == [200] + 15 * [409]


def test_a_full_worker_refuses_nobody_while_its_sibling_has_room() -> None:
    settings = PLAIN + "[limits]\nconnections = 3\n"
    with running_enclave(settings, workers=2) as enclave, contextlib.ExitStack() as stack:
        statuses = []
        for _ in range(8):
            connection = stack.enter_context(contextlib.closing(enclave.connect()))
            statuses.append(exchange(connection, "GET", "/health").status)
        assert statuses == 6 * [200] + 2 * [503]


@pytest.mark.parametrize("offset", [-301, 302])
def test_a_date_outside_of_the_window_is_refused(offset: float) -> None:
    with running_enclave(PLAIN) as enclave:
        answer = enclave.ask(chat_request(date=time.time() + offset))
        assert answer.status == 400
        assert json.loads(answer.content)["type"] == DATE_PROBLEM
        assert b"date" in dict(answer.headers)


def test_a_request_without_a_date_is_refused_unless_configured() -> None:
    undated = Request(b"GET", b"https", b"gateway", b"/v1/models")
    with running_enclave(PLAIN) as enclave:
        assert enclave.ask(undated).status == 400
    with running_enclave(PLAIN + "[replay]\nrequire_date = false\n") as enclave:
        first, second = send_twice(enclave, undated)
        assert (first.status, second.status) == (200, 409)


def test_a_full_memory_refuses_rather_than_forgets() -> None:
    with running_enclave(PLAIN + "[replay]\ncapacity = 1\n", workers=2) as enclave:
        config = enclave.key_configs()[0]
        answers = [enclave.ask(models_request(), config) for _ in range(100)]
        assert {answer.status for answer in answers} == {200, 503}
        full = next(answer for answer in answers if answer.status == 503)
        assert b"retry-after" in dict(full.headers)


def test_bare_json_is_spoken_where_it_is_allowed() -> None:
    body = json.dumps({"model": "stand-in", "messages": [{"role": "user", "content": "Hi"}]})
    with running_upstream() as upstream:
        config = stand_in_config(upstream.address)
        config += "[chat]\nbare_json = true\n"
        with running_enclave(config) as enclave:
            sealed, context = encapsulate_request(enclave.key_configs()[0], body.encode())
            answer = json.loads(context.open_response(enclave.send(sealed).body))
            assert answer["choices"][0]["message"]["content"] == "Paris."
            # Whoever can state a Date has to.
            undated = Request(b"GET", b"https", b"gateway", b"/v1/models")
            assert enclave.ask(undated).status == 400
            assert enclave.ask(models_request()).status == 200


def test_answers_are_signed_with_the_attested_key() -> None:
    with (
        running_upstream() as upstream,
        running_enclave(stand_in_config(upstream.address), workers=2) as enclave,
    ):
        evidence = enclave.evidence()
        for _ in range(4):
            request = chat_request()
            answer = enclave.ask(request, evidence.key_configs[0])
            fields = json.loads(answer.content)
            verify_choices(evidence.signing_keys, request.content, fields["choices"], fields)


ASKED_NOTHING: Fields = ()


@pytest.mark.parametrize(
    ("settings", "asked", "signed"),
    [
        ("", ASKED_NOTHING, (2, Algorithm.RSA)),
        ("", (ASKED_FIELD,), (2, Algorithm.ED25519)),
        ("[chat]\nsignature_version = 1\n", ASKED_NOTHING, (1, Algorithm.RSA)),
        ("[chat]\nsignature_version = 1\n", (ASKED_FIELD,), (2, Algorithm.ED25519)),
    ],
)
def test_the_first_version_is_signed_only_where_the_configuration_says_so(
    settings: str, asked: Fields, signed: tuple[int, Algorithm]
) -> None:
    with (
        running_upstream() as upstream,
        running_enclave(stand_in_config(upstream.address) + settings) as enclave,
    ):
        evidence = enclave.evidence()
        plain = chat_request()
        request = dataclasses.replace(plain, headers=plain.headers + asked)
        fields = json.loads(enclave.ask(request, evidence.key_configs[0]).content)
    found = verify_choices(evidence.signing_keys, request.content, fields["choices"], fields)
    assert (found.version, found.algorithm) == signed


def test_a_large_answer_is_signed_as_a_small_one_is() -> None:
    """A reader does it, which the worker's template forks: it has the worker's keys and models."""
    with (
        running_upstream(answering("word " * 50_000)) as upstream,
        running_enclave(stand_in_config(upstream.address)) as enclave,
    ):
        evidence, request = enclave.evidence(), chat_request()
        fields = json.loads(enclave.ask(request, evidence.key_configs[0]).content)
        assert fields["choices"][0]["message"]["content"] == "word " * 50_000
        verify_choices(evidence.signing_keys, request.content, fields["choices"], fields)


def test_evidence_is_one_document_for_everybody() -> None:
    with running_enclave(PLAIN, workers=3) as enclave:
        documents = {enclave.request("GET", "/v1/attestation").body for _ in range(20)}
        assert len(documents) == 1
        assert enclave.evidence().key_configs == tuple(enclave.key_configs())


def test_evidence_for_a_nonce_is_fresh_and_binds_the_same_keys() -> None:
    with running_enclave(PLAIN) as enclave:
        nonce = secrets.token_bytes(32)
        answer = enclave.request("GET", f"/v1/attestation?nonce={nonce.hex()}")
        assert verified(answer, nonce).key_configs == tuple(enclave.key_configs())
        assert verified(answer).attestation.nonce == nonce


def test_evidence_for_nonces_is_limited() -> None:
    with running_enclave(PLAIN + "[evidence]\nnonce_per_second = 0.01\n") as enclave:
        target = f"/v1/attestation?nonce={bytes(32).hex()}"
        first = enclave.request("GET", target)
        second = enclave.request("GET", target)
        assert (first.status, second.status) == (200, 503)
        assert int(second.headers["retry-after"]) >= 1
        assert enclave.request("GET", "/v1/attestation").status == 200


def test_a_prompt_is_in_no_log() -> None:
    with running_enclave(PLAIN) as enclave:
        assert enclave.ask(chat_request("xyzzy-prompt")).status >= 500
        assert enclave.ask(chat_request("xyzzy-prompt", model="xyzzy-model")).status == 404
        assert enclave.send(b"xyzzy-bytes" * 10).status in (400, 422)
        enclave.stop()
        enclave.wait_for("stopped")
    assert b"xyzzy" not in enclave.text


def stream(answer: Answer) -> tuple[list[object], bool]:
    """Return the events that a client reads of `answer`, and whether it was complete."""
    key = GatewayKey.generate(1)

    async def dispatch(request: Request, delivery: Delivery) -> Answer:
        return answer

    async def exchange_chunks() -> list[bytes]:
        gateway = Gateway(lambda: [key], dispatch)
        pieces = []
        with contextlib.suppress(ArithmeticError):
            async for piece in unpadded(gateway.open_chunked(sealed)):
                pieces.append(piece)
        return pieces

    sealer, context = chunked.encapsulate_request(KeyConfig.decode(key.config.encode()))
    sealed = sealer.finish(encode_request(models_request()))
    opener, decoder = context.open_response(), ResponseDecoder()
    events: list[object] = []
    for piece in asyncio.run(exchange_chunks()):
        for plaintext in opener.feed(piece):
            events += decoder.feed(plaintext)
    try:
        events += decoder.feed(opener.finish())
    except TruncatedMessage:
        return events, False
    return events + list(decoder.finish()), True


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def broken() -> AsyncIterator[bytes]:
    yield b"half"
    raise ArithmeticError


def content_of(events: list[object]) -> bytes:
    return b"".join(event for event in events if isinstance(event, bytes))


def test_an_answer_is_streamed_in_sealed_chunks() -> None:
    events, complete = stream(StreamedResponse(200, (), pieces_of(b"one", b"two")))
    assert complete
    assert events[0] == ResponseHead(200, ())
    assert content_of(events) == b"onetwo"


def test_a_whole_answer_to_a_chunked_request() -> None:
    events, complete = stream(Response(404, ((b"a", b"b"),), b"no"))
    assert complete
    assert events[0] == ResponseHead(404, ((b"a", b"b"),))
    assert content_of(events) == b"no"


def test_an_answer_that_breaks_off_is_not_passed_off_as_complete() -> None:
    events, complete = stream(StreamedResponse(200, (), broken()))
    assert not complete
    assert content_of(events) == b"half"


def test_dates_of_requests_are_those_of_clients() -> None:
    assert dict(chat_request(date=0).headers)[b"date"] == format_date(0)


@pytest.mark.parametrize(
    ("path", "media_type", "status"),
    [("/v1/chat/completions", "application/json", 404), ("/v1/ohttp", "application/json", 415)],
)
def test_nobody_uploads_for_nothing(path: str, media_type: str, status: int) -> None:
    with running_enclave(PLAIN) as enclave, contextlib.closing(enclave.connect()) as connection:
        connection.putrequest("POST", path)
        connection.putheader("content-type", media_type)
        connection.putheader("content-length", str(Limits().body_bytes))
        connection.endheaders()
        answer = connection.getresponse()  # of the body, nothing has been sent
        assert (answer.status, answer.getheader("connection")) == (status, "close")
        answer.close()  # as it would hold the connection, for which the server's end would wait


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def test_a_long_prompt_is_kept_no_more_often_than_limits_count() -> None:
    size = 7 << 20
    # A character beyond the basic plane makes Python take four octets for each of the others.
    content = ("\N{GRINNING FACE}" + "x" * size).encode()
    body = b'{"model":"stand-in","messages":[{"role":"user","content":"%b"}]}' % content
    request = dataclasses.replace(chat_request(), content=body)
    with (
        running_upstream(silent) as upstream,
        running_enclave(stand_in_config(upstream.address)) as enclave,
        contextlib.closing(enclave.connect()) as connection,
    ):
        (pid,) = enclave.worker_pids
        sealed, _ = encapsulate_request(enclave.key_configs()[0], encode_request(request))
        before = resident_bytes(pid)
        fields = {"content-type": "message/ohttp-req"}
        connection.request("POST", "/v1/ohttp", sealed, fields)
        deadline = time.monotonic() + DEADLINE
        while not upstream.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        assert upstream.requests
        assert resident_bytes(pid) - before < (Limits().body_copies + 1) * size
