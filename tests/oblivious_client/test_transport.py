"""The transports: what leaves, what comes back, and what happens when something goes wrong."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from oblivious_client import transport as transport_module
from oblivious_client.client import AsyncObliviousClient, ObliviousClient
from oblivious_client.errors import (
    AnswerTruncated,
    AnswerUnproven,
    AnswerUnreadable,
    ClientError,
    EvidenceRefused,
    ExchangeError,
    NoAnswer,
    OuterRefusal,
    ServiceError,
)
from oblivious_client.exchange import Opened
from oblivious_client.exits import Exit
from oblivious_client.fetching import Flow, Pause
from oblivious_client.policy import Policy, Simulated
from oblivious_client.sealing import Framing
from oblivious_client.transport import (
    ArrivingAnswer,
    AsyncObliviousTransport,
    ObliviousTransport,
)
from protocol.binary_http import Event
from protocol.evidence import Evidence
from protocol.kem import X25519_HKDF_SHA256, X_WING
from protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from protocol.padding import bucket
from protocol.registry import KEY_PROBLEM
from tests.support.gateway import MODEL, PROBLEM, WORDS, Plain, StandInGateway

ALLOWED = Policy(simulated=Simulated.ALLOWED)
ANSWER = "".join(WORDS)
URL = "https://api.example/v1/chat/completions"
FRAMINGS = pytest.mark.parametrize("framing", list(Framing))

Break = Callable[[list[bytes]], list[bytes]]


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


def client_of(gateway: StandInGateway, framing: Framing = Framing.CHUNKED) -> ObliviousClient:
    return ObliviousClient(gateway.url, policy=ALLOWED, framing=framing)


def http_of(gateway: StandInGateway, **options: Any) -> httpx.Client:
    return httpx.Client(transport=ObliviousTransport(gateway.url, policy=ALLOWED, **options))


@FRAMINGS
def test_a_whole_answer(gateway: StandInGateway, framing: Framing) -> None:
    with client_of(gateway, framing) as client:
        answer = client.chat("What is the capital of France?", model=MODEL)
        assert answer.text == ANSWER
        assert answer.request == gateway.chat.inner[0].content
        assert client.models() == [MODEL]
        assert ANSWER not in repr(answer)


@FRAMINGS
def test_x_wing_is_used_whenever_it_is_attested(gateway: StandInGateway, framing: Framing) -> None:
    x_wing, x25519 = gateway.keys
    for keys, chosen in (
        ((x_wing, x25519), X_WING),
        ((x25519, x_wing), X_WING),
        ((x25519,), X25519_HKDF_SHA256),
    ):
        gateway.keys = keys
        with client_of(gateway, framing) as client:
            assert client.chat("hello", model=MODEL).text == ANSWER
            assert gateway.posts()[-1].kem is chosen


@FRAMINGS
def test_what_the_mechanism_adds_to_a_question_is_the_same_for_all(
    gateway: StandInGateway, framing: Framing
) -> None:
    sizes = []
    for keys in (gateway.keys, gateway.keys[1:]):
        gateway.keys = keys
        with client_of(gateway, framing) as client:
            for question in ("hello", "x" * 3000, "x" * 100_000):
                client.chat(question, model=MODEL)
                sizes.append(len(gateway.posts()[-1].body))
    with_it, without = sizes[:3], sizes[3:]
    assert [a - b for a, b in zip(with_it, without, strict=True)] == 3 * [1088]


def test_a_relay_that_strips_x_wing_is_sent_nothing(gateway: StandInGateway) -> None:
    def stripped(evidence: Evidence) -> Evidence:
        keys = encode_key_configs(decode_key_configs(evidence.ohttp_keys)[1:])
        return replace(evidence, ohttp_keys=keys)

    gateway.faults.evidence = stripped
    with client_of(gateway) as client, pytest.raises(EvidenceRefused) as caught:
        client.chat("hello", model=MODEL)
    assert caught.value.code == Exit.KEYS_UNBOUND
    assert gateway.posts() == []


def test_an_attested_key_that_is_none_is_not_sealed_to(gateway: StandInGateway) -> None:
    config = gateway.keys[0].config
    broken = KeyConfig(1, X_WING.code, b"\xff" * 1216, config.symmetric_algorithms)
    attested: Any = SimpleNamespace(config=broken)
    gateway.keys = (attested, gateway.keys[1])
    with client_of(gateway) as client, pytest.raises(ExchangeError, match="none") as caught:
        client.chat("hello", model=MODEL)
    assert "update" in str(caught.value.advice)
    assert gateway.posts() == []


def test_a_streamed_answer(gateway: StandInGateway) -> None:
    with client_of(gateway) as client:
        stream = client.stream("hello", model=MODEL)
        with pytest.raises(ValueError, match="not ended"):
            _ = stream.answer
        assert [text for text in stream if text] == list(WORDS)
        assert stream.answer.text == ANSWER
        assert stream.answer.body["choices"][0]["finish_reason"] == "stop"


@FRAMINGS
def test_the_asynchronous_client(gateway: StandInGateway, framing: Framing) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED, framing=framing) as client:
            assert await client.models() == [MODEL]
            assert (await client.chat("hello", model=MODEL)).text == ANSWER
            assert (await client.evidence()).key_configs[0].key_id == 1
            with pytest.raises(ServiceError, match="no model"):
                await client.chat("hello", model="other")

    asyncio.run(run())


def test_the_asynchronous_stream(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            stream = await client.stream("hello", model=MODEL)
            assert [text async for text in stream if text] == list(WORDS)
            assert stream.answer.text == ANSWER
            with pytest.raises(ServiceError, match="no model"):
                await client.stream("hello", model="other")

    asyncio.run(run())


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "gateway")
    with (
        StandInGateway(uds=path),
        ObliviousClient(gateway=f"unix:{path}", policy=ALLOWED) as client,
    ):
        assert client.chat("hello", model=MODEL).text == ANSWER


@FRAMINGS
def test_a_question_of_many_chunks(gateway: StandInGateway, framing: Framing) -> None:
    question = "word " * 20_000
    with client_of(gateway, framing) as client:
        assert client.chat(question, model=MODEL).text == ANSWER
    (post,) = gateway.posts()
    assert json.loads(gateway.chat.inner[0].content)["messages"][0]["content"] == question
    assert all(size <= 16384 + X_WING.enc_size + 64 for size in post.chunk_sizes)
    assert len(post.body) >= bucket(len(question))


CANARY = "canary-5d41"


def test_nothing_of_the_caller_leaves(gateway: StandInGateway) -> None:
    fields = {
        "Authorization": f"Bearer {CANARY}",
        "User-Agent": CANARY,
        "Cookie": f"session={CANARY}",
        "OpenAI-Organization": CANARY,
        "X-Stainless-OS": CANARY,
        "Idempotency-Key": CANARY,
        "Content-Type": f"application/json; x={CANARY}",
        "Host": f"{CANARY}.example",
    }
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    with http_of(gateway) as client:
        response = client.post(URL + f"?key={CANARY}", json=body, headers=fields)
    assert response.status_code == 200
    assert CANARY not in repr(gateway.chat.inner)
    assert CANARY not in repr(gateway.arrived)
    (inner,) = gateway.chat.inner
    assert [name for name, _ in inner.headers] == [b"content-type", b"date", b"tee-signature"]
    assert (inner.authority, inner.path) == (b"", b"/v1/chat/completions")


def test_all_requests_look_alike_outside(gateway: StandInGateway) -> None:
    with client_of(gateway) as client:
        client.models()
        client.chat("hello", model=MODEL)
        list(client.stream("something longer " * 20, model=MODEL))
        with pytest.raises(ServiceError):
            client.chat("hello", model="other")
    shapes = {
        (post.path, post.fields, len(post.body), post.chunk_sizes) for post in gateway.posts()
    }
    assert len(shapes) == 1
    ((path, fields, size, _),) = shapes
    names = {name.lower(): value for name, value in fields}
    assert path == "/"
    assert names["content-type"] == "message/ohttp-chunked-req"
    assert names["incremental"] == "?1"
    assert "content-length" not in names
    assert size > bucket(0)


def test_fields_of_the_answer_that_matter_are_passed(gateway: StandInGateway) -> None:
    with http_of(gateway) as client:
        response = client.get("https://api.example/v1/models")
        assert response.headers["content-type"] == "application/json"
        assert response.json()["data"][0]["id"] == MODEL


# What goes wrong outside.


@pytest.mark.parametrize("status", [400, 404, 413, 415, 429, 500, 503])
def test_outer_errors_are_told_apart_from_answers(gateway: StandInGateway, status: int) -> None:
    gateway.faults.outer = [Plain(status, PROBLEM, b'{"title": "untrusted text"}')]
    with client_of(gateway) as client, pytest.raises(OuterRefusal) as caught:
        client.chat("hello", model=MODEL)
    assert caught.value.status == status
    assert caught.value.code is Exit.OUTER_REFUSAL
    assert "untrusted" not in str(caught.value)
    assert caught.value.advice
    assert isinstance(caught.value, httpx.TransportError)


@pytest.mark.parametrize("media_type", ["text/html", "application/json", "message/ohttp-res"])
def test_a_200_that_is_no_sealed_answer(gateway: StandInGateway, media_type: str) -> None:
    gateway.faults.outer = [Plain(200, media_type, b"hello")]
    with client_of(gateway) as client, pytest.raises(ExchangeError):
        client.chat("hello", model=MODEL)


def test_an_endless_error_is_cut(gateway: StandInGateway) -> None:
    gateway.faults.outer = [Plain(500, PROBLEM, bytes(100_000))]
    with client_of(gateway) as client, pytest.raises(ClientError, match="honest"):
        client.chat("hello", model=MODEL)


def test_an_endless_answer_is_cut(gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "ANSWER_LIMIT", 100)
    with client_of(gateway) as client, pytest.raises(ClientError, match="honest"):
        client.chat("hello", model=MODEL)


def test_nobody_there() -> None:
    with (
        ObliviousClient("http://127.0.0.1:1", policy=ALLOWED) as client,
        pytest.raises(httpx.ConnectError) as caught,
    ):
        client.chat("hello")
    assert isinstance(caught.value, ClientError)
    assert "if http://127.0.0.1:1 is right" in caught.value.advice


def test_a_relay_that_goes_away_was_right_before() -> None:
    with StandInGateway() as gateway:
        client = client_of(gateway)
        assert client.chat("hello", model=MODEL).text == ANSWER
    with client, pytest.raises(httpx.TransportError) as caught:
        client.chat("hello", model=MODEL)
    assert isinstance(caught.value, ClientError)
    assert caught.value.advice.startswith("the relay has answered before")


class Failing(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that begins and then fails."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def __iter__(self) -> Iterator[bytes]:
        yield b"begun"
        raise self.failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ReadTimeout("late"), NoAnswer),
        (httpx.ReadError("reset"), AnswerTruncated),
        (httpx.RemoteProtocolError("cut"), AnswerTruncated),
        (AnswerUnreadable("altered"), AnswerUnreadable),
    ],
)
def test_a_body_that_fails_is_an_error_of_ours(failure: Exception, kind: type[ClientError]) -> None:
    class Arriving:
        def feed(self, data: bytes) -> bytes:
            return data

    answer: Any = Arriving()
    outer = httpx.Response(200, stream=Failing(failure))
    with pytest.raises(kind):
        list(transport_module._contents(outer, answer))

    async def read() -> None:
        outer = httpx.Response(200, stream=Failing(failure))
        async for _ in transport_module._acontents(outer, answer):
            pass

    with pytest.raises(kind):
        asyncio.run(read())


# Keys that expire.


def test_a_rotated_key_is_fetched_anew_and_asked_once_more(gateway: StandInGateway) -> None:
    with client_of(gateway) as client:
        client.evidence()
        gateway.rotate()
        assert client.chat("hello", model=MODEL).text == ANSWER
    assert [arrived.method for arrived in gateway.arrived] == ["GET", "POST", "GET", "POST"]
    assert len(gateway.chat.inner) == 1
    first, second = gateway.posts()
    assert first.body != second.body
    # A relay must not answer the second time with what it kept.
    assert [arrived.field("cache-control") for arrived in gateway.arrived[::2]] == [
        None,
        "no-cache",
    ]


def test_the_problem_type_says_that_a_key_is_unknown_whatever_the_status(
    gateway: StandInGateway,
) -> None:
    gateway.faults.outer = [Plain(400, PROBLEM, json.dumps({"type": KEY_PROBLEM}).encode())]
    with client_of(gateway) as client:
        assert client.chat("hello", model=MODEL).text == ANSWER
    assert len(gateway.posts()) == 2


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_a_key_that_was_refused_once_and_then_known_is_kept(
    gateway: StandInGateway, is_asynchronous: bool
) -> None:
    gateway.faults.outer = [Plain(400, PROBLEM, json.dumps({"type": KEY_PROBLEM}).encode())]

    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            for _ in range(3):
                assert (await client.chat("hello", model=MODEL)).text == ANSWER

    if is_asynchronous:
        asyncio.run(run())
    else:
        with client_of(gateway) as client:
            for _ in range(3):
                assert client.chat("hello", model=MODEL).text == ANSWER
    methods = [arrived.method for arrived in gateway.arrived]
    assert methods == ["GET", "POST", "GET", "POST", "POST", "POST"]


def test_a_key_that_stays_unknown_is_tried_twice_and_no_more(gateway: StandInGateway) -> None:
    gateway.accepted.clear()
    with client_of(gateway) as client, pytest.raises(OuterRefusal) as caught:
        client.chat("hello", model=MODEL)
    assert caught.value.status == 422
    assert len(gateway.posts()) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Plain(422, PROBLEM, b'{"type": "about:blank"}'),
        Plain(422, PROBLEM, b"no JSON"),
        Plain(422, PROBLEM, b"[]"),
        Plain(422, PROBLEM, b"[" * 60_000),
        Plain(422, "text/html", json.dumps({"type": KEY_PROBLEM}).encode()),
        Plain(500, PROBLEM, json.dumps({"type": KEY_PROBLEM}).encode()),
        Plain(503, PROBLEM, b"{}"),
    ],
)
def test_nothing_else_is_retried(gateway: StandInGateway, answer: Plain) -> None:
    gateway.faults.outer = [answer]
    with client_of(gateway) as client, pytest.raises(OuterRefusal):
        client.chat("hello", model=MODEL)
    assert len(gateway.posts()) == 1


def test_the_new_evidence_is_verified_before_the_retry(gateway: StandInGateway) -> None:
    with client_of(gateway) as client:
        client.evidence()
        gateway.rotate()
        gateway.faults.evidence_answers = [Plain(200, "application/json", b"{}")]
        with pytest.raises(ClientError) as caught:
            client.chat("hello", model=MODEL)
    assert caught.value.code is Exit.EVIDENCE_MALFORMED
    assert len(gateway.posts()) == 1


# Answers that are not what was sealed.


def alter_last_byte(pieces: list[bytes]) -> list[bytes]:
    return [piece[:-1] + bytes([piece[-1] ^ 1]) for piece in pieces]


def drop_final_chunk(pieces: list[bytes]) -> list[bytes]:
    return [piece for piece in pieces if not piece.startswith(b"\0")]


def drop_a_chunk(pieces: list[bytes]) -> list[bytes]:
    return pieces[:1]


def repeat_a_chunk(pieces: list[bytes]) -> list[bytes]:
    return [*pieces, *pieces[1:]]


def append(pieces: list[bytes]) -> list[bytes]:
    return [piece + b"\0" for piece in pieces]


@pytest.mark.parametrize(
    ("framing", "change"),
    [
        (Framing.WHOLE, alter_last_byte),
        (Framing.WHOLE, append),
        (Framing.CHUNKED, alter_last_byte),
        (Framing.CHUNKED, append),
        (Framing.CHUNKED, drop_a_chunk),
        (Framing.CHUNKED, repeat_a_chunk),
    ],
)
def test_altered_answers_are_refused(
    gateway: StandInGateway, framing: Framing, change: Break
) -> None:
    gateway.faults.pieces = change
    with client_of(gateway, framing) as client, pytest.raises(AnswerUnreadable) as caught:
        client.chat("hello", model=MODEL)
    assert caught.value.code is Exit.UNREADABLE


def test_a_dropped_final_chunk_is_a_truncation(gateway: StandInGateway) -> None:
    gateway.faults.pieces = drop_final_chunk
    with client_of(gateway) as client:
        with pytest.raises(AnswerTruncated):
            client.chat("hello", model=MODEL)
        stream = client.stream("hello", model=MODEL)
        texts = []
        with pytest.raises(AnswerTruncated):
            texts += list(stream)
        with pytest.raises(ValueError, match="not ended"):
            _ = stream.answer


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
def test_a_connection_that_is_cut_is_a_truncation(gateway: StandInGateway, pieces: int) -> None:
    gateway.faults.cut_after = pieces
    with client_of(gateway) as client, pytest.raises(AnswerTruncated) as caught:
        list(client.stream("hello", model=MODEL))
    assert caught.value.code is Exit.TRUNCATED
    assert isinstance(caught.value, httpx.RemoteProtocolError)


def test_a_truncation_is_seen_asynchronously_too(gateway: StandInGateway) -> None:
    async def read(cut: int | None, change: Break) -> list[str]:
        gateway.faults.cut_after, gateway.faults.pieces = cut, change
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            stream = await client.stream("hello", model=MODEL)
            return [text async for text in stream]

    for cut, change in ((3, list), (None, drop_final_chunk)):
        with pytest.raises(AnswerTruncated):
            asyncio.run(read(cut, change))
    with pytest.raises(AnswerUnreadable):
        asyncio.run(read(None, alter_last_byte))


# Signatures.


def another_time(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "tee_timestamp": fields["tee_timestamp"] + 1}


def none_at_all(fields: dict[str, Any]) -> dict[str, Any]:
    return {}


def another_answer(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "tee_output_hash": "00" * 32}


@pytest.mark.parametrize("change", [another_time, none_at_all, another_answer])
def test_answers_without_a_valid_signature_are_refused(
    gateway: StandInGateway, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    gateway.faults.signature = change
    with client_of(gateway) as client:
        with pytest.raises(AnswerUnproven) as caught:
            client.chat("hello", model=MODEL)
        assert caught.value.code is Exit.ANSWER_SIGNATURE
        with pytest.raises(AnswerUnproven):
            list(client.stream("hello", model=MODEL))


# Going away.


def test_closing_a_stream_stops_the_generation(gateway: StandInGateway) -> None:
    gateway.chat.release.clear()
    with client_of(gateway) as client:
        stream = client.stream("hello", model=MODEL)
        next(iter(stream))
        stream.close()
        assert gateway.chat.abandoned.wait(120)


def test_cancelling_stops_the_generation(gateway: StandInGateway) -> None:
    gateway.chat.release.clear()

    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            stream = await client.stream("hello", model=MODEL)

            async def read() -> None:
                async for _ in stream:
                    pass

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read(), 0.2)

    asyncio.run(run())
    assert gateway.chat.abandoned.wait(120)


def test_a_body_that_comes_in_pieces_is_sealed_whole(gateway: StandInGateway) -> None:
    body = json.dumps({"model": MODEL, "messages": []}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:5]
        yield body[5:]

    async def run() -> None:
        outer = AsyncObliviousTransport(gateway.url, policy=ALLOWED)
        async with httpx.AsyncClient(transport=outer) as client:
            assert (await client.post(URL, content=pieces())).status_code == 200

    asyncio.run(run())
    with http_of(gateway) as client:
        assert client.post(URL, content=iter((body[:5], body[5:]))).status_code == 200
    assert [request.content for request in gateway.chat.inner] == [body, body]


def test_an_answer_may_have_its_limit_and_not_an_octet_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent:
        def feed(self, data: bytes) -> list[Any]:
            return []

    request = httpx.Request("POST", "http://relay")
    opened: Any = SimpleNamespace(reader=Silent(), response=httpx.Response(200, request=request))
    monkeypatch.setattr(transport_module, "ANSWER_LIMIT", 100)
    arriving = transport_module.ArrivingAnswer(opened)
    arriving.feed(bytes(60))
    arriving.feed(bytes(40))
    with pytest.raises(ClientError):
        arriving.feed(b"x")


def test_an_answer_without_a_head_is_no_response() -> None:
    arriving = ArrivingAnswer(SimpleNamespace())  # type: ignore[arg-type]
    assert arriving.is_awaited
    with pytest.raises(ValueError, match="has not begun"):
        arriving.begun(b"", SimpleNamespace())  # type: ignore[arg-type]


def test_an_answer_may_be_as_large_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        def feed(self, data: bytes) -> list[Event]:
            return [data]

    response = httpx.Response(200, request=httpx.Request("POST", "https://relay.example/"))
    monkeypatch.setattr(transport_module, "ANSWER_LIMIT", 10)
    answer = ArrivingAnswer(Opened(response, Reader(), None))  # type: ignore[arg-type]
    assert answer.feed(b"x" * 4) + answer.feed(b"x" * 6) == b"x" * 10
    with pytest.raises(ExchangeError, match="more than any honest answer"):
        answer.feed(b"x")


def whole_in_a_loop(url: str) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(url, policy=ALLOWED) as client:
            await client.evidence()

    asyncio.run(run())


def whole(url: str) -> None:
    with ObliviousClient(url, policy=ALLOWED) as client:
        client.evidence()


@pytest.mark.parametrize("fetch", [whole, whole_in_a_loop])
def test_what_is_not_sealed_may_be_as_large_as_its_limit(
    fetch: Callable[[str], None], gateway: StandInGateway
) -> None:
    for size, error in (
        (transport_module.CLEAR_BODY_LIMIT, EvidenceRefused),
        (transport_module.CLEAR_BODY_LIMIT + 1, ExchangeError),
    ):
        gateway.faults.evidence_answers = [Plain(200, "application/json", bytes(size))]
        with pytest.raises(error):
            fetch(gateway.url)


# The twin, which programs with an event loop have: the same again.


def asked_asynchronously(gateway: StandInGateway) -> str:
    async def run() -> str:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            return (await client.chat("hello", model=MODEL)).text

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "kind", "posts"),
    [
        (Plain(503, PROBLEM, b"{}"), OuterRefusal, 1),
        (Plain(200, "text/html", b"hello"), ExchangeError, 1),
        (Plain(500, PROBLEM, bytes(100_000)), ClientError, 1),
    ],
)
def test_the_twin_tells_outer_errors_from_answers(
    gateway: StandInGateway, answer: Plain, kind: type[ClientError], posts: int
) -> None:
    gateway.faults.outer = [answer]
    with pytest.raises(kind):
        asked_asynchronously(gateway)
    assert len(gateway.posts()) == posts


def test_the_twin_asks_twice_with_a_key_that_stays_unknown_and_no_more(
    gateway: StandInGateway,
) -> None:
    gateway.accepted.clear()
    with pytest.raises(OuterRefusal) as caught:
        asked_asynchronously(gateway)
    assert caught.value.status == 422
    assert len(gateway.posts()) == 2


def test_the_twin_verifies_new_evidence_before_it_asks_again(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            await client.evidence()
            gateway.rotate()
            gateway.faults.evidence_answers = [Plain(200, "application/json", b"{}")]
            with pytest.raises(ClientError) as caught:
                await client.chat("hello", model=MODEL)
            assert caught.value.code is Exit.EVIDENCE_MALFORMED

    asyncio.run(run())
    assert len(gateway.posts()) == 1


def test_the_twin_cuts_an_endless_answer_and_says_who_is_not_there(
    gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with AsyncObliviousClient("http://127.0.0.1:1", policy=ALLOWED) as client:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.chat("hello")
            assert isinstance(caught.value, ClientError)
            assert "if http://127.0.0.1:1 is right" in caught.value.advice

    asyncio.run(run())
    monkeypatch.setattr(transport_module, "ANSWER_LIMIT", 100)
    with pytest.raises(ClientError, match="honest"):
        asked_asynchronously(gateway)


def test_all_that_wait_for_evidence_have_it_fetched_once(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            found = await asyncio.gather(*(client.evidence() for _ in range(5)))
            assert len({id(each) for each in found}) == 1

    asyncio.run(run())
    assert [arrived.method for arrived in gateway.arrived] == ["GET"]


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_a_flow_waits_where_it_says_so(
    is_asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("oblivious_client.transport.time.sleep", waited.append)
    monkeypatch.setattr("oblivious_client.transport.anyio.sleep", sleep)

    def flow() -> Flow[str]:
        yield Pause(2.5)
        try:
            yield httpx.Request("GET", "http://127.0.0.1:1/")
        except httpx.ConnectError:
            yield Pause(0.5)
        return "the end"

    async def run() -> str:
        async with AsyncObliviousClient("http://127.0.0.1:1", policy=ALLOWED) as client:
            return await client.transport.run(flow())

    if is_asynchronous:
        assert asyncio.run(run()) == "the end"
    else:
        with ObliviousClient("http://127.0.0.1:1", policy=ALLOWED) as client:
            assert client.transport.run(flow()) == "the end"
    assert waited == [2.5, 0.5]
