"""Tokens of type 2 against the vectors of RFC 9578, and what each end refuses."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import KeyRejected, MalformedMessage, ProtocolError, SignatureInvalid
from protocol.private_token import (
    REQUEST_BYTES,
    TOKEN_BYTES,
    PendingToken,
    Token,
    TokenRequest,
    request_token,
)
from protocol.token_challenge import TokenChallenge
from protocol.token_key import TokenKey
from tests.support.private_tokens import (
    BATCHES,
    ISSUANCES,
    KEY,
    MORE,
    OLDER_BATCHES,
    OTHER_KEY,
    SIGN,
    in_order,
    issuer_operation,
    load_issuer,
    type_2,
)

DIGEST = TokenChallenge("issuer.example", "gateway.example").digest
OTHER_DIGEST = TokenChallenge("issuer.example", "elsewhere.example").digest
REQUEST, PENDING = request_token(KEY, DIGEST)
TOKEN = PENDING.finalize(REQUEST.answer(KEY, SIGN))


def issued(digest: bytes = DIGEST) -> Token:
    request, pending = request_token(KEY, digest)
    return pending.finalize(request.answer(KEY, SIGN))


@pytest.mark.parametrize("case", ISSUANCES, ids=lambda case: case["id"])
def test_vectors(case: dict[str, Any]) -> None:
    octets = {name: bytes.fromhex(case[name]) for name in ("nonce", "salt", "blind", "pkS")}
    expected = {
        name: bytes.fromhex(case[name]) for name in ("token_request", "token_response", "token")
    }
    key = TokenKey.decode(octets["pkS"])
    digest = TokenChallenge.decode(bytes.fromhex(case["token_challenge"])).digest
    source = in_order(octets["nonce"], octets["salt"], octets["blind"])
    request, pending = request_token(key, digest, random=source)
    assert request.encode() == expected["token_request"]
    assert TokenRequest.decode(expected["token_request"]) == request
    answer = request.answer(key, issuer_operation(load_issuer(case["skS"])))
    assert answer == expected["token_response"]
    token = pending.finalize(answer)
    assert token.encode() == expected["token"]
    assert Token.decode(expected["token"]) == token
    token.verify(key, digest)


MEMBERS = [each for batch in (*BATCHES, *OLDER_BATCHES) for each in type_2(batch)]


def test_every_member_of_type_2_is_run() -> None:
    assert sum(batch["type2_members"] for batch in BATCHES) == 8
    assert len(MEMBERS) == 12


@pytest.mark.parametrize("case", MEMBERS, ids=range(len(MEMBERS)))
def test_tokens_of_batches_of_either_layout(case: dict[str, Any]) -> None:
    key = TokenKey.decode(bytes.fromhex(case["pkS"]))
    token = Token.decode(bytes.fromhex(case["token"]))
    token.verify(key, TokenChallenge.decode(bytes.fromhex(case["token_challenge"])).digest)
    assert token.nonce.hex() == case["nonce"]


def test_sizes_are_those_of_the_specification() -> None:
    assert MORE["facts"]["token_size"] == TOKEN_BYTES == len(TOKEN.encode())
    assert MORE["facts"]["token_request_size"] == REQUEST_BYTES == len(REQUEST.encode())
    assert len(TOKEN.token_input) == 98


def test_no_two_tokens_are_alike() -> None:
    tokens = [issued() for _ in range(5)]
    assert len({token.token_input for token in tokens}) == 5
    assert len({token.authenticator for token in tokens}) == 5


def test_what_is_kept_makes_the_token_after_a_restart() -> None:
    kept = (PENDING.key.spki, PENDING.challenge_digest, PENDING.nonce, PENDING.inverse)
    again = PendingToken(TokenKey.decode(kept[0]), *kept[1:])
    assert again.finalize(REQUEST.answer(KEY, SIGN)) == TOKEN


def test_the_same_request_has_the_same_answer() -> None:
    assert REQUEST.answer(KEY, SIGN) == REQUEST.answer(KEY, SIGN)


def test_any_answer_fits_any_token() -> None:
    """What an issuer saw can have become any token of its key: it learns nothing of either."""
    n, e = KEY.public_key.public_numbers().n, 65537
    for token in (issued(), issued()):
        for request in (REQUEST, request_token(KEY, DIGEST)[0]):
            answer = int.from_bytes(request.answer(KEY, SIGN), "big")
            factor = answer * pow(int.from_bytes(token.authenticator, "big"), -1, n) % n
            encoded = pow(int.from_bytes(token.authenticator, "big"), e, n)
            blinded = encoded * pow(factor, e, n) % n
            assert blinded.to_bytes(256, "big") == request.blinded_message


@pytest.mark.parametrize(
    ("key", "digest", "error"),
    [
        (OTHER_KEY, DIGEST, KeyRejected),
        (KEY, OTHER_DIGEST, SignatureInvalid),
        (OTHER_KEY, OTHER_DIGEST, KeyRejected),
        (KEY, b"", SignatureInvalid),
    ],
    ids=["another key", "another gateway", "both", "no challenge"],
)
def test_a_token_for_something_else(key: TokenKey, digest: bytes, error: type[Exception]) -> None:
    TOKEN.verify(KEY, DIGEST)
    with pytest.raises(error):
        TOKEN.verify(key, digest)


def test_a_token_under_the_name_of_another_key() -> None:
    renamed = Token(TOKEN.nonce, DIGEST, OTHER_KEY.key_id, TOKEN.authenticator)
    with pytest.raises(SignatureInvalid):
        renamed.verify(OTHER_KEY, DIGEST)


@settings(deadline=None)
@given(st.integers(0, 8 * TOKEN_BYTES - 1))
def test_no_bit_of_a_token_can_be_changed(bit: int) -> None:
    data = bytearray(TOKEN.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProtocolError):
        Token.decode(bytes(data)).verify(KEY, DIGEST)


@pytest.mark.parametrize("read", [Token.decode, TokenRequest.decode], ids=["token", "request"])
def test_every_truncation_and_more_is_refused(read: Any) -> None:
    data = (TOKEN if read == Token.decode else REQUEST).encode()
    assert read(data).encode() == data
    for wrong in (*(data[:end] for end in range(len(data))), data + b"\0", b"\0\1" + data[2:]):
        with pytest.raises(MalformedMessage):
            read(wrong)


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=256, max_size=256),
    st.integers(0, 255),
)
def test_round_trips(piece: bytes, signature: bytes, octet: int) -> None:
    token = Token(piece, piece[::-1], piece, signature)
    assert Token.decode(token.encode()) == token
    request = TokenRequest(octet, signature)
    assert TokenRequest.decode(request.encode()) == request


def test_a_request_for_another_key_is_not_answered() -> None:
    assert KEY.truncated_id != OTHER_KEY.truncated_id
    with pytest.raises(KeyRejected):
        REQUEST.answer(OTHER_KEY, SIGN)


@pytest.mark.parametrize("message", [b"\xff" * 256, KEY.spki[81:-5]], ids=["ones", "modulus"])
def test_a_blinded_message_above_the_modulus_is_not_signed(message: bytes) -> None:
    with pytest.raises(MalformedMessage):
        TokenRequest(KEY.truncated_id, message).answer(KEY, SIGN)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (b"", MalformedMessage),
        (bytes(255), MalformedMessage),
        (bytes(257), MalformedMessage),
        (b"\xff" * 256, MalformedMessage),
        (bytes(256), SignatureInvalid),
        (request_token(KEY, DIGEST)[0].answer(KEY, SIGN), SignatureInvalid),
    ],
    ids=["nothing", "short", "long", "above the modulus", "zero", "of another request"],
)
def test_an_answer_to_something_else(response: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        PENDING.finalize(response)


@pytest.mark.parametrize("at", range(4))
def test_a_token_of_other_sizes_cannot_be_made(at: int) -> None:
    fields = [TOKEN.nonce, DIGEST, KEY.key_id, TOKEN.authenticator]
    fields[at] += b"\0"
    with pytest.raises(ValueError, match="octets"):
        Token(*fields)


@pytest.mark.parametrize("fields", [(-1, bytes(256)), (256, bytes(256)), (0, bytes(255))])
def test_a_request_of_other_sizes_cannot_be_made(fields: tuple[int, bytes]) -> None:
    with pytest.raises(ValueError, match="octet"):
        TokenRequest(*fields)


def test_what_is_money_or_a_link_is_not_printed() -> None:
    for value in (TOKEN, REQUEST, PENDING):
        assert repr(TOKEN.nonce) not in repr(value)
        assert repr(PENDING.nonce) not in repr(value)
        assert repr(TOKEN.authenticator) not in repr(value)
        assert str(PENDING.inverse) not in repr(value)
