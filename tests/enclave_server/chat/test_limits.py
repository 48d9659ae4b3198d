"""What a model cannot do is refused, and the field that asks for it named."""

import pytest

from enclave_server.chat.conversation import (
    AnyQuestion,
    Continuation,
    Conversation,
    Image,
    Message,
    Tool,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.limits import check
from enclave_server.chat.models import Model
from tests.support.upstream_connection import upstream_at

MODEL = Model("m", upstream_at("unix:/x"), "m", tools=False, images=False, max_choices=2)
ABLE = Model("m", upstream_at("unix:/x"), "m")
HELLO = [Message("user", "Hello")]

BEYOND: dict[str, AnyQuestion] = {
    "n": Conversation(model="m", messages=HELLO, n=3),
    "tools": Conversation(model="m", messages=HELLO, tools=[Tool("f")]),
    "messages": Conversation(model="m", messages=[Message("user", [Image("https://x/y")])]),
}


@pytest.mark.parametrize("param", BEYOND)
def test_what_a_model_cannot_do_is_refused(param: str) -> None:
    with pytest.raises(ChatError) as caught:
        check(BEYOND[param], MODEL)
    assert (caught.value.status, caught.value.param) == (400, param)
    check(BEYOND[param], ABLE)


def test_prompts_are_held_against_the_same_limit() -> None:
    check(Continuation(model="m", prompt="x", n=2), MODEL)
    with pytest.raises(ChatError):
        check(Continuation(model="m", prompt="x", n=3), MODEL)
