"""What the neutral form tells of a question before anybody is asked."""

import pytest
from msgspec import UNSET

from enclave_server.chat.conversation import (
    Answer,
    Choice,
    Continuation,
    Conversation,
    Delta,
    Event,
    File,
    Image,
    Message,
    PartState,
    Refusal,
    Reply,
    Role,
    State,
    Text,
    Usage,
    UsageDetails,
    refusal_as_text,
    without_reasoning,
)


@pytest.mark.parametrize(
    ("prompt", "n", "prompts", "choices"),
    [
        ("x", None, 1, 1),
        ("x", 3, 1, 3),
        (["a", "b"], None, 2, 2),
        (["a", "b"], 3, 2, 6),
        ([5, 6, 7], 2, 1, 2),
        ([[5], [6, 7]], None, 2, 2),
    ],
)
def test_every_prompt_has_as_many_answers_as_are_wanted(
    prompt: str | list[str | int | list[int]], n: int | None, prompts: int, choices: int
) -> None:
    question = Continuation(model="m", prompt=prompt, n=n)
    assert (question.prompts, question.choices) == (prompts, choices)


@pytest.mark.parametrize(
    ("n", "best_of", "candidates"),
    [(None, None, 2), (3, None, 6), (None, 3, 6), (2, 3, 6), (1, 1, 2), (1, None, 2), (None, 1, 2)],
)
def test_a_model_makes_as_many_answers_as_the_best_are_taken_of(
    n: int | None, best_of: int | None, candidates: int
) -> None:
    question = Continuation(model="m", prompt=["a", "b"], n=n, best_of=best_of)
    assert question.candidates == candidates


def test_a_conversation_has_one_answer_unless_more_are_wanted() -> None:
    assert Conversation(model="m", messages=[]).choices == 1
    assert Conversation(model="m", messages=[], n=4).choices == 4


def test_images_and_files_are_found_wherever_they_are_shown() -> None:
    images, file = [Image("a"), Image("b"), Image("a")], File("c")
    messages = [
        Message("user", "Image"),
        Message("user", [Text("x"), *images[:2]]),
        Message("assistant", [Text("x"), Refusal("no")]),
        Message("assistant"),
        Message("user", [file, images[2]]),
    ]
    assert Conversation(model="m", messages=messages).shown == [*images[:2], file, images[2]]


@pytest.mark.parametrize(
    ("role", "instructed"),
    [("system", True), ("developer", True), ("user", False), ("assistant", False)],
)
def test_system_and_developer_instruct(role: Role, instructed: bool) -> None:
    messages = [Message("user", "x"), Message(role, "x")]
    assert Conversation(model="m", messages=messages).is_instructed is instructed


def test_what_is_signed_of_a_choice_is_its_reply_number_and_end() -> None:
    choice = Choice(2, Reply(content="Paris"), finish_reason="stop")
    assert choice.output["index"] == 2
    assert choice.output["message"]["content"] == "Paris"
    assert choice.output["finish_reason"] == "stop"
    assert "tool_calls" not in choice.output["message"]


def test_what_nobody_says_is_not_so() -> None:
    for question in (Conversation(model="m", messages=[]), Continuation(model="m", prompt="x")):
        assert not question.stream
        assert not question.usage
    assert not Message("tool", "fine").failed
    assert not Event().ends
    assert (Usage(3).completion_tokens, Usage(3).total_tokens) == (0, 0)
    assert UsageDetails().reasoning_tokens == 0


@pytest.mark.parametrize(
    ("content", "refusal", "text"),
    [
        (None, "No.", "No."),
        ("Well. ", "No.", "Well. No."),
        ("Yes.", None, "Yes."),
        (None, "", None),
    ],
)
def test_a_refusal_can_be_said_as_text(
    content: str | None, refusal: str | None, text: str | None
) -> None:
    for said in (
        Reply(content=content, refusal=refusal),
        Delta(content=content, refusal=refusal),
    ):
        refusal_as_text(said)
        assert (said.content, said.refusal) == (text, None)


def test_without_what_was_thought_there_is_neither_reasoning_nor_a_state() -> None:
    choices = [Choice(0, Reply(content="a", reasoning_content="Hm")), Choice(1, Reply(content="b"))]
    answer = Answer(choices, Usage(1, 2, 3), (PartState(0, State("d", b"s")),))
    left = without_reasoning(answer)
    assert left == Answer(
        [Choice(0, Reply(content="a")), Choice(1, Reply(content="b"))], Usage(1, 2, 3)
    )
    assert left.choices[0].message.reasoning_content is UNSET
