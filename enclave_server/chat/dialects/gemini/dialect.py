"""The dialect of Google's models."""

from enclave_server.chat.conversation import Answer, AnyQuestion, Kind
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.dialects.gemini import embeddings
from enclave_server.chat.dialects.gemini.answers import read_answer
from enclave_server.chat.dialects.gemini.faults import fault_in_answer
from enclave_server.chat.dialects.gemini.requests import write_request
from enclave_server.chat.dialects.gemini.streams import EventReader
from enclave_server.chat.embedding import Embedding, Vectors
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.models import Model
from protocol.binary_http import Fields


class Gemini:
    """Asks at `/models/NAME:generateContent`, `:streamGenerateContent`, `:batchEmbedContents`."""

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

    def embed(self, question: Embedding, model: Model, account: Account) -> UpstreamRequest:
        """Return the request for embeddings; raises ChatError."""
        return embeddings.write_request(question, model, account)

    def read_vectors(self, body: bytes, entries: int) -> Vectors:
        """Return the vectors of so many entries; raises UpstreamError."""
        return embeddings.read_answer(body, entries)
