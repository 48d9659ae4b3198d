"""Messages as providers of one profile or another want them."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import File, Message, State, Text, ToolCall
from enclave_server.chat.dialects.openai_chat.messages import UNSIGNED, write_messages
from enclave_server.chat.profiles import PLAIN, Profile, find_profile

HELLO = Message("user", "Hello")
CALL = ToolCall(0, "f", "{}")
RESULT = Message("tool", "1", result_of=0)


def written(profile: Profile, *messages: Message) -> list[dict[str, Any]]:
    return write_messages(list(messages), profile)


def test_a_file_has_one_name_whosever_it_is() -> None:
    (message,) = written(PLAIN, Message("user", [Text("a"), File("JVBERi0=")]))
    assert message["content"][1] == {
        "type": "file",
        "file": {
            "filename": "document.pdf",
            "file_data": "data:application/pdf;base64,JVBERi0=",
        },
    }


def thought(text: str, **more: Any) -> Message:
    return Message("assistant", None, reasoning=text, **more)


@pytest.mark.parametrize("profile", [PLAIN, find_profile("openai")])
def test_reasoning_stays_here_where_nobody_wants_it_back(profile: Profile) -> None:
    said = written(profile, HELLO, thought("Hm", calls=[CALL]), RESULT)
    assert "Hm" not in json.dumps(said)


def test_a_refusal_is_said_again_as_one() -> None:
    said = written(PLAIN, HELLO, Message("assistant", None, refusal="No."), HELLO)
    assert said[1] == {"role": "assistant", "refusal": "No."}
    assert "refusal" not in said[0]


def test_a_call_without_arguments_has_an_object_that_is_empty() -> None:
    said = written(PLAIN, HELLO, Message("assistant", calls=[ToolCall(0, "f", " ")]), RESULT)
    assert said[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_reasoning_of_the_turn_that_calls_tools_goes_back() -> None:
    said = written(
        find_profile("deepseek"),
        HELLO,
        thought("old"),
        HELLO,
        thought("new", calls=[CALL]),
        RESULT,
        Message("assistant", "x", reasoning=""),
    )
    assert [message.get("reasoning_content") for message in said] == [
        None,
        None,
        None,
        "new",
        None,
        None,
    ]


def test_neighbours_of_one_role_become_one_where_they_have_to() -> None:
    messages = [
        Message("system", "a"),
        Message("system", "b"),
        HELLO,
        Message("user", [Text("c")]),
        Message("assistant", "d"),
        Message("assistant", None, calls=[CALL]),
        RESULT,
    ]
    said = written(find_profile("mistral"), *messages)
    assert [message["role"] for message in said] == [
        "system",
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert [part["text"] for part in said[2]["content"]] == ["Hello", "c"]
    assert [part["text"] for part in said[3]["content"]] == ["d"]
    assert said[3]["tool_calls"]
    assert len(written(PLAIN, *messages)) == len(messages)


def test_calls_are_signed_again_for_google() -> None:
    signed = ToolCall(0, "f", "{}", State("google", b"s"))
    for calls, expected in (
        ([signed, CALL], ["s", None]),
        ([CALL, CALL], [UNSIGNED["extra_content"]["google"]["thought_signature"], None]),
    ):
        (message,) = written(find_profile("google"), Message("assistant", None, calls=calls))
        found = [
            call.get("extra_content", {}).get("google", {}).get("thought_signature")
            for call in message["tool_calls"]
        ]
        assert found == expected
    (plain,) = written(PLAIN, Message("assistant", None, calls=[signed]))
    assert "extra_content" not in plain["tool_calls"][0]


def test_details_go_back_to_who_gives_them() -> None:
    state = State("openai-chat", b'[{"type":"reasoning.text"}]')
    message = Message("assistant", "a", state=state)
    assert written(find_profile("openrouter"), message)[0]["reasoning_details"] == [
        {"type": "reasoning.text"}
    ]
    assert "reasoning_details" not in written(PLAIN, message)[0]
