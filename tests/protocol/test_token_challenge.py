"""Challenges against the vectors of RFC 9577 (protocol.token_challenge)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.private_token import token_input
from protocol.token_challenge import TokenChallenge, token_type_of
from tests.support.private_tokens import FIRST, ISSUANCES

INPUTS = FIRST["rfc9577_token_input"]["vectors"]
CHALLENGE = TokenChallenge("issuer.example", "a.example,b.example", bytes(32))
DATA = CHALLENGE.encode()
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)


def test_every_vector_is_run() -> None:
    assert len(INPUTS) == 5
    assert len(ISSUANCES) == 15


@pytest.mark.parametrize("case", INPUTS, ids=range(5))
def test_vectors_of_the_input(case: dict[str, Any]) -> None:
    octets = {
        name: bytes.fromhex(case[name]) for name in case if name not in ("comment", "verified")
    }
    issuer, origin = octets["issuer_name"].decode(), octets["origin_info"].decode()
    challenge = TokenChallenge(issuer, origin, octets["redemption_context"])
    assert challenge.encode() == octets["token_challenge"]
    signed = token_input(octets["nonce"], challenge.digest, octets["token_key_id"])
    assert signed == octets["token_authenticator_input"]


@pytest.mark.parametrize("case", ISSUANCES, ids=lambda case: case["id"])
def test_vectors_of_issuance(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["token_challenge"])
    challenge = TokenChallenge.decode(data)
    assert challenge.encode() == data
    assert challenge.digest == bytes.fromhex(case["token"])[34:66]
    for name, value in case.get("challenge", {}).items():
        if name == "redemption_context":
            assert challenge.redemption_context.hex() == value
        elif name != "token_type":
            assert getattr(challenge, name) == value


@given(NAMES.filter(bool), NAMES, st.sampled_from([b"", bytes(range(32))]))
def test_round_trip(issuer: str, origin: str, context: bytes) -> None:
    challenge = TokenChallenge(issuer, origin, context)
    assert TokenChallenge.decode(challenge.encode()) == challenge


def test_every_truncation_and_more_is_refused() -> None:
    for data in (*(DATA[:end] for end in range(len(DATA))), DATA + b"\0"):
        with pytest.raises(MalformedMessage):
            TokenChallenge.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("0001" + DATA[2:].hex(), id="type-1"),
        pytest.param("0002000000" + "0000", id="no-issuer"),
        pytest.param("0002000169" + "1f" + "00" * 31 + "0000", id="context-of-31"),
        pytest.param("0002000169" + "21" + "00" * 33 + "0000", id="context-of-33"),
        pytest.param("00020001e9" + "00" + "0000", id="issuer-not-ascii"),
        pytest.param("0002000169" + "00" + "000161"[:-2] + "0a", id="origin-with-line-end"),
    ],
)
def test_what_is_no_challenge_of_type_2_is_refused(data: str) -> None:
    with pytest.raises(MalformedMessage):
        TokenChallenge.decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    "arguments",
    [("",), ("é",), ("a\n",), ("a", "\0"), ("a" * 65536,), ("a", "b" * 65536), ("a", "b", b"c")],
)
def test_what_the_format_has_no_place_for(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"name|context"):
        TokenChallenge(*arguments)


def test_a_type_is_told_of_any_challenge() -> None:
    assert token_type_of(b"\xda\x7a and so on") == 0xDA7A
    for data in (b"", b"\0"):
        with pytest.raises(MalformedMessage):
            token_type_of(data)


@given(st.binary(max_size=100))
def test_any_octets_raise_nothing_else(data: bytes) -> None:
    try:
        challenge = TokenChallenge.decode(data)
    except MalformedMessage:
        return
    assert challenge.encode() == data


def test_what_is_wrong_with_its_end_is_said() -> None:
    for end in range(2, len(DATA)):
        with pytest.raises(MalformedMessage, match="too early"):
            TokenChallenge.decode(DATA[:end])
    with pytest.raises(MalformedMessage, match="octets after"):
        TokenChallenge.decode(DATA + b"\0")


@pytest.mark.parametrize("names", [("i", ""), ("", "o")])
def test_a_name_is_as_long_as_its_length_can_say(names: tuple[str, str]) -> None:
    issuer, origin = (name * 65_535 for name in names)
    longest = TokenChallenge(issuer or "i", origin)
    assert TokenChallenge.decode(longest.encode()) == longest
    with pytest.raises(ValueError, match="too long"):
        TokenChallenge((issuer and issuer + "i") or "i", origin and origin + "o")
