"""What an upstream's whole answer becomes: read, signed, and written as its client wants it.

It is a computation alone, as `preparing` is: for a large answer another process can do it.
"""

import msgspec

from enclave_server.chat.conversation import Answer, Choice, without_reasoning
from enclave_server.chat.dialects.table import find_dialect, find_embedding_dialect
from enclave_server.chat.embedding import Wanted
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.joining import decode_joined
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.preparing import EMBEDDINGS, KINDS, SURFACES, KindName, find_model
from enclave_server.chat.signing import Signer
from enclave_server.chat.spoken import CUT_OFF, is_readable
from enclave_server.chat.surfaces.surface import Identity
from protocol.signature import Algorithm, RequestHash, SigningKeys


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A whole answer as its upstream said it, or joined of a stream, and what makes it one of ours.

    `path` is that of the request, `version` that of signatures for who asks for no `algorithm`,
    `wanted` what there must be if it is embeddings, `choices` how many there may be else.
    """

    path: bytes
    kind: KindName
    identity: Identity
    version: int
    algorithm: Algorithm | None
    request_hash: bytes
    body: bytes = b""
    is_joined: bool = False
    wanted: Wanted | None = None
    choices: int | None = None


def finish(models: ModelTable, keys: SigningKeys, said: Said) -> bytes:
    """Return the content of the answer; raises UpstreamError. Of what is parsed nothing is kept."""
    model = find_model(models, said.identity.model)
    if said.wanted is not None:
        return _finish_embedding(model, keys, said, said.wanted)
    return write(keys, _read(said, model), said)


def write(keys: SigningKeys, answer: Answer, said: Said) -> bytes:
    """Return the content of `answer`, signed; what its signature does not cover is not given."""
    identity = said.identity
    signer = Signer(lambda: keys, lambda: identity.created, said.version)
    if not signer.covers_reasoning(said.algorithm):
        answer = without_reasoning(answer)
    SURFACES[said.path].fit(answer)
    outputs = [choice.output for choice in answer.choices]
    request_hash = RequestHash(said.request_hash)
    signature = signer.sign(request_hash, outputs, identity.model, said.algorithm)
    return SURFACES[said.path].write(answer, identity, signature)


def _finish_embedding(model: Model, keys: SigningKeys, said: Said, wanted: Wanted) -> bytes:
    identity = said.identity
    dialect = find_embedding_dialect(model.upstream.dialect)
    answer = dialect.read_vectors(said.body, wanted.entries)
    signer = Signer(lambda: keys, lambda: identity.created, said.version)
    request_hash = RequestHash(said.request_hash)
    signature = signer.sign_vectors(request_hash, answer.vectors, model.name, said.algorithm)
    return EMBEDDINGS.write(answer, wanted.encoding, identity, signature)


def _read(said: Said, model: Model) -> Answer:
    if said.is_joined:
        return decode_joined(said.body)
    answer = find_dialect(model.upstream.dialect).read(KINDS[said.kind], said.body)
    if said.choices is not None and len(answer.choices) > said.choices:
        raise UpstreamError(Failure.BROKEN)  # nobody asked for them, or pays for them
    for choice in answer.choices:
        _require_readable_calls(choice)
    return answer


def _require_readable_calls(choice: Choice) -> None:
    functions = [call.function for call in choice.message.tool_calls or ()]
    if choice.finish_reason not in CUT_OFF and not all(
        is_readable(function.name, function.arguments) for function in functions
    ):
        raise UpstreamError(Failure.TOOL_USE_FAILED)
