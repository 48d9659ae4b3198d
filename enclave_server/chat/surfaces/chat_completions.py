"""OpenAI's chat completions: `POST /v1/chat/completions`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from enclave_server.chat import states
from enclave_server.chat.conversation import Answer, Conversation, PartState
from enclave_server.chat.errors import ChatError
from enclave_server.chat.strict_json import parse_object
from enclave_server.chat.surfaces.chat_reading import read_request
from enclave_server.chat.surfaces.openai import OpenAIStream, write_answer
from enclave_server.chat.surfaces.surface import Identity, Signature
from protocol.binary_http import Response


class ChatCompletions:
    """Reads conversations; their answers are written as msgspec writes the neutral form.

    States are told in `extra_content` of a message and of its calls.
    """

    id_prefix = "chatcmpl-"

    def read(self, content: bytes) -> Conversation:
        """Return the conversation in `content`; raises ChatError."""
        return read_request(parse_object(content))

    def fit(self, answer: Answer) -> None:
        """Change nothing: all that is said can be told here."""

    def write(self, answer: Answer, identity: Identity, signature: Signature) -> bytes:
        """Return a whole answer."""
        choices = _with_states(answer, identity) if answer.states else answer.choices
        return write_answer("chat.completion", choices, answer, identity, signature)

    def stream(self, identity: Identity) -> OpenAIStream:
        """Return what writes a streamed answer."""

        def encode_states(given: Sequence[PartState]) -> bytes:
            return msgspec.json.encode([_state_delta(state, identity) for state in given])

        return OpenAIStream("chat.completion.chunk", msgspec.json.encode, identity, encode_states)

    def refuse(self, error: ChatError) -> Response:
        """Return what a request gets that is refused."""
        return error.response()


def _with_states(answer: Answer, identity: Identity) -> list[dict[str, Any]]:
    """Return the choices of `answer` as they are written, with the states of their parts."""
    choices: list[dict[str, Any]] = msgspec.to_builtins(answer.choices)
    messages = {choice["index"]: choice["message"] for choice in choices}
    for given in answer.states:
        part = messages[given.choice]
        if given.call is not None:
            part = part["tool_calls"][given.call]
        part[states.MEMBER] = states.write(given.state, identity.origin)
    return choices


def _state_delta(given: PartState, identity: Identity) -> dict[str, Any]:
    """Return the part of a stream that tells a state; OpenAI's SDK wants a function in each."""
    delta: dict[str, Any] = {states.MEMBER: states.write(given.state, identity.origin)}
    if given.call is not None:
        nothing = {"arguments": ""}
        delta = {"tool_calls": [{"index": given.call, "function": nothing, **delta}]}
    return {"index": given.choice, "delta": delta, "logprobs": None, "finish_reason": None}
