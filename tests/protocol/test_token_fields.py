"""The PrivateToken scheme: what is written, read, passed over and refused (RFC 9577)."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import base64url
from protocol.errors import MalformedMessage
from protocol.private_token import Token
from protocol.token_challenge import TokenChallenge
from protocol.token_fields import (
    MAX_FIELD_BYTES,
    PrivateTokenChallenge,
    decode_authorization,
    decode_challenges,
    encode_authorization,
)
from tests.support.private_tokens import FIRST, ISSUANCES, KEY, MORE

HEADERS = [*FIRST["rfc9577_www_authenticate"]["vectors"], *MORE["www_authenticate_more"]["vectors"]]
TOKEN = Token.decode(bytes.fromhex(ISSUANCES[0]["token"]))
TEXT = base64url.encode(TOKEN.encode())
FIELD = encode_authorization(TOKEN)
CHALLENGE = TokenChallenge("issuer.example", "gateway.example").encode()
ENCODED = base64url.encode(CHALLENGE)


@pytest.mark.parametrize("case", HEADERS, ids=range(len(HEADERS)))
def test_vectors(case: dict[str, Any]) -> None:
    found = decode_challenges(case["WWW-Authenticate"].encode())
    assert len(found) == case.get("parsed_challenges", 1)
    for at, challenge in enumerate(found):
        assert challenge.challenge.hex() == case[f"token-challenge-{at}"]
        assert challenge.token_key is not None
        assert challenge.token_key.hex() == case[f"token-key-{at}"]
        assert challenge.max_age == int(case[f"max-age-{at}"])


def test_every_vector_is_run() -> None:
    assert len(HEADERS) == 3


def test_a_token_is_written_without_quotes() -> None:
    assert FIELD == b"PrivateToken token=" + TEXT
    quoted = b'PrivateToken token="' + TEXT + b'"'
    assert len(FIELD) + 2 == len(quoted) == MORE["facts"]["authorization_value_chars"]


@pytest.mark.parametrize(
    "value",
    [
        FIELD,
        b'PrivateToken token="' + TEXT + b'"',
        b"privatetoken TOKEN=" + TEXT,
        b"PrivateToken  token \t=\t " + TEXT,
    ],
    ids=["plain", "quoted", "case", "white space"],
)
def test_forms_of_one_token(value: bytes) -> None:
    assert decode_authorization([value]) == TOKEN


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="none"),
        pytest.param([FIELD, FIELD], id="two-fields"),
        pytest.param([FIELD + b", " + FIELD], id="two-credentials"),
        pytest.param([FIELD + b", token=" + TEXT], id="two-tokens"),
        pytest.param([FIELD + b", extensions=AA=="], id="another-parameter"),
        pytest.param([b"Bearer " + TEXT], id="another-scheme"),
        pytest.param([b"PrivateToken " + TEXT], id="no-name"),
        pytest.param([b"PrivateToken"], id="scheme-alone"),
        pytest.param([b""], id="empty"),
        pytest.param([FIELD[:-1]], id="a-character-less"),
        pytest.param([FIELD + b"A"], id="a-character-more"),
        pytest.param([FIELD + b"="], id="padding"),
        pytest.param([FIELD + b"\n"], id="line-end"),
        pytest.param([b" " + FIELD], id="space-before"),
        pytest.param([FIELD + b" "], id="space-after"),
        pytest.param([FIELD.replace(b" ", b"\t")], id="tab"),
        pytest.param([b'PrivateToken token="' + TEXT], id="half-quoted"),
        pytest.param([b"PrivateToken token=" + TEXT + b'"'], id="other-half"),
        pytest.param([b'PrivateToken token="\\' + TEXT + b'"'], id="escaped"),
        pytest.param([b"PrivateToken token='" + TEXT + b"'"], id="single-quotes"),
        pytest.param([FIELD[:19] + b"+" + FIELD[20:]], id="the-other-alphabet"),
        pytest.param([FIELD[:19] + b"AAE" + FIELD[22:]], id="type-1"),
    ],
)
def test_what_is_not_one_token_is_refused(values: list[bytes]) -> None:
    with pytest.raises(MalformedMessage):
        decode_authorization(values)


def test_every_truncation_is_refused() -> None:
    for end in range(len(FIELD)):
        with pytest.raises(MalformedMessage):
            decode_authorization([FIELD[:end]])


@given(st.binary(min_size=352, max_size=352))
def test_tokens_round_trip(octets: bytes) -> None:
    token = Token.decode(b"\0\2" + octets)
    assert decode_authorization([encode_authorization(token)]) == token


def test_a_challenge_is_written_in_one_field() -> None:
    challenge = PrivateTokenChallenge(CHALLENGE, KEY.spki, 3600)
    assert decode_challenges(challenge.encode()) == [challenge]
    assert PrivateTokenChallenge(CHALLENGE).encode() == b"PrivateToken challenge=" + ENCODED


@given(
    st.lists(
        st.builds(
            PrivateTokenChallenge,
            st.binary(max_size=60),
            st.none() | st.binary(max_size=60),
            st.none() | st.integers(0, 10**10 - 1),
        ),
        max_size=4,
    )
)
def test_challenges_round_trip(challenges: list[PrivateTokenChallenge]) -> None:
    written = [each for each in challenges if each.challenge and each.token_key != b""]
    assert decode_challenges(b", ".join(each.encode() for each in written)) == written


PLAIN = b"PrivateToken challenge=" + ENCODED


@pytest.mark.parametrize(
    "value",
    [
        PLAIN,
        b"," + PLAIN + b" ,,",
        b"privatetoken CHALLENGE = " + ENCODED,
        b'PrivateToken challenge="' + ENCODED + b'"',
        PLAIN + b', other="a, \\"PrivateToken challenge=b\\""',
        b'Basic realm="a", ' + PLAIN,
        b'Basic realm="a", charset=b, ' + PLAIN + b", Negotiate",
        b"Negotiate, " + PLAIN,
        b"Negotiate YWJj==, " + PLAIN,
        PLAIN + b", Negotiate YWJj, Bearer",
    ],
)
def test_what_stands_around_a_challenge_is_passed_over(value: bytes) -> None:
    assert decode_challenges(value) == [PrivateTokenChallenge(CHALLENGE)]


@pytest.mark.parametrize("value", [b"", b" , ", b"Basic realm=a", b"Negotiate"])
def test_no_challenge_of_ours(value: bytes) -> None:
    assert decode_challenges(value) == []


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"challenge=" + ENCODED, id="no-scheme"),
        pytest.param(b"PrivateToken", id="no-parameter"),
        pytest.param(b"PrivateToken " + ENCODED, id="no-name"),
        pytest.param(b"PrivateToken max-age=1", id="no-challenge"),
        pytest.param(PLAIN + b", challenge=" + ENCODED, id="twice"),
        pytest.param(PLAIN + b", Challenge=" + ENCODED, id="twice-by-case"),
        pytest.param(PLAIN + b"=", id="padding-too-much"),
        pytest.param(PLAIN + b", token-key=+/8=", id="key-in-the-other-alphabet"),
        pytest.param(PLAIN + b", max-age=-1", id="negative"),
        pytest.param(PLAIN + b", max-age=1.5", id="fraction"),
        pytest.param(PLAIN + b', max-age=""', id="empty-age"),
        pytest.param(PLAIN + b", max-age=12345678901", id="eleven-digits"),
        pytest.param(PLAIN + b" max-age=1", id="no-comma"),
        pytest.param(PLAIN + b"; max-age=1", id="semicolon"),
        pytest.param(PLAIN + b', a="b', id="half-quoted"),
        pytest.param(PLAIN + b', a="\\', id="half-escaped"),
        pytest.param(PLAIN + b', a="\n"', id="line-end-in-quotes"),
        pytest.param(PLAIN + b"\r\n", id="line-end"),
        pytest.param(PLAIN + b", =b", id="nameless"),
        pytest.param(PLAIN + b", a=", id="valueless-ends"),
    ],
)
def test_what_is_no_such_field_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_challenges(value)


def test_a_field_has_a_largest_size() -> None:
    filled = PLAIN + b"," * (MAX_FIELD_BYTES - len(PLAIN))
    assert len(decode_challenges(filled)) == 1
    with pytest.raises(MalformedMessage):
        decode_challenges(filled + b",")


@given(st.lists(st.sampled_from([PLAIN, b",", b" ", b"=", b'"', b"a", b"\\", b"\t"])).map(b"".join))
def test_any_octets_raise_nothing_else(value: bytes) -> None:
    for read in (decode_challenges, lambda each: decode_authorization([each])):
        with suppress(MalformedMessage):
            read(value)


def test_a_challenge_is_shown_without_its_key() -> None:
    shown = repr(PrivateTokenChallenge(CHALLENGE, KEY.spki, 5))
    assert shown == f"PrivateTokenChallenge(challenge={CHALLENGE!r}, max_age=5)"
