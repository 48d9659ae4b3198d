"""Parts that dialects of blocks share: what they take, and what is refused by its place."""

from collections.abc import Callable
from typing import Any

import pytest

from enclave_server.chat.conversation import Image, Message, Refusal, State, Text, ToolCall
from enclave_server.chat.dialects.parts import (
    arguments_of,
    identifier,
    inline_image,
    not_empty,
    parts_of,
    pieces_of,
    refuse_prefill,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.profiles import Profile
from enclave_server.chat.thoughts import Thought, encode_pieces
from tests.support.conversations import HELLO, PNG, PNG_DATA


def test_parts_that_say_nothing_are_left_out() -> None:
    content: list[Any] = [Text("a"), Text(""), PNG, Refusal("")]
    assert list(parts_of(Message("user", content), "here")) == [
        ("here.content[0]", Text("a")),
        ("here.content[2]", PNG),
    ]
    assert list(parts_of(Message("user", ""), "here")) == []
    assert list(parts_of(HELLO, "here")) == [("here.content[0]", Text("Hello"))]


def test_state_is_read_by_the_dialect_that_made_it() -> None:
    thought = Thought("a", "s")
    state = State("ours", encode_pieces([thought, 3]))
    assert pieces_of(state, "ours", "here") == [thought, 3]
    assert pieces_of(state, "theirs", "here") == []
    assert pieces_of(None, "ours", "here") == []


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("", b"{}"),
        (" ", b"{}"),
        (" { } ", b"{}"),
        ('{"a": [1.50, 12345678901234567890123]}', b'{"a":[1.50,12345678901234567890123]}'),
    ],
)
def test_arguments_have_one_form_and_lose_nothing(written: str, form: bytes) -> None:
    assert bytes(arguments_of(ToolCall(0, "f", written), "here")) == form


def test_identifiers_tell_the_number_alone() -> None:
    assert [identifier(0), identifier(12)] == ["call00000", "call00012"]


def test_images_are_inline() -> None:
    image = inline_image(Image(PNG.url, "auto"), "here")
    assert (image.media_type, image.data_base64) == ("image/png", PNG_DATA)


@pytest.mark.parametrize("last", ["user", "tool", "assistant"])
@pytest.mark.parametrize("goes_on", [True, False])
def test_assistant_may_be_last_where_the_model_goes_on(last: Any, goes_on: bool) -> None:
    messages, profile = [HELLO, Message(last, "x")], Profile(prefill=goes_on)
    if last != "assistant" or goes_on:
        refuse_prefill(messages, profile)
        return
    with pytest.raises(ChatError) as caught:
        refuse_prefill(messages, profile)
    assert caught.value.param == "messages[1].role"


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "arguments that are a list": (
        lambda: arguments_of(ToolCall(0, "f", "[]"), "here"),
        "here.tool_calls.function.arguments",
    ),
    "arguments that are cut": (
        lambda: arguments_of(ToolCall(0, "f", '{"a":'), "here"),
        "here.tool_calls.function.arguments",
    ),
    "arguments that nest deep": (
        lambda: arguments_of(ToolCall(0, "f", '{"a":' * 5000), "here"),
        "here.tool_calls.function.arguments",
    ),
    "arguments that are no text": (
        lambda: arguments_of(ToolCall(0, "f", '{"a":"\ud800"}'), "here"),
        "here.tool_calls.function.arguments",
    ),
    "a state that was not given": (
        lambda: pieces_of(State("ours", b"{"), "ours", "here"),
        "here.extra_content",
    ),
    "nothing": (lambda: not_empty([], "here"), "here.content"),
    "an image elsewhere": (
        lambda: inline_image(Image("https://x/y.png"), "here"),
        "here.image_url.url",
    ),
    "an image that is another": (
        lambda: inline_image(Image(PNG.url.replace("png", "jpeg")), "here"),
        "here.image_url.url",
    ),
    "a look that is close": (
        lambda: inline_image(Image(PNG.url, "high"), "here"),
        "here.image_url.detail",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named(case: str) -> None:
    attempt, param = REFUSED[case]
    with pytest.raises(ChatError) as caught:
        attempt()
    assert (caught.value.status, caught.value.param) == (400, param)
