"""The dialect of Google's models."""

from enclave_server.chat.conversation import Answer, AnyQuestion, Kind
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.dialects.gemini.answers import read_answer
from enclave_server.chat.dialects.gemini.faults import fault_in_answer
from enclave_server.chat.dialects.gemini.requests import write_request
from enclave_server.chat.dialects.gemini.streams import EventReader
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.models import Model
from protocol.binary_http import Fields


class Gemini:
    """Asks at `/models/NAME:generateContent` and `:streamGenerateContent`."""

    def request(self, question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
        """Return the request for `question`; raises ChatError."""
        return write_request(question, model, account)

    def read(self, kind: Kind, body: bytes) -> Answer:
        """Return a whole answer; raises UpstreamError."""
        return read_answer(body)

    def stream(self, kind: Kind) -> EventReader:
        """Return what reads a streamed answer."""
        return EventReader()

    def fault(self, status: int, fields: Fields, body: bytes) -> UpstreamError:
        """Return what an answer of another status becomes."""
        return fault_in_answer(status, fields, body)
