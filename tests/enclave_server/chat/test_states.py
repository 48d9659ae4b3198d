"""States on their way through a client: they come back whole, or to nobody."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.conversation import Conversation, Message, State, ToolCall
from enclave_server.chat.states import GOOGLE, Malformed, read, without_foreign, write

ORIGIN = ("provider", "m")


@given(st.binary(), st.text(), st.text(), st.text())
def test_a_state_is_read_as_it_was_written(
    value: bytes, dialect: str, upstream: str, model: str
) -> None:
    written = write(State(dialect, value), (upstream, model))
    assert read(written) == State(dialect, value, (upstream, model))
    assert written["oblivious"]["state"].isascii()


def test_other_members_are_none_of_ours() -> None:
    others: list[dict[str, Any]] = [
        {},
        {"oblivious": {}},
        {"oblivious": {"state": 5}},
        {"google": {}},
        {"x": 1},
    ]
    for extra in others:
        assert read(extra) is None


def test_the_signature_in_google_s_own_place_is_a_state() -> None:
    assert read({"google": {"thought_signature": "c2ln"}}) == State(GOOGLE, b"c2ln")


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [
        *("", "!", "A", "AA", "é", "AAAA===="),
        packed({}),
        packed(["d", "u", "m"]),
        packed(["d", "u", "m", "text"]),
        packed(["d", "u", "m", b"v", 1]),
        packed(["d", "u", "m", b"v"]) + "AA",
    ],
)
def test_what_was_not_made_here_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        read({"oblivious": {"state": text}})


def asked(state: State | None) -> Conversation:
    calls = [ToolCall(0, "f", "{}", state), ToolCall(1, "g", "{}")]
    return Conversation(model="m", messages=[Message("assistant", "a", calls=calls, state=state)])


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        (State("d", b"v", ORIGIN), True),
        (State(GOOGLE, b"v"), True),
        (State("d", b"v", ("another", "m")), False),
        (State("d", b"v", ("provider", "other")), False),
    ],
)
def test_a_state_goes_to_its_origin_alone(state: State, kept: bool) -> None:
    question = without_foreign(asked(state), ORIGIN)
    assert question == asked(state if kept else None)


@pytest.mark.parametrize("at", ["message", "first call", "last call"])
def test_a_foreign_state_is_found_wherever_it_stands_alone(at: str) -> None:
    """What a provider made says who asks: it leaves for no other."""
    foreign, own = State("d", b"v", ("another", "m")), State("d", b"v", ORIGIN)

    def said(state: State | None) -> Conversation:
        calls = [
            ToolCall(0, "f", "{}", state if at == "first call" else None),
            ToolCall(1, "g", "{}", state if at == "last call" else None),
        ]
        answer = Message("assistant", calls=calls, state=state if at == "message" else None)
        return Conversation(model="m", messages=[Message("user", "a"), answer])

    assert without_foreign(said(foreign), ORIGIN) == said(None)
    assert without_foreign(said(own), ORIGIN) == said(own)


def test_a_conversation_without_states_is_left_as_it_is() -> None:
    question = asked(None)
    assert without_foreign(question, ORIGIN) is question
