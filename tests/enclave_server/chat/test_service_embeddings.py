"""Embeddings from request to signed answer: what leaves, what comes back, and who may ask."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat.elsewhere import do
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.service import ChatService
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.binary_http import Request, Response
from protocol.embedding_transcript import vectors_of
from protocol.gateway import Delivery, settled
from protocol.signature import ASKED_FIELD, Algorithm, SigningKeys, verify_embeddings
from tests.support.upstream import Behaviour, StandInUpstream, sending

KEYS = SigningKeys.generate()
NOW = 1_800_000_000
DEADLINE = 120.0  # seconds, so that nothing hangs
MARK = "a mark of the provider's"

DATA = [
    {"object": "embedding", "index": 1, "embedding": [0.25, 0.1], "id": MARK},
    {"object": "embedding", "index": 0, "embedding": [-1, 1e-7]},
]
ANSWER = {
    "id": MARK,
    "object": "list",
    "data": DATA,
    "model": MARK,
    "system_fingerprint": MARK,
    "usage": {"prompt_tokens": 5, "total_tokens": 5, "prompt_tokens_details": {"cached": 4}},
}
TWO = {"model": "e", "input": ["a", "b"]}


def request(body: dict[str, Any], *headers: tuple[bytes, bytes]) -> Request:
    fields = ((b"content-type", b"application/json"), *headers)
    content = json.dumps(body).encode()
    return Request(b"POST", b"https", b"gateway", b"/v1/embeddings", fields, content)


def run(
    *asked: Request,
    behaviour: Behaviour | None = None,
    version: int = 2,
    elsewhere: bool = False,
    delivery: Delivery = Delivery.WHOLE,
    dialect: str = "openai-chat",
) -> tuple[list[tuple[Response, dict[str, Any]]], StandInUpstream]:
    async def scenario() -> tuple[list[tuple[Response, dict[str, Any]]], StandInUpstream]:
        async with StandInUpstream(behaviour or sending(200, ANSWER)) as upstream:
            address = parse_address(upstream.address)
            place = Upstream("u", address, dialect=dialect)
            table = ModelTable((Model("e", place, "there", embeddings=True),))
            service = ChatService(
                table,
                lambda: KEYS,
                version=version,
                clock=lambda: NOW,
                elsewhere=away(table) if elsewhere else None,
            )
            answers = []
            for each in asked:
                async with asyncio.timeout(DEADLINE):
                    answer = await settled(service.dispatch(each, delivery))
                assert isinstance(answer, Response)
                answers.append((answer, json.loads(answer.content)))
            service.close()
        return answers, upstream

    return asyncio.run(scenario())


def away(table: ModelTable) -> Callable[[bytes], Awaitable[bytes]]:
    async def work(data: bytes) -> bytes:
        return do(table, KEYS, data)

    return work


@pytest.mark.parametrize("delivery", Delivery)
def test_the_answer_is_signed_and_only_known_members_pass(delivery: Delivery) -> None:
    asked = request(TWO)
    [(answer, body)], upstream = run(asked, delivery=delivery)
    assert answer.status == 200
    assert MARK.encode() not in answer.content
    signed = verify_embeddings(KEYS.public_keys, asked.content, body)
    assert (signed.version, signed.algorithm) == (2, Algorithm.RSA)
    for name in signed.fields():
        del body[name]
    [first, second] = body.pop("data")
    assert first == {"object": "embedding", "index": 0, "embedding": first["embedding"]}
    assert first["embedding"] == pytest.approx([-1, 1e-7])
    assert second["embedding"] == pytest.approx([0.25, 0.1])
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    assert body == {"object": "list", "model": "e", "usage": usage}
    [received] = upstream.requests
    assert received.target == "/v1/embeddings"
    assert received.json == {"model": "there", "input": ["a", "b"]}


def test_another_dialect_s_vectors_are_signed_alike() -> None:
    asked = request(TWO)
    said = {"embeddings": [{"values": [-1, 1e-7]}, {"values": [0.25, 0.1]}]}
    [(answer, body)], upstream = run(asked, behaviour=sending(200, said), dialect="gemini")
    assert answer.status == 200
    verify_embeddings(KEYS.public_keys, asked.content, body)
    [(_, other)], _ = run(asked)
    assert body["data"] == other["data"]
    assert body["tee_output_hash"] == other["tee_output_hash"]
    assert upstream.requests[0].target == "/v1/models/there:batchEmbedContents"


def test_both_encodings_say_and_sign_the_same_octets() -> None:
    texts = request(TWO | {"encoding_format": "base64"})
    [(_, numbers), (_, written)], _ = run(request(TWO), texts)
    verify_embeddings(KEYS.public_keys, texts.content, written)
    assert all(len(base64.b64decode(each["embedding"])) == 8 for each in written["data"])
    assert vectors_of(numbers["data"]) == vectors_of(written["data"])
    assert numbers["tee_output_hash"] == written["tee_output_hash"]


@pytest.mark.parametrize(
    ("version", "headers", "algorithm"),
    [
        (1, (), Algorithm.RSA),
        (1, (ASKED_FIELD,), Algorithm.ED25519),
        (2, (ASKED_FIELD,), Algorithm.ED25519),
    ],
)
def test_everybody_gets_the_second_version(
    version: int, headers: tuple[tuple[bytes, bytes], ...], algorithm: Algorithm
) -> None:
    asked = request(TWO, *headers)
    [(_, body)], _ = run(asked, version=version)
    signed = verify_embeddings(KEYS.public_keys, asked.content, body)
    assert (signed.version, signed.algorithm) == (2, algorithm)


def test_identical_entries_leave_in_identical_octets() -> None:
    one = sending(200, ANSWER | {"data": [DATA[0] | {"index": 0}]})
    asked = [
        request({"model": "e", "input": "Hello", "user": "ada", "encoding_format": "base64"}),
        request({"input": ["Hello"], "model": "e", "encoding_format": "float", "user": "bob"}),
        request({"model": "e", "input": "Hello", "dimensions": None, "metadata": {"a": "b"}}),
    ]
    answers, upstream = run(*asked, behaviour=one)
    assert [answer.status for answer, _ in answers] == [200] * 3
    assert len({(each.head, each.body) for each in upstream.requests}) == 1


def test_a_large_request_and_a_large_answer_are_read_elsewhere_and_are_the_same() -> None:
    text = "a" * 100_000
    long = [{"index": i, "embedding": [0.123456789] * 8192} for i in range(2)]
    asked = request({"model": "e", "input": [text, "b"]}, ASKED_FIELD)
    behaviour = sending(200, {"data": long})
    [(answer, body)], _ = run(asked, behaviour=behaviour, elsewhere=True)
    assert answer.status == 200
    verify_embeddings(KEYS.public_keys, asked.content, body)
    [(here, _)], _ = run(asked, behaviour=behaviour)
    assert here.content == answer.content


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (sending(200, ANSWER | {"data": DATA[:1]}), 502, "upstream_failed"),
        (sending(200, {"choices": []}), 502, "upstream_failed"),
        (sending(429, {"error": {"message": MARK}}), 429, "rate_limit_exceeded"),
        (sending(400, {"error": {"message": MARK}}), 400, "upstream_rejected"),
    ],
)
def test_faults_become_our_own(behaviour: Behaviour, status: int, code: str) -> None:
    [(answer, body)], _ = run(request(TWO), behaviour=behaviour)
    assert (answer.status, body["error"]["code"]) == (status, code)
    assert MARK.encode() not in answer.content


def test_an_algorithm_that_is_not_known_is_refused() -> None:
    [(answer, _)], upstream = run(request(TWO, (b"tee-signature", b"x")))
    assert answer.status == 400
    assert not upstream.requests
