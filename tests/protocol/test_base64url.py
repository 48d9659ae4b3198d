"""base64url: one encoding of each value, with its padding (protocol.base64url)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import base64url
from protocol.errors import MalformedMessage


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", b""), (b"f", b"Zg=="), (b"fo", b"Zm8="), (b"foo", b"Zm9v"), (b"\xfb\xff", b"-_8=")],
)
def test_examples(data: bytes, text: bytes) -> None:
    assert base64url.encode(data) == text
    assert base64url.decode(text) == data


@pytest.mark.parametrize(
    "text",
    [
        b"Zg",
        b"Zg=",
        b"Zg===",
        b"Zh==",
        b"Zm9",
        b"Z",
        b"=",
        b"+/8=",
        b" Zg==",
        b"Zg==\n",
        b"Z\xe9==",
    ],
)
def test_another_form_of_a_value_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedMessage):
        base64url.decode(text)


@given(st.binary())
def test_round_trip(data: bytes) -> None:
    assert base64url.decode(base64url.encode(data)) == data


@given(st.binary() | st.text("AZaz09-_=").map(str.encode))
def test_what_is_read_is_written_alike(text: bytes) -> None:
    try:
        data = base64url.decode(text)
    except MalformedMessage:
        return
    assert base64url.encode(data) == text
