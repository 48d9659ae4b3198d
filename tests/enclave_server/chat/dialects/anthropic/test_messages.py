"""Messages in Anthropic's blocks."""

from typing import Any

import msgspec
import pytest

from enclave_server.chat.conversation import Image, Message, Refusal, Text
from enclave_server.chat.dialects.anthropic.messages import NAME, write_messages
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


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def base64(media_type: str, data: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": data}


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


def test_text_is_a_block_however_it_came() -> None:
    assert turns(HELLO) == [("user", [text("Hello")])]
    assert turns(Message("user", [Text("Hello")])) == turns(HELLO)


def test_instructions_are_joined_with_blank_lines() -> None:
    said = [Message("system", "a"), Message("developer", [Text("b"), Text("c")]), HELLO]
    assert written(*said)["system"] == "a\n\nb\n\nc"
    assert "system" not in written(HELLO)
    assert "system" not in written(Message("system", ""), HELLO)


def test_later_instructions_keep_their_place() -> None:
    said = [HELLO, Message("developer", "Now rhyme.")]
    assert turns(*said)[1] == ("system", [text("Now rhyme.")])


def test_images_and_documents() -> None:
    assert turns(Message("user", [PNG, PDF, Text("What?")])) == [
        (
            "user",
            [
                {"type": "image", "source": base64("image/png", PNG_DATA)},
                {"type": "document", "source": base64("application/pdf", PDF_DATA)},
                text("What?"),
            ],
        )
    ]


def test_images_elsewhere_are_named_where_that_is_configured() -> None:
    shown = Message("user", [Image("https://x/y.png")])
    assert turns(shown, remote_images=True)[0][1] == [
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    ]
    assert refusal(shown).code == "invalid_image"
    plain = Message("user", [Image("http://x/y.png")])
    assert refusal(plain, remote_images=True).code == "invalid_image"
    close = Message("user", [Image("https://x/y.png", "low")])
    assert refusal(close, remote_images=True).param == "messages[0].content[0].image_url.detail"


def test_calls_and_results_with_signed_thoughts() -> None:
    assert turns(HELLO, calling(NAME), *RESULTS, Message("user", "Well?")) == [
        ("user", [text("Hello")]),
        (
            "assistant",
            [
                {"type": "redacted_thinking", "data": "aGlk"},
                {"type": "thinking", "thinking": "Two calls.", "signature": "c2ln"},
                text("Look:"),
                {"type": "tool_use", "id": "call00000", "name": "rain", "input": {"a": "Rome"}},
                {"type": "tool_use", "id": "call00001", "name": "now", "input": {}},
            ],
        ),
        (
            "user",
            [
                {"type": "tool_result", "tool_use_id": "call00000", "content": [text("No")]},
                {
                    "type": "tool_result",
                    "tool_use_id": "call00001",
                    "content": [
                        {"type": "image", "source": base64("image/png", PNG_DATA)},
                        {"type": "document", "source": base64("application/pdf", PDF_DATA)},
                    ],
                    "is_error": True,
                },
                text("Well?"),
            ],
        ),
    ]


def test_empty_result_has_no_content() -> None:
    said = turns(calling(NAME), Message("tool", "", result_of=0), RESULTS[1])
    assert said[1][1][0] == {"type": "tool_result", "tool_use_id": "call00000"}


def test_thoughts_of_another_dialect_stay_here() -> None:
    assert "thinking" not in str(turns(HELLO, calling("bedrock"), *RESULTS))


def test_thoughts_that_nobody_signed_are_left_out() -> None:
    said = Message("assistant", "a", reasoning="because")
    assert turns(HELLO, said) == [("user", [text("Hello")]), ("assistant", [text("a")])]


def test_refusals_are_text() -> None:
    said = Message("assistant", [Text("a"), Refusal("b")], refusal="c")
    assert turns(HELLO, said)[1] == ("assistant", [text("a"), text("b"), text("c")])


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([Message("user", "")], "messages[0].content"),
        ([HELLO, Message("user", [Text("")])], "messages[1].content"),
        ([HELLO, Message("system", "")], "messages[1].content"),
        ([calling(NAME)], "messages[0].tool_calls[0]"),
        ([HELLO, RESULTS[0]], "messages[1].tool_call_id"),
        ([Message("system", "s")], "messages"),
    ],
)
def test_what_anthropic_would_refuse_is_refused_first(messages: list[Message], param: str) -> None:
    assert refusal(*messages).param == param


def test_assistant_comes_last_where_the_model_goes_on() -> None:
    said = [HELLO, Message("assistant", "Once")]
    assert turns(*said)[1] == ("assistant", [text("Once")])
    assert refusal(*said, prefill=False).param == "messages[1].role"
