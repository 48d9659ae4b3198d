"""The directory of an issuer (RFC 9578, Section 4): what is read, passed over and refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import base64url
from protocol.errors import MalformedMessage, ProtocolError
from protocol.issuer_directory import (
    LATEST_TIME,
    MAX_DIRECTORY_BYTES,
    DirectoryKey,
    IssuerDirectory,
)
from tests.support.private_tokens import KEY, OTHER_KEY, START, toy_key

SPKI = base64url.encode(KEY.spki).decode()
LISTED = {"token-type": 2, "token-key": SPKI, "not-before": START}
DIRECTORY = IssuerDirectory("/token-request", (DirectoryKey(KEY, START), DirectoryKey(OTHER_KEY)))


def directory(*keys: Any, **changes: Any) -> bytes:
    members = {"issuer-request-uri": "/token-request", "token-keys": list(keys)}
    return json.dumps({**members, **changes}).encode()


def test_what_is_served_is_read() -> None:
    assert IssuerDirectory.decode(DIRECTORY.encode()) == DIRECTORY
    assert json.loads(DIRECTORY.encode())["token-keys"][0] == LISTED


def test_the_key_for_receipts_is_told_where_there_is_one() -> None:
    with_key = IssuerDirectory("/token-request", DIRECTORY.keys, bytes(range(32)))
    assert IssuerDirectory.decode(with_key.encode()) == with_key
    assert b"receipt" not in DIRECTORY.encode()
    for value in ("AAAA", "====", 1):
        with pytest.raises(MalformedMessage):
            IssuerDirectory.decode(directory(**{"oblivious-receipt-key": value}))


def test_exactly_the_listed_keys_are_listed() -> None:
    assert DIRECTORY.has(KEY)
    assert DIRECTORY.has(OTHER_KEY)
    assert not DIRECTORY.has(toy_key(KEY.truncated_id))


def test_other_types_and_members_are_passed_over() -> None:
    others = [{"token-type": 1, "token-key": "AAAA"}, {"token-type": 0xDA7A}]
    found = IssuerDirectory.decode(directory(*others, {**LISTED, "more": []}, more=1))
    assert found == IssuerDirectory("/token-request", (DirectoryKey(KEY, START),))
    assert IssuerDirectory.decode(directory()).keys == ()


@given(st.lists(st.none() | st.integers(0, LATEST_TIME), max_size=4), st.text("a/:.?", min_size=1))
def test_round_trip(times: list[int | None], uri: str) -> None:
    keys = tuple(DirectoryKey(toy_key(at), time) for at, time in enumerate(times))
    written = IssuerDirectory(uri, keys)
    assert IssuerDirectory.decode(written.encode()) == written


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        directory(LISTED)[:-1],
        directory(LISTED) + b"}",
        directory(LISTED, **{"issuer-request-uri": None}),
        directory(LISTED, **{"issuer-request-uri": ""}),
        directory(LISTED, **{"issuer-request-uri": "/a b"}),
        directory(LISTED, **{"issuer-request-uri": "/é"}),
        directory(LISTED, **{"token-keys": {}}),
        directory(LISTED, None),
        directory(LISTED, {}),
        directory({**LISTED, "token-type": "2"}),
        directory({**LISTED, "token-type": True}),
        directory({**LISTED, "token-type": 2.0}),
        directory({**LISTED, "token-key": None}),
        directory({**LISTED, "token-key": SPKI[:-4]}),
        directory({**LISTED, "token-key": SPKI + "="}),
        directory({**LISTED, "token-key": SPKI.replace("-", "+").replace("_", "/")}),
        directory({**LISTED, "token-key": SPKI[:-4] + "AAED"}),  # e = 259
        directory({**LISTED, "not-before": -1}),
        directory({**LISTED, "not-before": "0"}),
        directory({**LISTED, "not-before": True}),
        directory({**LISTED, "not-before": LATEST_TIME + 1}),
        b'{"token-keys":[],"token-keys":[],"issuer-request-uri":"/"}',
        directory(more="a" * MAX_DIRECTORY_BYTES),
    ],
    ids=range(26),
)
def test_what_is_no_directory_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        IssuerDirectory.decode(data)


def test_what_cannot_be_told() -> None:
    for uri in ("", "a b", "\n", "é"):
        with pytest.raises(ValueError, match="URI"):
            IssuerDirectory(uri, ())


@given(st.binary())
def test_any_octets_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        IssuerDirectory.decode(data)


def test_a_uri_has_any_printable_character_and_no_other() -> None:
    assert IssuerDirectory("!/~", DIRECTORY.keys).request_uri == "!/~"
    for wrong in ("", "/a b", "/\x7f", "/\xe4"):
        with pytest.raises(ValueError, match="printable ASCII"):
            IssuerDirectory(wrong, DIRECTORY.keys)
