"""Signed transcripts: a reader finds in each all that was signed, so no two answers share one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from protocol import answer_transcript, signature, strict_json
from protocol.answer_transcript import message_of
from protocol.errors import SignatureInvalid
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Octets, Refused
from tests.fuzz.reading import attempt as attempt_message
from tests.protocol.test_answer_transcript import CALL

attempt = Attempt(SignatureInvalid)

FAULTS = (
    slips("protocol.answer_transcript._text", SignatureInvalid),
    returns("protocol.answer_transcript.joined", lambda data: data.replace(b"\0" * 7, b"")),
    returns("protocol.answer_transcript._text", lambda text: text[:1]),
    returns("protocol.signature.output_of", lambda output: output.replace(b"\xff", b"")),
)


def seeds() -> list[bytes]:
    """Return choices that look like one another."""
    answers: list[Any] = [
        [{"index": 0, "message": {"content": "a", "tool_calls": [CALL]}, "finish_reason": "stop"}],
        [{"index": 0, "text": "a"}, {"index": 1, "text": "", "finish_reason": "length"}],
        [{"index": 7, "content": "", "refusal": "no", "reasoning_content": "hm", "tool_calls": []}],
        [{"index": 0, "message": {"content": None, "tool_calls": [CALL, CALL]}}],
        [{"index": 0, "message": {"text": "x", "content": "y"}}],
        [{"index": True, "message": {}}],
        [{"index": 0, "message": []}],
        [{"index": 0, "message": {"content": 1}}, {"index": 0, "message": {"tool_calls": {}}}],
        [],
    ]
    return [json.dumps({"c": answer}).encode() for answer in answers]


def run(data: bytes) -> None:
    """Encode choices, and find in the transcript what they say."""
    body = attempt_message(strict_json.decode_object, data)
    choices = None if isinstance(body, Refused) else body.get("c")
    if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
        return
    transcript = attempt(answer_transcript.encode_choices, choices)
    if not isinstance(transcript, Refused):
        assert _read(transcript) == [_said(choice) for choice in choices]
    _check_first_version(choices)


def _check_first_version(choices: Sequence[Mapping[str, Any]]) -> None:
    """Of the first version's outputs no two of different kinds are alike."""
    messages = attempt(lambda: [message_of(choice) for choice in choices])
    if isinstance(messages, Refused):
        return
    output = attempt(signature.output_of_choices, messages)
    if isinstance(output, Refused):
        return
    assert output.startswith(signature.APART) == (len(messages) != 1)
    if len(messages) == 1:
        text = messages[0].get("text") if "text" in messages[0] else messages[0].get("content")
        calls = messages[0].get("tool_calls")
        parts = output.split(signature.APART)
        assert len(parts) == (2 if text and calls else 1)
        assert not text or parts[0] == str(text).encode()


def _said(choice: Mapping[str, Any]) -> list[Any]:
    """Return what is signed of a choice: absent, null and empty are the same."""
    message = message_of(choice)
    text = message.get("text") if "text" in message else message.get("content")
    said = (text, message.get("reasoning_content"), message.get("refusal"))
    calls: Any = message.get("tool_calls") or []
    return [
        choice["index"],
        *(each or "" for each in said),
        [[call.get("id") or "", *_called(call["function"])] for call in calls],
        choice.get("finish_reason") or "",
    ]


def _called(function: Mapping[str, Any]) -> list[Any]:
    return [function.get(name) or "" for name in ("name", "arguments")]


def _read(transcript: bytes) -> list[list[Any]]:
    octets = Octets(transcript)

    def part() -> str:
        size = octets.number(8)
        taken = octets.take(size)
        assert len(taken) == size
        return taken.decode()

    def call() -> list[str]:
        return [part(), part(), part()]

    def choice() -> list[Any]:
        index, texts = int(part()), [part(), part(), part()]
        return [index, *texts, [call() for _ in range(int(part()))], part()]

    assert part() == "oblivious-inference choices 2"
    choices = [choice() for _ in range(int(part()))]
    assert not octets
    return choices
