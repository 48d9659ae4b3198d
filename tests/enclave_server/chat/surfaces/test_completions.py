"""Prompts: what is wrong with one is said, and what is right is read into the neutral form."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import (
    Answer,
    Choice,
    ChoiceDelta,
    Continuation,
    Delta,
    Logprobs,
    Reply,
    TokenLogprob,
    TopLogprob,
)
from enclave_server.chat.surfaces.completions import Completions
from enclave_server.chat.surfaces.surface import Identity
from protocol.event_stream import EventParser
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


IDENTITY = Identity("cmpl-1", 5, "m")


def likely(*texts: str) -> Logprobs:
    """Return the likelihoods of a chat, in which each token had one other in its place."""
    return Logprobs(
        content=[
            TokenLogprob(text, -0.5, None, [TopLogprob(text, -0.5), TopLogprob("x", -3.0)])
            for text in texts
        ]
    )


LEGACY = {
    "tokens": ["Par", "is"],
    "token_logprobs": [-0.5, -0.5],
    "top_logprobs": [{"Par": -0.5, "x": -3.0}, {"is": -0.5, "x": -3.0}],
    "text_offset": [0, 3],
}


def test_likelihoods_of_chats_are_told_in_the_shape_of_completions() -> None:
    answer = Answer([Choice(0, Reply(content="Paris"), likely("Par", "is"))])
    (choice,) = json.loads(Completions().write(answer, IDENTITY, {}))["choices"]
    assert choice["logprobs"] == LEGACY


def test_offsets_go_on_from_event_to_event_of_each_choice() -> None:
    writer = Completions().stream(IDENTITY)
    offsets = []
    for index, text in ((0, "Par"), (1, "Rome"), (0, "is")):
        part = ChoiceDelta(index, Delta(content=text), likely(text))
        (event,) = EventParser().feed(writer.write([part]))
        (choice,) = json.loads(event.data)["choices"]
        offsets.append(choice["logprobs"]["text_offset"])
    assert offsets == [[0], [0], [3]]


def test_likelihoods_in_their_own_shape_are_left_as_they_are() -> None:
    own = Logprobs(tokens=["a"], token_logprobs=[None], text_offset=[7])
    answer = Answer([Choice(0, Reply(content="a"), own), Choice(1, Reply(content="b"))])
    first, second = json.loads(Completions().write(answer, IDENTITY, {}))["choices"]
    assert first["logprobs"] == {"tokens": ["a"], "token_logprobs": [None], "text_offset": [7]}
    assert second["logprobs"] is None
