"""OpenAI's Responses API: `POST /v1/responses`, of which nothing is kept."""

import re

import msgspec

from enclave_server.chat.conversation import Answer, Conversation
from enclave_server.chat.errors import ChatError
from enclave_server.chat.strict_json import parse_object
from enclave_server.chat.surfaces.responses_reading import read_request
from enclave_server.chat.surfaces.responses_stream import ResponsesStream
from enclave_server.chat.surfaces.responses_writing import ended, items_of
from enclave_server.chat.surfaces.surface import Identity, Signature
from protocol.binary_http import Response

# What the neutral form calls by the names of chat completions, by the names that it has here.
_NAMES = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}

_BEGIN = re.compile(rf"({'|'.join(_NAMES)})(?![A-Za-z_])")
_QUOTED = re.compile(rf"'({'|'.join(_NAMES)})(?:[.\[][^']*)?'")


class Responses:
    """Reads items as a conversation; writes its answer as items.

    States are told in `encrypted_content` of items of reasoning.
    """

    id_prefix = "resp_"

    def read(self, content: bytes) -> Conversation:
        """Return the conversation in `content`; raises ChatError."""
        return read_request(parse_object(content))

    def fit(self, answer: Answer) -> None:
        """Change nothing: all that is said can be told here."""

    def write(self, answer: Answer, identity: Identity, signature: Signature) -> bytes:
        """Return a whole answer."""
        reason = answer.choices[0].finish_reason
        output = items_of(answer, identity)
        return msgspec.json.encode(ended(identity, reason, output, answer.usage, **signature))

    def stream(self, identity: Identity) -> ResponsesStream:
        """Return what writes a streamed answer."""
        return ResponsesStream(identity)

    def refuse(self, error: ChatError) -> Response:
        """Return what a request gets that is refused, with the names that its members have here.

        Items are no messages: of what stands in them no place is told.
        """
        found = _BEGIN.match(error.param or "")
        if found is None or error.code == "unknown_parameter":
            return error.response()
        told = ChatError(
            error.status,
            _QUOTED.sub(lambda place: f"'{_NAMES[place[1]]}'", error.message),
            kind=error.kind,
            param=_NAMES[found[1]],
            code=error.code,
            fields=error.fields,
        )
        return told.response()
