"""Embeddings of upstreams: whatever is taken is written, signed, and verified by the client.

The first octet chooses how many were asked for, how they are written and what signs; the rest is
the upstream's body.
"""

from hashlib import sha256

from enclave_server.chat import finishing
from enclave_server.chat.dialects.openai_chat.embeddings import read_answer
from enclave_server.chat.embedding import Wanted
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.finishing import Said
from enclave_server.chat.preparing import EMBEDDINGS_PATH
from enclave_server.chat.surfaces.surface import Identity
from oblivious_client.answers import parse_object
from protocol.embedding_transcript import vectors_of
from protocol.signature import Algorithm, verify_embeddings
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Refused
from tests.support.attestation_samples import signing_keys
from tests.support.chat_service import TABLE

REQUEST, NOW = b"{}", 1_800_000_000
KEYS = signing_keys("fuzz")
IDENTITY = Identity("embd-1", NOW, "m")
attempt = Attempt(UpstreamError)

FAULTS = (
    slips("enclave_server.chat.dialects.openai_chat.embeddings._vector", UpstreamError),
    returns("enclave_server.chat.signing.sign_embeddings", lambda fields: {**fields, "tee_id": ""}),
    returns("enclave_server.chat.surfaces.embeddings.decode", lambda vector: vector[::-1]),
)


def seeds() -> list[bytes]:
    """Return answers of all sorts, in each way of asking."""
    bodies = [
        b'{"data":[{"index":0,"embedding":[0.25,-1,1e-7]}],"usage":{"prompt_tokens":5}}',
        b'{"data":[{"embedding":"AACAPgAAgL8="}],"usage":{"prompt_tokens":true}}',
        b'{"data":[{"index":1,"embedding":[0.1]},{"index":0,"embedding":[2]}]}',
        b'{"data":[{"index":0,"embedding":[1e39]}]}',
        b'{"data":[{"index":0,"embedding":[]}],"usage":null}',
        b'{"data":[],"error":{"message":"x","code":429}}',
    ]
    return [bytes([number]) + body for number in (0, 1, 2, 4, 7) for body in bodies]


def run(data: bytes) -> None:
    """Read embeddings, write and sign them, and do what the client does."""
    number, body = data[0] if data else 0, data[1:]
    wanted = Wanted(1 + (number & 1), "base64" if number & 2 else "float")
    algorithm = Algorithm.ED25519 if number & 4 else None
    asked = sha256(REQUEST).digest()
    said = Said(EMBEDDINGS_PATH, "embedding", IDENTITY, 2, algorithm, asked, body, wanted=wanted)
    written = attempt(finishing.finish, TABLE, KEYS, said)
    if isinstance(written, Refused):
        return
    shown = parse_object(written)
    verify_embeddings(KEYS.public_keys, REQUEST, shown)
    vectors = read_answer(body, wanted.entries).vectors
    assert vectors == vectors_of(shown["data"])
    assert vectors == read_answer(written, wanted.entries).vectors
