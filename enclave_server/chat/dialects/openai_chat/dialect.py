"""The dialect of OpenAI-compatible servers."""

from enclave_server.chat.conversation import Answer, AnyQuestion, Kind
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.dialects.openai_chat import embeddings
from enclave_server.chat.dialects.openai_chat.answers import ChunkReader, read_answer
from enclave_server.chat.dialects.openai_chat.faults import fault_in_answer
from enclave_server.chat.dialects.openai_chat.requests import write_request
from enclave_server.chat.embedding import Embedding, Vectors
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.models import Model
from protocol.binary_http import Fields


class OpenAIChat:
    """Asks at `/chat/completions`, `/completions` and `/embeddings`."""

    def request(self, question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
        """Return the request for `question`."""
        return write_request(question, model, account)

    def read(self, kind: Kind, body: bytes) -> Answer:
        """Return a whole answer; raises UpstreamError."""
        return read_answer(kind, body)

    def stream(self, kind: Kind) -> ChunkReader:
        """Return what reads a streamed answer."""
        return ChunkReader(kind)

    def fault(self, status: int, fields: Fields, body: bytes) -> UpstreamError:
        """Return what an answer of another status becomes."""
        return fault_in_answer(status, fields, body)

    def embed(self, question: Embedding, model: Model, account: Account) -> UpstreamRequest:
        """Return the request for embeddings."""
        return embeddings.write_request(question, model, account)

    def read_vectors(self, body: bytes, entries: int) -> Vectors:
        """Return the vectors of so many entries; raises UpstreamError."""
        return embeddings.read_answer(body, entries)
