"""What an upstream's whole answer becomes: read, signed, and written as its client wants it.

It is a computation alone, as `preparing` is: for a large answer another process can do it.
"""

from typing import Literal

import msgspec

from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.models import ModelTable
from enclave_server.chat.preparing import KINDS, SURFACES, find_model
from enclave_server.chat.signing import Signer
from enclave_server.chat.surfaces.surface import Identity
from protocol.signature import Algorithm, RequestHash, SigningKeys


class Said(msgspec.Struct, frozen=True):
    """A whole answer as its upstream said it, and what makes it an answer of ours.

    `path` is that of the request, `version` that of signatures for who asks for no `algorithm`.
    """

    path: bytes
    kind: Literal["conversation", "continuation"]
    identity: Identity
    version: int
    algorithm: Algorithm | None
    request_hash: bytes
    body: bytes


def finish(models: ModelTable, keys: SigningKeys, said: Said) -> bytes:
    """Return the content of the answer; raises UpstreamError. Of what is parsed nothing is kept."""
    identity = said.identity
    model = find_model(models, identity.model)
    answer = find_dialect(model.upstream.dialect).read(KINDS[said.kind], said.body)
    outputs = [choice.output for choice in answer.choices]
    signer = Signer(lambda: keys, lambda: identity.created, said.version)
    request_hash = RequestHash(said.request_hash)
    signature = signer.sign(request_hash, outputs, identity.model, said.algorithm)
    return SURFACES[said.path].write(answer, identity, signature)
