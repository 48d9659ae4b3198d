"""Questions sealed and answers opened: both framings, any mechanism, answers that are none."""

import pytest

from oblivious_client import sealing
from oblivious_client.errors import AnswerTruncated, AnswerUnreadable
from oblivious_client.sealing import CHUNK, Framing, Sealed, seal
from protocol import chunked, encapsulation
from protocol.binary_http import (
    Event,
    Request,
    Response,
    ResponseHead,
    decode_request,
    encode_response,
)
from protocol.encapsulation import GatewayKey
from protocol.kem import DEFAULT_KEM, Kem
from protocol.padding import bucket
from tests.support.toy_kem import toy

__all__ = ["toy"]

ANSWER = encode_response(Response(200, ((b"content-type", b"text/plain"),), b"answer"))
EVENTS = [ResponseHead(200, ((b"content-type", b"text/plain"),)), b"answer"]
FRAMINGS = pytest.mark.parametrize("framing", list(Framing))


def request(size: int = 10) -> Request:
    return Request(b"POST", b"https", b"", b"/", (), b"x" * size)


def answer_to(key: GatewayKey, framing: Framing, sealed: bytes) -> tuple[bytes, bytes]:
    """Return the plaintext of a request and a sealed answer to it."""
    if framing is Framing.WHOLE:
        plain, context = encapsulation.decapsulate_request([key], sealed)
        return plain, context.seal_response(ANSWER)
    opener = chunked.decapsulate_request([key])
    pieces = opener.feed(sealed)
    final, chunks = opener.finish()
    return b"".join(pieces) + final, chunks.seal_response().finish(ANSWER)


def read(sealed: Sealed, answer: bytes) -> list[Event]:
    return [event for event in sealed.reader.feed(answer) + sealed.reader.finish() if event]


@FRAMINGS
@pytest.mark.parametrize("size", [0, 1000, CHUNK, 5 * CHUNK + 1])
def test_a_question_and_its_answer(framing: Framing, size: int) -> None:
    key = GatewayKey.generate(1)
    sealed = seal(key.config, request(size), framing)
    plain, answer = answer_to(key, framing, b"".join(sealed.pieces))
    assert decode_request(plain) == request(size)
    assert len(plain) == bucket(len(plain))
    assert read(sealed, answer) == EVENTS


@FRAMINGS
def test_a_mechanism_of_other_sizes(framing: Framing, toy: Kem) -> None:
    key = GatewayKey.generate(1, toy)
    sealed = seal(key.config, request(), framing)
    data = b"".join(sealed.pieces)
    plain, answer = answer_to(key, framing, data)
    assert decode_request(plain) == request()
    assert read(sealed, answer) == EVENTS
    other = b"".join(seal(GatewayKey.generate(1).config, request(), framing).pieces)
    assert len(data) - len(other) == toy.enc_size - DEFAULT_KEM.enc_size


@FRAMINGS
def test_an_altered_answer_is_unreadable(framing: Framing) -> None:
    key = GatewayKey.generate(1)
    sealed = seal(key.config, request(), framing)
    _, answer = answer_to(key, framing, b"".join(sealed.pieces))
    with pytest.raises(AnswerUnreadable):
        read(sealed, answer[:-1] + bytes([answer[-1] ^ 1]))


def test_an_answer_without_its_end_is_truncated() -> None:
    key = GatewayKey.generate(1)
    sealed = seal(key.config, request(), Framing.CHUNKED)
    opener = chunked.decapsulate_request([key])
    opener.feed(b"".join(sealed.pieces))
    answer = opener.finish()[1].seal_response()
    assert sealed.reader.feed(answer.seal(ANSWER)) == EVENTS
    with pytest.raises(AnswerTruncated):
        sealed.reader.finish()


@FRAMINGS
def test_what_opens_and_is_no_response_is_unreadable(framing: Framing) -> None:
    key = GatewayKey.generate(1)
    sealed = seal(key.config, request(), framing)
    data = b"".join(sealed.pieces)
    if framing is Framing.WHOLE:
        answer = encapsulation.decapsulate_request([key], data)[1].seal_response(b"\xff")
    else:
        opener = chunked.decapsulate_request([key])
        opener.feed(data)
        answer = opener.finish()[1].seal_response().finish(b"\xff")
    with pytest.raises(AnswerUnreadable):
        read(sealed, answer)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (1, [1]),
        (CHUNK, [CHUNK]),
        (CHUNK + 1, [CHUNK, 1]),
        (2 * CHUNK, [CHUNK, CHUNK]),
    ],
)
def test_no_chunk_is_larger_than_it_may_be_and_none_is_empty(size: int, sizes: list[int]) -> None:
    class Sealer:
        def seal(self, plain: bytes) -> bytes:
            return plain

        finish = seal

    pieces = list(sealing._chunks(Sealer(), bytes(size)))  # type: ignore[arg-type]
    assert [len(piece) for piece in pieces] == sizes


def test_media_types_of_the_framings() -> None:
    types = [(each.request_type, each.response_type) for each in Framing]
    assert types == [
        ("message/ohttp-chunked-req", "message/ohttp-chunked-res"),
        ("message/ohttp-req", "message/ohttp-res"),
    ]
