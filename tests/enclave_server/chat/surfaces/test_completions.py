"""Prompts: what is wrong with one is said, and what is right is read into the neutral form."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import Answer, Choice, Continuation, Reply
from enclave_server.chat.surfaces.completions import Completions
from enclave_server.chat.surfaces.surface import Identity
from tests.support.chat_service import ask_nowhere


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m"},
        {"model": "m", "prompt": []},
        {"model": "m", "prompt": [1, "x"]},
        {"model": "m", "prompt": [[1], "x"]},
        {"model": "m", "prompt": {"text": "x"}},
        {"model": "m", "prompt": [[True]]},
    ],
)
def test_wrong_prompt_is_refused(body: dict[str, Any]) -> None:
    answer, error = ask_nowhere(body, path=b"/v1/completions")
    assert answer.status == 400
    assert error["param"].startswith("prompt")


def test_prompt_is_read_with_all_wishes() -> None:
    wishes = {"suffix": "s", "max_tokens": 0, "best_of": 2, "echo": True, "logprobs": 5}
    body = {"model": "m", "prompt": [[1], [2]], "n": 2, "user": "ada", **wishes}
    question = Completions().read(json.dumps(body).encode())
    assert question == Continuation(
        model="m",
        prompt=[[1], [2]],
        n=2,
        suffix="s",
        max_tokens=0,
        best_of=2,
        echo=True,
        logprobs=5,
    )


def test_answer_without_content_has_empty_text() -> None:
    answer = Answer([Choice(0, Reply(), finish_reason="stop")])
    written = json.loads(Completions().write(answer, Identity("cmpl-1", 5, "m"), {}))
    assert written["choices"] == [
        {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
    ]


@pytest.mark.parametrize("token", [-1, 2**31])
@pytest.mark.parametrize("form", ["tokens", "lists"])
def test_tokens_have_a_range(token: int, form: str) -> None:
    prompt = [1, token] if form == "tokens" else [[1], [token]]
    answer, error = ask_nowhere({"model": "m", "prompt": prompt}, path=b"/v1/completions")
    assert answer.status == 400
    assert error["param"].startswith("prompt")
