"""Items of one turn make one message, whatever order they stand in."""

import pytest

from enclave_server.chat.conversation import Message, PartState, Refusal, State, Text, ToolCall
from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.responses_states import seal
from enclave_server.chat.surfaces.responses_turns import Turns

ORIGIN = ("upstream", "model")
KEPT = State("d", b"value", ORIGIN)
OF_CALL = State("d", b"of a call", ORIGIN)


def test_turn_of_the_model_is_one_message() -> None:
    turns = Turns()
    turns.say(Message("user", "Hello"))
    turns.think("Hm, ", None, "x")
    turns.call("a", "f", "{}")
    turns.think("so.", seal(PartState(0, KEPT), ORIGIN), "x")
    turns.answer([Text("I look.")])
    turns.think("", seal(PartState(0, OF_CALL, 1), ORIGIN), "x")
    turns.call("b", "g", "{}")
    turns.result("b", "Rain", "x")
    turns.result("a", "Sun", "x")
    turns.call("a", "f", "{}")
    turns.result("a", "Snow", "x")
    assert turns.messages() == [
        Message("user", "Hello"),
        Message(
            "assistant",
            "I look.",
            calls=[ToolCall(0, "f", "{}"), ToolCall(1, "g", "{}", OF_CALL)],
            reasoning="Hm, so.",
            state=KEPT,
        ),
        Message("tool", "Rain", result_of=1),
        Message("tool", "Sun", result_of=0),
        Message("assistant", None, calls=[ToolCall(2, "f", "{}")]),
        Message("tool", "Snow", result_of=2),
    ]


def test_text_is_text_and_parts_are_parts() -> None:
    turns = Turns()
    turns.answer([Text("A")])
    turns.answer([Text("B"), Refusal("C")])
    turns.say(Message("user", "?"))
    turns.answer([])
    assert turns.messages() == [
        Message("assistant", [Text("A"), Text("B"), Refusal("C")]),
        Message("user", "?"),
    ]


def test_thoughts_alone_are_a_turn() -> None:
    turns = Turns()
    turns.think("Hm.", None, "x")
    assert turns.messages() == [Message("assistant", None, reasoning="Hm.")]


def test_false_states_and_results_are_refused_where_they_stand() -> None:
    with pytest.raises(ChatError) as caught:
        Turns().think("", "gAAAAAB", "input[2]")
    assert caught.value.param == "input[2].encrypted_content"
    with pytest.raises(ChatError) as caught:
        Turns().result("a", "Rain", "input[3]")
    assert caught.value.param == "input[3].call_id"
