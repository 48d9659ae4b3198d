"""States on their way through a client: what a dialect gave for a part of an answer, to come back.

A state stands in `extra_content`, where programs keep what they do not know. It names the upstream
and the model that it was made by, and goes back to no other.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from enclave_server.chat.conversation import Conversation, Message, State, ToolCall

Origin = tuple[str, str]
"""The names of an upstream and of a model."""

MEMBER = "extra_content"
OURS = "oblivious"

GOOGLE = "google"
"""The dialect of a state that came in Google's own place: the text of a thought's signature.

Programs that know Google's compatible endpoint keep it there and nowhere else. It names no origin,
so that every dialect that has thought signatures takes it.
"""


class Malformed(Exception):
    """A state that was not made here."""


class _Sealed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    dialect: str
    upstream: str
    model: str
    value: bytes


_DECODER = msgspec.msgpack.Decoder(_Sealed)


def write(state: State, origin: Origin) -> dict[str, Any]:
    """Return the value of `extra_content` that carries `state`."""
    packed = msgspec.msgpack.encode(_Sealed(state.dialect, *origin, state.value))
    text = base64.urlsafe_b64encode(packed).rstrip(b"=").decode()
    return {OURS: {"state": text}}


def read(extra: Mapping[str, Any]) -> State | None:
    """Return the state in `extra_content`, be it none; raises Malformed."""
    match extra:
        case {"oblivious": {"state": str(text)}}:
            return _open(text)
        case {"google": {"thought_signature": str(text)}}:
            return State(GOOGLE, text.encode())
    return None


def _open(text: str) -> State:
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        sealed = _DECODER.decode(packed)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise Malformed from None
    return State(sealed.dialect, sealed.value, (sealed.upstream, sealed.model))


def without_foreign(question: Conversation, origin: Origin) -> Conversation:
    """Return `question` without the states that another upstream or model made."""
    if not any(map(_has_state, question.messages)):
        return question
    messages = [_own(message, origin) for message in question.messages]
    return msgspec.structs.replace(question, messages=messages)


def _has_state(message: Message) -> bool:
    if message.state is not None:
        return True
    return message.calls is not None and any(call.state for call in message.calls)


def _own(message: Message, origin: Origin) -> Message:
    calls = message.calls and [_own_call(call, origin) for call in message.calls]
    state = _kept(message.state, origin)
    return msgspec.structs.replace(message, state=state, calls=calls)


def _own_call(call: ToolCall, origin: Origin) -> ToolCall:
    return msgspec.structs.replace(call, state=_kept(call.state, origin))


def _kept(state: State | None, origin: Origin) -> State | None:
    return state if state is None or state.origin in (None, origin) else None
