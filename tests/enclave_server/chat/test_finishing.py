"""An upstream's whole answer becomes the client's, signed in the way that is asked for."""

import hashlib
import json
from typing import Any, Literal

import msgspec
import pytest

from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.finishing import Said, finish
from enclave_server.chat.surfaces.surface import Identity
from protocol.signature import Algorithm, verify_choices
from tests.support.chat_service import KEYS, TABLE
from tests.support.upstream import completion

REQUEST = b"the request"
Case = tuple[bytes, Literal["conversation", "continuation"], dict[str, Any]]
TEXTS = [{"index": 0, "text": " Paris", "finish_reason": "length"}]
CASES: dict[str, Case] = {
    "chat": (b"/v1/chat/completions", "conversation", completion("Paris.")),
    "any character": (
        b"/v1/chat/completions",
        "conversation",
        completion("\0\N{GRINNING FACE}\\"),
    ),
    "prompts": (b"/v1/completions", "continuation", {"choices": TEXTS}),
}


def said(
    path: bytes,
    kind: Literal["conversation", "continuation"],
    body: dict[str, Any],
    version: int = 2,
    algorithm: Algorithm | None = None,
) -> Said:
    digest = hashlib.sha256(REQUEST).digest()
    identity = Identity("x-1", 1_700_000_000, "m")
    return Said(path, kind, identity, version, algorithm, digest, json.dumps(body).encode())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("version", "asked", "signed"),
    [
        (2, None, (2, Algorithm.RSA)),
        (1, None, (1, Algorithm.RSA)),
        (1, Algorithm.ED25519, (2, Algorithm.ED25519)),
    ],
)
def test_it_is_written_and_signed(
    case: str, version: int, asked: Algorithm | None, signed: tuple[int, Algorithm]
) -> None:
    body = json.loads(finish(TABLE, KEYS, said(*CASES[case], version, asked)))
    assert (body["id"], body["created"], body["model"]) == ("x-1", 1_700_000_000, "m")
    assert body["tee_timestamp"] == body["created"]
    found = verify_choices(KEYS.public_keys, REQUEST, body["choices"], body)
    assert (found.version, found.algorithm) == signed


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "length", "content_filter"])
@pytest.mark.parametrize(("name", "arguments"), [("f", "{}"), ("f", ""), ("f", '{"a"'), ("", "{}")])
def test_calls_can_be_read_or_the_answer_was_cut_off(
    reason: str, name: str, arguments: str
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choices = [{"index": 0, "message": message, "finish_reason": reason}]
    asked = said(b"/v1/chat/completions", "conversation", completion("", choices=choices))
    if (name and arguments in ("{}", "")) or reason in ("length", "content_filter"):
        (choice,) = json.loads(finish(TABLE, KEYS, asked))["choices"]
        assert choice["message"]["tool_calls"] == [call]
        return
    with pytest.raises(UpstreamError) as caught:
        finish(TABLE, KEYS, asked)
    assert caught.value.failure is Failure.TOOL_USE_FAILED


def test_what_is_no_answer_is_a_failure() -> None:
    with pytest.raises(UpstreamError) as caught:
        finish(TABLE, KEYS, said(b"/v1/chat/completions", "conversation", {"choices": "x"}))
    assert caught.value.failure is Failure.BROKEN


@pytest.mark.parametrize("allowed", [None, 1, 2])
def test_choices_that_nobody_asked_for_are_refused(allowed: int | None) -> None:
    two = {"choices": [*TEXTS, {"index": 1, "text": "!", "finish_reason": "stop"}]}
    asked = said(b"/v1/completions", "continuation", two)
    asked = msgspec.structs.replace(asked, choices=allowed)
    if allowed != 1:
        assert len(json.loads(finish(TABLE, KEYS, asked))["choices"]) == 2
        return
    with pytest.raises(UpstreamError) as caught:
        finish(TABLE, KEYS, asked)
    assert caught.value.failure is Failure.BROKEN
