"""Signatures of thoughts: given here, elsewhere, or by nobody; they go back to their maker."""

import pytest

from enclave_server.chat.conversation import State
from enclave_server.chat.surfaces.messages_shapes import RedactedThinkingBlock, ThinkingBlock
from enclave_server.chat.surfaces.messages_states import Thoughts, wrap, wrap_piece
from enclave_server.chat.thoughts import (
    CALL,
    Hidden,
    Piece,
    Thought,
    decode_pieces,
    encode_pieces,
)

HERE, THERE = ("upstream", "m"), ("another", "m")


def thinking(text: str, signature: str) -> ThinkingBlock:
    return ThinkingBlock(thinking=text, signature=signature)


def pieces_of(thoughts: Thoughts) -> list[Piece]:
    state = thoughts.state()
    return decode_pieces(state.value) if state else []


@pytest.mark.parametrize("dialect", ["anthropic", "bedrock"])
def test_what_was_given_here_comes_back_as_it_was(dialect: str) -> None:
    thoughts = Thoughts()
    thoughts.add(RedactedThinkingBlock(data=wrap_piece(Hidden("aGk="), dialect, HERE)))
    thoughts.place("text")
    thoughts.place("")
    thoughts.add(thinking("why", wrap_piece(Thought("why", "sig"), dialect, HERE)))
    thoughts.place_call()
    assert thoughts.text == "why"
    assert pieces_of(thoughts) == [Hidden("aGk="), 4, Thought("why", "sig"), CALL]
    state = thoughts.state()
    assert state is not None
    assert (state.dialect, state.origin) == (dialect, HERE)


def test_what_was_given_elsewhere_is_anthropics() -> None:
    thoughts = Thoughts()
    thoughts.add(thinking("why", "EqoB+/native=="))
    thoughts.add(RedactedThinkingBlock(data="EvgF+/native=="))
    assert pieces_of(thoughts) == [Thought("why", "EqoB+/native=="), Hidden("EvgF+/native==")]
    state = thoughts.state()
    assert state is not None
    assert (state.dialect, state.origin) == ("anthropic", None)


def test_what_nobody_signed_is_text_alone() -> None:
    thoughts = Thoughts()
    thoughts.add(thinking("a", ""))
    thoughts.add(thinking("b", ""))
    assert (thoughts.state(), thoughts.text) == (None, "ab")


def test_thoughts_of_one_message_have_one_maker() -> None:
    thoughts = Thoughts()
    thoughts.add(thinking("a", wrap_piece(Thought("a", "s"), "anthropic", HERE)))
    thoughts.add(thinking("b", wrap_piece(Thought("b", "s"), "anthropic", THERE)))
    assert pieces_of(thoughts) == [Thought("a", "s")]


def test_states_of_other_dialects_are_kept_whole() -> None:
    thoughts = Thoughts()
    thoughts.add(thinking("a", ""))
    thoughts.add(RedactedThinkingBlock(data=wrap(State("openai-responses", b"items"), HERE)))
    assert thoughts.state() == State("openai-responses", b"items", HERE)


def test_garbage_within_what_was_given_here_says_nothing() -> None:
    thoughts = Thoughts()
    thoughts.add(thinking("a", wrap(State("anthropic", b"{"), HERE)))
    assert pieces_of(thoughts) == []


def test_one_signature_carries_one_thought() -> None:
    """Of many each would get the text of the block: a request of kilobytes became megabytes."""
    many = State("anthropic", encode_pieces([Thought("", "s")] * 1000))
    thoughts = Thoughts()
    thoughts.add(thinking("a" * 1000, wrap(many, HERE)))
    assert pieces_of(thoughts) == []
    assert thoughts.text == "a" * 1000


def test_a_block_carries_what_is_of_its_kind() -> None:
    """A hidden block has no words to say with a signature, whoever put it into one."""
    thoughts = Thoughts()
    thoughts.add(RedactedThinkingBlock(data=wrap_piece(Thought("why", "s"), "anthropic", HERE)))
    assert pieces_of(thoughts) == []
    thoughts.add(thinking("why", wrap_piece(Hidden("aGk="), "anthropic", HERE)))
    assert pieces_of(thoughts) == [Hidden("aGk=")]
