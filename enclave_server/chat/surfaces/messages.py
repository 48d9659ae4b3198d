"""Anthropic's Messages API: `POST /v1/messages`."""

from typing import Any

from enclave_server.chat.conversation import Answer, Conversation
from enclave_server.chat.errors import JSON_FIELD, ChatError
from enclave_server.chat.strict_json import parse_object
from enclave_server.chat.surfaces.messages_reading import read_request
from enclave_server.chat.surfaces.messages_writing import (
    MessageStream,
    fit_message,
    write_error,
    write_message,
)
from enclave_server.chat.surfaces.surface import Identity, Signature
from protocol.binary_http import Response

# What a count of tokens is asked without: a limit, above any budget for thinking.
UNCOUNTED: dict[str, Any] = {"max_tokens": 2**31 - 1}


class Messages:
    """Reads and writes Anthropic's messages, whichever upstream answers them."""

    id_prefix = "msg_"

    def read(self, content: bytes) -> Conversation:
        """Return the conversation in `content`; raises ChatError."""
        return read_request(parse_object(content))

    def read_to_count(self, content: bytes) -> Conversation:
        """Return the conversation in `content`, which says no limit; raises ChatError."""
        return read_request(UNCOUNTED | parse_object(content))

    def fit(self, answer: Answer) -> None:
        """Say refusals as text, and calls as objects: this surface has no other words for them."""
        fit_message(answer)

    def write(self, answer: Answer, identity: Identity, signature: Signature) -> bytes:
        """Return a whole answer."""
        return write_message(answer, identity, signature)

    def stream(self, identity: Identity) -> MessageStream:
        """Return what writes a streamed answer."""
        return MessageStream(identity)

    def refuse(self, error: ChatError) -> Response:
        """Return what a request gets that is refused."""
        return Response(error.status, (JSON_FIELD, *error.fields), write_error(error))
