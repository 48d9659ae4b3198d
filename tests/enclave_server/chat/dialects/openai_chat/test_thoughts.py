"""States that OpenAI-compatible servers give: how they are collected, and how they go back."""

import json
from typing import Any

from enclave_server.chat.conversation import PartState, State
from enclave_server.chat.dialects.openai_chat import thoughts as module
from enclave_server.chat.dialects.openai_chat.thoughts import (
    NAME,
    Thoughts,
    said_again,
    signed_again,
)
from enclave_server.chat.states import GOOGLE


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": said, "index": 0, **more}


def details_of(state: PartState) -> Any:
    return json.loads(state.state.value)


def test_pieces_of_a_detail_become_one() -> None:
    thoughts = Thoughts()
    for piece in (text("Th", format="x"), text("ink"), text("", signature="s")):
        assert thoughts.take(0, {"reasoning_details": [piece]}, []) == []
    thoughts.take(0, {"reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}]}, [])
    (state,) = thoughts.rest()
    assert (state.choice, state.call) == (0, None)
    assert details_of(state) == [
        {"type": "reasoning.text", "text": "Think", "index": 0, "format": "x", "signature": "s"},
        {"type": "reasoning.encrypted", "data": "d"},
    ]
    assert said_again(state.state) == {"reasoning_details": details_of(state)}
    assert thoughts.rest() == ()


def test_a_member_that_is_said_anew_is_no_text_to_go_on_with() -> None:
    thoughts = Thoughts()
    for said in ("a", "b", 7, "c"):
        thoughts.take(0, {"reasoning_details": [text(said)]}, [])  # type: ignore[arg-type]
    (state,) = thoughts.rest()
    assert details_of(state)[0]["text"] == "c"


def test_choices_have_details_of_their_own() -> None:
    thoughts = Thoughts()
    for choice in (1, 0, 1):
        thoughts.take(choice, {"reasoning_details": [text("a")]}, [])
    assert {state.choice: details_of(state)[0]["text"] for state in thoughts.rest()} == {
        1: "aa",
        0: "a",
    }


def test_details_without_measure_are_not_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MAX_DETAILS_CHARACTERS", 40)
    thoughts = Thoughts()
    for _ in range(9):
        thoughts.take(0, {"reasoning_details": [text("a")]}, [])
    assert thoughts.rest() == ()


def test_the_signature_of_a_call_is_its_state() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    said = {"tool_calls": [signed, {"extra_content": {"google": {}}}, {}]}
    states = Thoughts().take(2, said, [5, 6, 7])
    assert states == [PartState(2, State(NAME, b"c2ln"), 5)]
    assert signed_again(states[0].state) == signed


def test_signatures_of_google_go_back_whoever_read_them() -> None:
    assert signed_again(State(GOOGLE, b"x"))["extra_content"] == {
        "google": {"thought_signature": "x"}
    }
    assert signed_again(State("anthropic", b"x")) == {}
    assert signed_again(None) == {}


def test_what_a_client_made_up_goes_nowhere() -> None:
    for value in (b"", b"[1]", b"{}", b"\xff", b"[" * 10_000):
        assert said_again(State(NAME, value)) == {}
    assert said_again(State("anthropic", b'[{"a":1}]')) == {}


def test_a_detail_that_goes_on_is_not_copied_for_each_piece() -> None:
    """Else a long one in small pieces would cost the square of its length."""
    thoughts = Thoughts()
    for said in ("a", "b"):
        thoughts.take(0, {"reasoning_details": [text(said)]}, [])
    kept = thoughts.details[0][0].pieces["text"]
    thoughts.take(0, {"reasoning_details": [text("c")]}, [])
    assert thoughts.details[0][0].pieces["text"] is kept
    (state,) = thoughts.rest()
    assert details_of(state) == [text("abc")]
