"""Batches against the vectors of three implementations (protocol.token_batch)."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import varint
from protocol.errors import MalformedMessage, ProtocolError
from protocol.private_token import TokenRequest, request_token
from protocol.token_batch import (
    MAX_MEMBERS,
    decode_requests,
    decode_responses,
    encode_requests,
    encode_responses,
)
from protocol.token_challenge import TokenChallenge
from protocol.token_key import TokenKey
from tests.support.private_tokens import (
    BATCHES,
    KEY,
    OLDER_BATCHES,
    SIGN,
    in_order,
    issuer_operation,
    load_issuer,
    type_2,
)

WHOLE = [case for case in BATCHES if case["type2_members"] == len(case["issuance"])]
MIXED = [case for case in BATCHES if case not in WHOLE]
RESPONSES = st.lists(st.none() | st.binary(min_size=256, max_size=256), min_size=1, max_size=8)
REQUESTS = st.lists(
    st.builds(TokenRequest, st.integers(0, 255), st.binary(min_size=256, max_size=256)),
    min_size=1,
    max_size=8,
)


def test_every_vector_is_run() -> None:
    assert (len(WHOLE), len(MIXED), len(OLDER_BATCHES)) == (2, 6, 5)


def asked(case: dict[str, Any]) -> tuple[TokenRequest, bytes, bytes]:
    """Return the request, response and token of a member, computed anew."""
    names = ("pkS", "token_challenge", "nonce", "salt", "blind")
    spki, challenge, nonce, salt, factor = (bytes.fromhex(case[name]) for name in names)
    key, digest = TokenKey.decode(spki), TokenChallenge.decode(challenge).digest
    random = in_order(nonce, salt, factor.rjust(256, b"\0"))
    request, pending = request_token(key, digest, random=random)
    answer = request.answer(key, issuer_operation(load_issuer(case["skS"])))
    return request, answer, pending.finalize(answer).encode()


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case["id"])
def test_batches_of_type_2(case: dict[str, Any]) -> None:
    request, response = (bytes.fromhex(case[f"token_{name}"]) for name in ("request", "response"))
    members = [asked(each) for each in type_2(case)]
    requests, responses = [each[0] for each in members], [each[1] for each in members]
    assert decode_requests(request) == requests
    assert encode_requests(requests) == request
    assert decode_responses(response, len(members)) == responses
    assert encode_responses(responses) == response
    assert [each[2].hex() for each in members] == [each["token"] for each in case["issuance"]]


@pytest.mark.parametrize("case", MIXED, ids=lambda case: case["id"])
def test_batches_with_other_types_are_refused_whole(case: dict[str, Any]) -> None:
    request, response = (bytes.fromhex(case[f"token_{name}"]) for name in ("request", "response"))
    for each in type_2(case):
        asked_for, answer, token = asked(each)
        assert asked_for.encode() in request
        assert answer in response
        assert token.hex() == each["token"]
    with pytest.raises(MalformedMessage):
        decode_requests(request)
    with pytest.raises(MalformedMessage):
        decode_responses(response, len(case["issuance"]))


@pytest.mark.parametrize("case", OLDER_BATCHES, ids=lambda case: case["id"])
def test_the_older_layout_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        decode_requests(bytes.fromhex(case["token_request"]))
    with pytest.raises(MalformedMessage):
        decode_responses(bytes.fromhex(case["token_response"]), len(case["issuance"]))


def test_a_batch_is_issued_in_its_order() -> None:
    digest = TokenChallenge("issuer.example").digest
    pairs = [request_token(KEY, digest) for _ in range(5)]
    requests = decode_requests(encode_requests([request for request, _ in pairs]))
    answers = encode_responses([each.answer(KEY, SIGN) for each in requests])
    for (_, pending), answer in zip(pairs, decode_responses(answers, 5), strict=True):
        assert answer is not None
        pending.finalize(answer).verify(KEY, digest)


@given(REQUESTS)
def test_requests_round_trip(requests: list[TokenRequest]) -> None:
    data = encode_requests(requests)
    assert decode_requests(data) == requests
    refuse_cut_and_more(data, decode_requests)


@given(RESPONSES)
def test_responses_round_trip(responses: list[bytes | None]) -> None:
    data = encode_responses(responses)
    count = len(responses)
    assert decode_responses(data, count) == responses
    refuse_cut_and_more(data, lambda wrong: decode_responses(wrong, count))
    for other in (count - 1, count + 1):
        with pytest.raises(MalformedMessage):
            decode_responses(data, other)


def refuse_cut_and_more(data: bytes, read: Any) -> None:
    for wrong in (b"", data[:1], data[:-1], data[: len(data) // 2], data + b"\0"):
        with pytest.raises(ProtocolError):
            read(wrong)


REQUEST = TokenRequest(7, bytes(256))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0", id="none"),
        pytest.param(varint.encode_sized(259, 4) + REQUEST.encode(), id="length-in-four"),
        pytest.param(varint.encode_sized(259, 8) + REQUEST.encode(), id="length-in-eight"),
        pytest.param(varint.encode(260) + REQUEST.encode() + b"\0", id="an-octet-more"),
        pytest.param(varint.encode(259) + b"\0\1" + REQUEST.encode()[2:], id="type-1"),
        pytest.param(varint.encode(101 * 259) + REQUEST.encode() * 101, id="101-requests"),
        pytest.param(varint.encode(varint.MAXIMUM), id="the-longest"),
    ],
)
def test_wrong_batches_of_requests(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_requests(data)


ISSUED = b"\1\0\2" + bytes(256)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"\0\0", id="two"),
        pytest.param(b"\2" + ISSUED[1:], id="neither-present-nor-absent"),
        pytest.param(b"\1\0\1" + ISSUED[3:], id="type-1"),
        pytest.param(ISSUED[:-1], id="short"),
        pytest.param(b"\1", id="present-and-nothing"),
    ],
)
def test_wrong_batches_of_responses(members: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_responses(varint.encode(len(members)) + members, 1)


def test_a_length_of_responses_in_its_shortest_form_only() -> None:
    assert decode_responses(b"\1\0", 1) == [None]
    with pytest.raises(MalformedMessage):
        decode_responses(b"\x40\1\0", 1)


def test_a_batch_has_its_largest_size() -> None:
    assert len(decode_requests(encode_requests([REQUEST] * MAX_MEMBERS))) == MAX_MEMBERS
    for count in (0, MAX_MEMBERS + 1):
        with pytest.raises(ValueError, match="1 to 100"):
            encode_requests([REQUEST] * count)
    with pytest.raises(ValueError, match="256 octets"):
        encode_responses([bytes(255)])


@given(st.binary(max_size=600), st.integers(0, 4))
def test_any_octets_raise_nothing_else(data: bytes, count: int) -> None:
    for read in (decode_requests, lambda each: decode_responses(each, count)):
        with suppress(ProtocolError):
            read(data)
