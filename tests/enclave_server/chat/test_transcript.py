"""What is known of a streamed answer as it comes, and when it is whole."""

import pytest

from enclave_server.chat import transcript as module
from enclave_server.chat.conversation import (
    END,
    CallDelta,
    ChoiceDelta,
    Delta,
    Event,
    FunctionDelta,
    Logprobs,
    Usage,
)
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.transcript import STEP_OCTETS, Transcript
from enclave_server.memory import Holding, Memory


def word(text: str, index: int = 0, finish: str | None = None) -> Event:
    return Event([ChoiceDelta(index, Delta(content=text), finish_reason=finish)])


def call(index: int, identifier: str | None, arguments: str | None = None) -> Event:
    part = CallDelta(index, identifier, None, FunctionDelta("f" if identifier else None, arguments))
    return Event([ChoiceDelta(0, Delta(tool_calls=[part]))])


def fails(transcript: Transcript, event: Event) -> None:
    with pytest.raises(UpstreamError) as caught:
        transcript.take(event)
    assert caught.value.failure is Failure.BROKEN


def test_words_of_any_number_become_one_text() -> None:
    transcript = Transcript(1, Holding(Memory()))
    words = [f"{number} " for number in range(768)]
    for text in words:
        assert transcript.take(word(text)) != []
    (output,) = transcript.outputs()
    assert output["content"] == "".join(words)
    assert (output["index"], output["refusal"], output["tool_calls"]) == (0, "", [])


@pytest.mark.parametrize(
    ("part", "passed"),
    [
        (ChoiceDelta(0), False),
        (ChoiceDelta(0, Delta(content="")), True),
        (ChoiceDelta(0, Delta(role="assistant")), True),
        (ChoiceDelta(0, logprobs=Logprobs()), True),
        (ChoiceDelta(0, finish_reason="stop"), True),
    ],
)
def test_what_says_nothing_is_not_passed_on(part: ChoiceDelta, passed: bool) -> None:
    assert Transcript(1, Holding(Memory())).take(Event([part])) == ([part] if passed else [])


@pytest.mark.parametrize("role", [None, "assistant", "model"])
def test_each_choice_is_the_assistants_and_says_so_once(role: str | None) -> None:
    transcript = Transcript(2, Holding(Memory()))
    roles = []
    for index, text in ((0, None), (0, "a"), (1, "b"), (0, "c"), (1, None), (1, "d")):
        event = Event([ChoiceDelta(index, Delta(role=role, content=text))])
        roles += [(part.index, part.delta.role) for part in transcript.take(event)]
    assert [said for said in roles if said[1] is not None] == [(0, "assistant"), (1, "assistant")]
    assert {roles[0], roles[-1]} == {(0, "assistant"), (1, None)}


def test_an_end_alone_is_the_assistants() -> None:
    (part,) = Transcript(1, Holding(Memory())).take(Event([ChoiceDelta(0, finish_reason="stop")]))
    assert part.delta.role == "assistant"


