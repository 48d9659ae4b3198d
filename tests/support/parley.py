"""Parley, a dialect that nobody speaks: a provider whose requests and answers look like no other's.

Asked at `/speak` with turns instead of messages; streams are lines, each a JSON list.
"""

import json
from collections.abc import Iterator
from typing import Any

from enclave_server.chat.conversation import (
    Answer,
    AnyQuestion,
    Call,
    CallDelta,
    Choice,
    ChoiceDelta,
    Conversation,
    Delta,
    Event,
    Function,
    FunctionDelta,
    Kind,
    Message,
    PartState,
    Reply,
    State,
    Text,
    Usage,
)
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.errors import Failure, UpstreamError, invalid
from enclave_server.chat.models import Model
from protocol.binary_http import Fields

NAME = "parley"
WHOLE, LINES = b"application/x-parley", b"application/x-parley-lines"
SPEAKERS = {"system": "stage", "developer": "stage", "user": "you", "assistant": "it"}
ENDS = {"done": "stop", "cut": "length", "called": "tool_calls"}
TROUBLES = {"crowded": Failure.BUSY, "windy": Failure.TOO_LONG}


class Parley:
    """The dialect; it knows conversations alone."""

    def request(self, question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
        if not isinstance(question, Conversation):
            raise invalid("This model only converses.", "prompt", "unsupported_parameter")
        body: dict[str, Any] = {
            "engine": model.upstream_name,
            "turns": [turn for message in question.messages for turn in _turns(message)],
            "ceiling": question.max_tokens,
            "heat": question.temperature,
            "voices": question.choices,
        }
        fields: Fields = ((b"X-Parley-Version", b"1"),)
        if account.key is not None:
            fields += ((b"X-Parley-Key", account.key.encode()),)
        accept = LINES if question.stream else WHOLE
        return UpstreamRequest("/speak", fields, json.dumps(body).encode(), accept)

    def read(self, kind: Kind, body: bytes) -> Answer:
        try:
            said = json.loads(body)
            choices = [_choice(voice) for voice in said["voices"]]
            usage = _usage(*said["units"])
        except (ValueError, TypeError, KeyError):
            raise UpstreamError(Failure.BROKEN) from None
        marks = (voice["mark"] for voice in said["voices"] if "mark" in voice)
        return Answer(choices, usage, tuple(_state(0, mark) for mark in marks))

    def stream(self, kind: Kind) -> "Lines":
        return Lines()

    def fault(self, status: int, fields: Fields, body: bytes) -> UpstreamError:
        try:
            return UpstreamError(TROUBLES[json.loads(body)["oops"]])
        except (ValueError, TypeError, KeyError):
            return UpstreamError(Failure.BROKEN)


def _turns(message: Message) -> Iterator[list[Any]]:
    speaker = SPEAKERS.get(message.role)
    if isinstance(message.content, str) and speaker is not None:
        yield [speaker, message.content, *_mark(message.state)]
    elif isinstance(message.content, list):
        for part in message.content:
            if not isinstance(part, Text):
                raise invalid("This model only reads.", "messages", "unsupported_parameter")
            yield [speaker, part.text, *_mark(part.state)]
    for call in message.calls or ():
        yield ["wish", call.number, call.name, json.loads(call.arguments), *_mark(call.state)]
    if message.result_of is not None:
        yield ["wish granted", message.result_of, message.content]


def _mark(state: State | None) -> list[str]:
    return [state.value.decode()] if state is not None and state.dialect == NAME else []


def _state(choice: int, mark: str) -> PartState:
    return PartState(choice, State(NAME, mark.encode()))


def _usage(asked: int, said: int) -> Usage:
    return Usage(asked, said, asked + said)


def _choice(voice: dict[str, Any]) -> Choice:
    wishes = [
        Call(identifier, Function(name, json.dumps(arguments)))
        for identifier, name, arguments in voice.get("wishes", ())
    ]
    reply = Reply(content=voice["says"])
    if wishes:
        reply.tool_calls = wishes
    return Choice(voice["no"], reply, finish_reason=ENDS[voice["why"]])


class Lines:
    """Reads lines, split anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def kept(self) -> int:
        return len(self._rest)

    def feed(self, piece: bytes) -> Iterator[Event]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            try:
                yield _event(json.loads(line))
            except (ValueError, TypeError, KeyError):
                raise UpstreamError(Failure.BROKEN) from None


def _event(line: list[Any]) -> Event:
    match line:
        case ["say", voice, text]:
            return Event([ChoiceDelta(voice, Delta(content=text))])
        case ["wish", voice, identifier, name, arguments]:
            function = FunctionDelta(name, json.dumps(arguments))
            call = CallDelta(0, identifier, "function", function)
            return Event([ChoiceDelta(voice, Delta(tool_calls=[call]))])
        case ["mark", voice, mark]:
            return Event(states=(_state(voice, mark),))
        case ["why", voice, why]:
            return Event([ChoiceDelta(voice, finish_reason=ENDS[why])])
        case ["units", asked, said]:
            return Event(usage=_usage(asked, said))
        case ["over"]:
            return Event(ends=True)
        case ["oops", trouble]:
            raise UpstreamError(TROUBLES.get(trouble, Failure.BROKEN))
    raise ValueError(line)
