"""Messages in Converse's blocks."""

from typing import Any

import msgspec
import pytest

from enclave_server.chat.conversation import Image, Message, Refusal, Text
from enclave_server.chat.dialects.bedrock.messages import NAME, write_messages
from enclave_server.chat.errors import ChatError
from enclave_server.chat.profiles import Profile
from tests.support.conversations import (
    HELLO,
    PDF,
    PDF_DATA,
    PNG,
    PNG_DATA,
    RESULTS,
    asked,
    calling,
)

IMAGE = {"image": {"format": "png", "source": {"bytes": PNG_DATA}}}


def document(number: int) -> dict[str, Any]:
    name = f"document {number}"
    return {"document": {"format": "pdf", "name": name, "source": {"bytes": PDF_DATA}}}


def written(*messages: Message, **profile: Any) -> dict[str, Any]:
    said = write_messages(asked(*messages), Profile(**profile))
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(said))
    return told


def turns(*messages: Message, **profile: Any) -> list[tuple[str, Any]]:
    said = written(*messages, **profile)["messages"]
    return [(turn["role"], turn["content"]) for turn in said]


def refusal(*messages: Message, **profile: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        written(*messages, **profile)
    assert caught.value.status == 400
    return caught.value


def test_text_and_instructions() -> None:
    assert written(Message("system", "a"), Message("developer", "b"), HELLO) == {
        "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
        "system": [{"text": "a\n\nb"}],
    }


def test_later_instructions_keep_their_place() -> None:
    said = [HELLO, Message("system", "Now rhyme.")]
    assert turns(*said)[1] == ("system", [{"text": "Now rhyme."}])


def test_documents_are_named_by_their_number() -> None:
    said = [Message("user", [PDF, PNG, Text("x"), PDF]), Message("assistant", "y")]
    assert turns(*said, Message("user", [PDF, Text("z")])) == [
        ("user", [document(1), IMAGE, {"text": "x"}, document(2)]),
        ("assistant", [{"text": "y"}]),
        ("user", [document(3), {"text": "z"}]),
    ]


def test_calls_and_results_with_signed_thoughts() -> None:
    thought = {"text": "Two calls.", "signature": "c2ln"}
    assert turns(HELLO, calling(NAME), *RESULTS, Message("user", "Well?"))[1:] == [
        (
            "assistant",
            [
                {"reasoningContent": {"redactedContent": "aGlk"}},
                {"reasoningContent": {"reasoningText": thought}},
                {"text": "Look:"},
                {"toolUse": {"toolUseId": "call00000", "name": "rain", "input": {"a": "Rome"}}},
                {"toolUse": {"toolUseId": "call00001", "name": "now", "input": {}}},
            ],
        ),
        (
            "user",
            [
                {"toolResult": {"toolUseId": "call00000", "content": [{"text": "No"}]}},
                {
                    "toolResult": {
                        "toolUseId": "call00001",
                        "content": [IMAGE, document(1)],
                        "status": "error",
                    }
                },
                {"text": "Well?"},
            ],
        ),
    ]


def test_empty_result_has_no_content() -> None:
    said = turns(calling(NAME), Message("tool", "", result_of=0), RESULTS[1])
    assert said[1][1][0] == {"toolResult": {"toolUseId": "call00000", "content": []}}


def test_thoughts_of_another_dialect_stay_here() -> None:
    assert "reasoning" not in str(turns(HELLO, calling("anthropic"), *RESULTS))


def test_refusals_are_text() -> None:
    said = Message("assistant", [Text("a"), Refusal("b")], refusal="c")
    assert turns(HELLO, said)[1] == ("assistant", [{"text": word} for word in "abc"])


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([Message("user", "")], "messages[0].content"),
        ([HELLO, Message("system", "")], "messages[1].content"),
        (
            [Message("user", [Image("https://x/y.png")])],
            "messages[0].content[0].image_url.url",
        ),
        ([calling(NAME)], "messages[0].tool_calls[0]"),
        ([HELLO, RESULTS[0]], "messages[1].tool_call_id"),
        ([Message("system", "s")], "messages"),
    ],
)
def test_what_bedrock_would_refuse_is_refused_first(messages: list[Message], param: str) -> None:
    assert refusal(*messages, remote_images=True).param == param


def test_assistant_comes_last_where_the_model_goes_on() -> None:
    said = [HELLO, Message("assistant", "Once")]
    assert turns(*said)[1] == ("assistant", [{"text": "Once"}])
    assert refusal(*said, prefill=False).param == "messages[1].role"