def test_fragments_of_calls_are_joined_by_their_number() -> None:
    transcript = Transcript(1, Holding(Memory()))
    for event in (call(1, "b", "{"), call(0, "a"), call(1, None, "}"), call(0, "again", "{}")):
        transcript.take(event)
    (output,) = transcript.outputs()
    assert output["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]


def test_what_was_said_of_a_call_is_not_passed_on_again() -> None:
    transcript = Transcript(1, Holding(Memory()))
    transcript.take(call(0, "a"))
    (part,) = transcript.take(call(0, "a", "{}"))
    assert part.delta.tool_calls == [CallDelta(0, function=FunctionDelta(arguments="{}"))]


def test_what_others_keep_is_counted_at_its_most() -> None:
    memory = Memory()
    transcript = Transcript(1, Holding(memory))
    transcript.take(word("x"))
    ahead = 4 * (1 + STEP_OCTETS)
    assert memory.held == ahead
    for beside, held in (
        (100_000, ahead + 100_000),
        (40_000, ahead + 100_000),
        (100_000, ahead + 100_000),
        (300_001, ahead + 300_004),  # as so many octets of text
    ):
        transcript.count_beside(beside)
        assert memory.held == held
    transcript.count(400_000)
    assert memory.held == ahead + 700_004


def test_choices_that_nobody_asked_for_are_refused() -> None:
    for index in (-1, 2):
        fails(Transcript(2, Holding(Memory())), word("x", index))


@pytest.mark.parametrize("event", [word("x" * 40), call(0, "a", "x" * 40)])
def test_size_is_limited(event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 39)
    fails(Transcript(1, Holding(Memory())), event)


def test_the_last_count_of_tokens_counts() -> None:
    transcript = Transcript(1, Holding(Memory()))
    for usage in (Usage(1), None, Usage(1, 2, 3), None):
        transcript.take(Event(usage=usage))
    assert transcript.usage == Usage(1, 2, 3)


def test_it_is_whole_when_all_choices_are_finished_or_it_was_ended() -> None:
    transcript = Transcript(2, Holding(Memory()))
    transcript.take(word("a", 0, "stop"))
    with pytest.raises(UpstreamError):
        transcript.finish()
    transcript.take(word("b", 1))
    with pytest.raises(UpstreamError):
        transcript.finish()
    transcript.take(END)
    assert transcript.ended
    assert transcript.finish() == [ChoiceDelta(1, finish_reason="stop")]


def test_an_end_without_a_word_is_no_answer() -> None:
    transcript = Transcript(1, Holding(Memory()))
    transcript.take(END)
    with pytest.raises(UpstreamError):
        transcript.finish()


def test_refusals_and_ends_are_kept_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    transcript = Transcript(2, Holding(Memory()))
    for text in ("I ca", "n't."):
        transcript.take(Event([ChoiceDelta(1, Delta(refusal=text))]))
    transcript.take(word("a", finish="length"))
    transcript.take(END)
    assert transcript.finish() == [ChoiceDelta(1, finish_reason="stop")]
    first, second = transcript.outputs()
    assert (first["index"], first["finish_reason"], first["refusal"]) == (0, "length", "")
    assert (second["index"], second["finish_reason"], second["refusal"]) == (1, "stop", "I can't.")
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 3)
    fails(Transcript(1, Holding(Memory())), Event([ChoiceDelta(0, Delta(refusal="long"))]))


def test_what_was_thought_is_kept_and_counted_unless_it_is_not_given() -> None:
    for gives, kept in ((True, "Hm."), (False, "")):
        memory = Memory()
        transcript = Transcript(1, Holding(memory), gives_reasoning=gives)
        parts = [
            part
            for text in ("H", "m.")
            for part in transcript.take(
                Event([ChoiceDelta(0, Delta(content="a", reasoning_content=text))])
            )
        ]
        assert "".join(part.delta.reasoning_content or "" for part in parts) == kept
        (output,) = transcript.outputs()
        assert (output["content"], output["reasoning_content"]) == ("aa", kept)
        assert (memory.held > 0, transcript._size) == (True, 2 + len(kept))
    assert Transcript(1, Holding(Memory())).take(
        Event([ChoiceDelta(0, Delta(reasoning_content="given by default"))])
    )


def test_memory_is_taken_for_characters_of_any_size() -> None:
    """A character has up to four octets; some more are taken than have come, and no more."""
    memory = Memory()
    holding = Holding(memory)
    transcript = Transcript(1, holding)
    for size in (200_000, 400_000):
        transcript.take(word("x" * 200_000))
        assert 4 * size <= memory.held <= 4 * (size + STEP_OCTETS)
    holding.give_back()
    assert memory.held == 0


def test_a_stream_for_which_there_is_no_room_is_one_too_many() -> None:
    memory = Memory(1 << 20, 10)
    Holding(memory).hold(1 << 20)
    with pytest.raises(UpstreamError) as caught:
        Transcript(1, Holding(memory)).take(word("x" * 200_000))
    assert caught.value.failure is Failure.BUSY


def test_a_name_that_comes_late_is_passed_on_and_kept() -> None:
    transcript = Transcript(1, Holding(Memory()))
    told = []
    for name in (None, "f", "g"):
        function = FunctionDelta(name, "{}" if name == "f" else "")
        (part,) = transcript.take(
            Event([ChoiceDelta(0, Delta(tool_calls=[CallDelta(0, "c", "function", function)]))])
        )
        told += [call.function.name for call in part.delta.tool_calls or ()]
    assert told == ["", "f", None]
    transcript.take(word("", finish="tool_calls"))
    (output,) = transcript.outputs()
    assert output["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
