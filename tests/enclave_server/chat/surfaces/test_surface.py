"""Every surface that is offered reads a question and writes it an answer of its own kind."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import Answer, Choice, Reply
from enclave_server.chat.errors import ChatError
from enclave_server.chat.preparing import SURFACES
from enclave_server.chat.surfaces.surface import Identity

QUESTION: dict[str, Any] = {"model": "m", "stream": False}
ASKED: dict[bytes, dict[str, Any]] = {
    b"/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    b"/v1/completions": {"prompt": "x"},
    b"/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9},
    b"/v1/responses": {"input": "x"},
}


@pytest.mark.parametrize("path", SURFACES)
def test_question_and_answer(path: bytes) -> None:
    surface = SURFACES[path]
    question = surface.read(json.dumps(QUESTION | ASKED[path]).encode())
    assert (question.model, question.choices, question.stream) == ("m", 1, False)
    answer = Answer([Choice(0, Reply(content="a"))])
    identity = Identity(surface.id_prefix + "1", 5, "m")
    written = json.loads(surface.write(answer, identity, {}))
    assert written["id"].startswith(surface.id_prefix)
    # Anthropic's clients want a count: it says nothing where nothing is known.
    assert not any((written.get("usage") or {}).values())


def test_identifiers_tell_surfaces_apart() -> None:
    assert len({surface.id_prefix for surface in SURFACES.values()}) == len(SURFACES)


@pytest.mark.parametrize("path", SURFACES)
def test_refusal_has_the_error_s_status(path: bytes) -> None:
    assert SURFACES[path].refuse(ChatError(418, "No.")).status == 418
