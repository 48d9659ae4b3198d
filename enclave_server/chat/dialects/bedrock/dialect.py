"""The dialect of Bedrock's Converse."""

import time
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from enclave_server.chat.conversation import Answer, AnyQuestion, Conversation, Kind
from enclave_server.chat.dialects.amazon.faults import fault_in_answer
from enclave_server.chat.dialects.amazon.frames import MEDIA_TYPE
from enclave_server.chat.dialects.amazon.signing import authorize
from enclave_server.chat.dialects.bedrock.answers import ConverseEvents, read_answer
from enclave_server.chat.dialects.bedrock.requests import write_body
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.dialects.refusals import unsupported
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.models import Model
from protocol.binary_http import Fields
from protocol.registry import JSON


class Bedrock:
    """Asks at `/model/NAME/converse` and `/model/NAME/converse-stream`."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` is Unix time, at which requests are signed."""
        self._clock = clock

    def request(self, question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
        """Return the request for `question`; raises ChatError for what cannot be said."""
        if not isinstance(question, Conversation):
            raise unsupported("prompt", "It answers messages alone.")
        body = msgspec.json.encode(write_body(question, model))
        verb, accept = ("converse-stream", MEDIA_TYPE) if question.stream else ("converse", JSON)
        path = f"/model/{quote(model.upstream_name, safe='')}/{verb}"
        fields = authorize(model.upstream, account, path, body, self._clock())
        return UpstreamRequest(path, fields, body, accept)

    def read(self, kind: Kind, body: bytes) -> Answer:
        """Return a whole answer; raises UpstreamError."""
        return read_answer(body)

    def stream(self, kind: Kind) -> ConverseEvents:
        """Return what reads a streamed answer."""
        return ConverseEvents()

    def fault(self, status: int, fields: Fields, body: bytes) -> UpstreamError:
        """Return what an answer of another status becomes."""
        return fault_in_answer(status, fields, body)
