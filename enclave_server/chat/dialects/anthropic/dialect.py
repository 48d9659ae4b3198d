"""The dialect of Anthropic's Messages API, with whoever serves it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from enclave_server.chat.conversation import Answer, AnyQuestion, Conversation, Kind
from enclave_server.chat.dialects.amazon.faults import fault_in_answer as fault_of_amazon
from enclave_server.chat.dialects.anthropic.answers import read_answer
from enclave_server.chat.dialects.anthropic.events import EventReader
from enclave_server.chat.dialects.anthropic.faults import fault_in_answer
from enclave_server.chat.dialects.anthropic.frames import FramedEventReader
from enclave_server.chat.dialects.anthropic.platforms import Platform, anthropic, bedrock, vertex
from enclave_server.chat.dialects.anthropic.requests import write_body
from enclave_server.chat.dialects.dialect import Account, StreamReader, UpstreamRequest
from enclave_server.chat.dialects.refusals import unsupported
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.models import Model
from protocol.binary_http import Fields


@dataclass(frozen=True, slots=True)
class Anthropic:
    """Asks Anthropic itself, or another platform with its streams and its errors."""

    platform: Platform = anthropic
    reader: Callable[[], StreamReader] = EventReader
    fault_of: Callable[[int, Fields, bytes], UpstreamError] = fault_in_answer

    def request(self, question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
        """Return the request for `question`; raises ChatError for what cannot be said."""
        if not isinstance(question, Conversation):
            raise unsupported("prompt", "It answers messages alone.")
        members = write_body(question, model)
        return self.platform(members, model, account, stream=question.stream)

    def read(self, kind: Kind, body: bytes) -> Answer:
        """Return a whole answer; raises UpstreamError."""
        return read_answer(body)

    def stream(self, kind: Kind) -> StreamReader:
        """Return what reads a streamed answer."""
        return self.reader()

    def fault(self, status: int, fields: Fields, body: bytes) -> UpstreamError:
        """Return what an answer of another status becomes."""
        return self.fault_of(status, fields, body)


DIRECT = Anthropic()
AT_VERTEX = Anthropic(vertex)
AT_BEDROCK = Anthropic(bedrock(time.time), FramedEventReader, fault_of_amazon)
