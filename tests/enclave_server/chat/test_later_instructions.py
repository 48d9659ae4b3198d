"""Instructions between messages: who says them where the system cannot."""

from typing import Any

import pytest

from enclave_server.chat.conversation import Conversation, Message, Part, Text
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.table import DIALECTS
from enclave_server.chat.errors import ChatError
from enclave_server.chat.later_instructions import placed
from tests.support.conversations import CALLS, HELLO, PNG, RESULTS, asked, model
from tests.support.provider import Chat
from tests.support.upstream import sending

FIRST = [Message("system", "Be brief."), Message("developer", "Be kind.")]
LATER = Message("developer", "Now rhyme.")
MARKED = Message("user", "<system>\nNow rhyme.\n</system>")


def test_the_user_says_what_is_marked_where_it_stood() -> None:
    question = asked(*FIRST, HELLO, LATER, Message("assistant", "Hi"), HELLO)
    assert placed(question, "user").messages == [
        *FIRST,
        HELLO,
        MARKED,
        Message("assistant", "Hi"),
        HELLO,
    ]


def test_every_text_is_marked_and_nothing_else_is_changed() -> None:
    content: list[Part] = [Text("Now rhyme."), PNG, Text("")]
    (_, said) = placed(asked(HELLO, Message("system", content)), "user").messages
    marked: list[Part] = [Text("<system>\nNow rhyme.\n</system>"), PNG, Text("")]
    assert said == Message("user", marked)
    (_, nothing) = placed(asked(HELLO, Message("system", "")), "user").messages
    assert nothing == Message("user", "")


@pytest.mark.parametrize("place", ["system", "user", "none"])
def test_what_stands_first_stays(place: Any) -> None:
    for question in (asked(*FIRST, HELLO), asked(HELLO), asked(*FIRST)):
        assert placed(question, place) == question


def test_the_system_says_them_where_it_can() -> None:
    question = asked(HELLO, LATER)
    assert placed(question, "system") is question


def test_nobody_says_them_where_they_are_refused() -> None:
    with pytest.raises(ChatError) as caught:
        placed(asked(*FIRST, HELLO, LATER), "none")
    error = caught.value
    assert (error.status, error.param, error.code) == (
        400,
        "messages[3].role",
        "unsupported_value",
    )


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_dialect_says_the_user_s(dialect: str) -> None:
    called = Message("assistant", calls=CALLS[:1])
    question = placed(asked(*FIRST, HELLO, called, RESULTS[0], LATER), "user")
    assert isinstance(question, Conversation)
    body = DIALECTS[dialect].request(question, model(), Account()).body
    assert body.count(b"<system>\\nNow rhyme.\\n</system>") == 1
    assert b"Be kind." in body


@pytest.mark.parametrize("place", ["system", "user", "none"])
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (b"/v1/chat/completions", {}),
        (b"/v1/messages", {"max_tokens": 5}),
        (b"/v1/responses", {"store": False}),
    ],
)
def test_every_surface_s_instructions_are_placed(path: bytes, wanted: Any, place: Any) -> None:
    said = [{"role": "user", "content": "Hello"}, {"role": "system", "content": "Now rhyme."}]
    content = {"input" if path.endswith(b"responses") else "messages": said, **wanted}
    chat = Chat("openai-chat", sending(429, {}), model(later_instructions=place).profile)
    ((status, body),) = chat.exchange(content, path=path)
    if place == "none":
        assert (status, chat.asked) == (400, [])
        assert b"Instructions have to stand before all messages." in body
        return
    (request,) = chat.asked
    assert request.json["messages"][1]["role"] == place
