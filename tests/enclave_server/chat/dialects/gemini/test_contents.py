"""A conversation as contents, which the types of Google's SDK read without loss."""

import json
from typing import Any

import msgspec
import pytest
from google.genai import types
from pydantic import TypeAdapter

from enclave_server.chat.conversation import (
    File,
    Image,
    Message,
    Part,
    Refusal,
    State,
    Text,
    ToolCall,
)
from enclave_server.chat.dialects.gemini.contents import instructions, write_contents
from enclave_server.chat.dialects.gemini.signatures import NAME, STAND_IN
from enclave_server.chat.errors import ChatError
from enclave_server.chat.states import GOOGLE
from tests.support.gemini_server import SIGNATURE

Json = dict[str, Any]

_CONTENTS: TypeAdapter[Any] = TypeAdapter(list[types.Content])

PNG_DATA = "iVBORw0KGgoAAAANSUhEUgAA"
PNG = f"data:image/png;base64,{PNG_DATA}"
SIGNED = State(NAME, SIGNATURE.encode())
HELLO = Message("user", "Hello")


def contents(*messages: Message, demands: bool = False) -> list[Json]:
    octets = msgspec.json.encode(write_contents([*messages], demands_signatures=demands))
    written: list[Json] = json.loads(octets)
    read = _CONTENTS.validate_json(octets)
    assert json.loads(_CONTENTS.dump_json(read, by_alias=True, exclude_none=True)) == written
    return written


def refused(*messages: Message) -> ChatError:
    with pytest.raises(ChatError) as caught:
        contents(*messages)
    assert caught.value.status == 400
    return caught.value


def user(*parts: Json) -> Json:
    return {"role": "user", "parts": [*parts]}


def model(*parts: Json) -> Json:
    return {"role": "model", "parts": [*parts]}


def called(name: str, args: Json, **members: Any) -> Json:
    return {"functionCall": {"name": name, "args": args}, **members}


def returned(name: str, response: Json) -> Json:
    return {"functionResponse": {"name": name, "response": response}}


def test_instructions_stand_apart() -> None:
    messages = [Message("system", "Be brief."), Message("developer", [Text("Be kind.")]), HELLO]
    assert instructions(messages) == [{"text": "Be brief."}, {"text": "Be kind."}]
    assert contents(*messages) == [user({"text": "Hello"})]
    assert instructions([HELLO]) == []


def test_later_instructions_would_be_a_users_words_and_are_refused() -> None:
    error = refused(HELLO, Message("system", "Be brief."), HELLO)
    assert (error.param, error.code) == ("messages[1].role", "unsupported_value")


def test_last_message_is_not_the_models() -> None:
    error = refused(HELLO, Message("assistant", "Paris is"))
    assert (error.param, error.code) == ("messages[1].role", "unsupported_value")


@pytest.mark.parametrize(
    "messages", [[Message("system", "Be brief.")], [Message("assistant", "")]], ids=str
)
def test_somebody_has_to_say_something(messages: list[Message]) -> None:
    assert refused(*messages).param == "messages"


def test_parts() -> None:
    shown: list[Part] = [Text("See"), Image(PNG), Image(PNG, "auto"), File("JVBERi0xLjQK")]
    image = {"inlineData": {"mimeType": "image/png", "data": PNG_DATA}}
    document = {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjQK"}}
    assert contents(Message("user", shown)) == [user({"text": "See"}, image, image, document)]


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (Image("https://example.org/a.png"), ".image_url.url", "invalid_image"),
        (Image(PNG, "high"), ".image_url.detail", "unsupported_value"),
    ],
)
def test_images_that_it_is_not_shown(part: Part, param: str, code: str) -> None:
    error = refused(Message("user", [Text("See"), part]))
    assert (error.param, error.code) == (f"messages[0].content[1]{param}", code)


def test_neighbours_of_one_role_make_one_turn() -> None:
    messages = [HELLO, HELLO, Message("assistant", "Hi."), Message("assistant", "Yes?"), HELLO]
    hello = {"text": "Hello"}
    assert contents(*messages) == [
        user(hello, hello),
        model({"text": "Hi."}, {"text": "Yes?"}),
        user(hello),
    ]


def test_results_have_the_names_and_the_order_of_their_calls() -> None:
    calls = [ToolCall(0, "f", '{"a":1}'), ToolCall(1, "g", "")]
    messages = [
        HELLO,
        Message("assistant", "I look.", calls=calls),
        Message("tool", '{"rain": true}', result_of=1),
        Message("tool", [Text("Ra"), Text("in")], result_of=0),
        Message("user", "So?"),
    ]
    assert contents(*messages)[1:] == [
        model({"text": "I look."}, called("f", {"a": 1}), called("g", {})),
        user(returned("f", {"result": "Rain"}), returned("g", {"rain": True}), {"text": "So?"}),
    ]


@pytest.mark.parametrize("text", ["", "[1]", "3", "null", "{", "[" * 9999])
def test_result_that_is_no_object_stands_under_a_name(text: str) -> None:
    messages = [
        HELLO,
        Message("assistant", calls=[ToolCall(0, "f", "{}")]),
        Message("tool", text, result_of=0),
    ]
    assert contents(*messages)[-1] == user(returned("f", {"result": text}))


def test_result_is_text() -> None:
    messages = [
        HELLO,
        Message("assistant", calls=[ToolCall(0, "f", "{}")]),
        Message("tool", [Image(PNG)], result_of=0),
    ]
    assert refused(*messages).code == "unsupported_value"


@pytest.mark.parametrize("arguments", ["[]", "{", "text", "[" * 9999])
def test_arguments_are_an_object(arguments: str) -> None:
    message = Message("assistant", calls=[ToolCall(0, "f", "{}"), ToolCall(1, "f", arguments)])
    error = refused(HELLO, message)
    assert error.param == "messages[1].tool_calls.function.arguments"


def test_refusal_is_what_was_said() -> None:
    messages = [HELLO, Message("assistant", [Refusal("No.")], "Never."), HELLO]
    assert contents(*messages)[1] == model({"text": "No."}, {"text": "Never."})


def test_signatures_come_back_with_their_parts() -> None:
    calls = [ToolCall(0, "f", "{}", State(GOOGLE, SIGNATURE.encode())), ToolCall(1, "g", "{}")]
    results = [Message("tool", "Rain", result_of=number) for number in (0, 1)]
    asked = Message("assistant", [Text("I "), Text("look.")], calls=calls, state=SIGNED)
    signed = {"thoughtSignature": SIGNATURE}
    expected = model(
        {"text": "I "}, {"text": "look.", **signed}, called("f", {}, **signed), called("g", {})
    )
    for demands in (False, True):
        assert contents(HELLO, asked, *results, demands=demands)[1] == expected


def test_signature_without_text_stands_alone() -> None:
    messages = [HELLO, Message("assistant", "", state=SIGNED), HELLO]
    assert contents(*messages)[1] == model({"text": "", "thoughtSignature": SIGNATURE})


def test_lost_signature_is_stood_in_for_where_it_is_demanded() -> None:
    calls = [ToolCall(0, "f", "{}"), ToolCall(1, "g", "{}")]
    results = [Message("tool", "Rain", result_of=number) for number in (0, 1)]
    messages = [HELLO, Message("assistant", calls=calls), *results]
    assert contents(*messages)[1] == model(called("f", {}), called("g", {}))
    assert contents(*messages, demands=True)[1] == model(
        called("f", {}, thoughtSignature=STAND_IN), called("g", {})
    )
