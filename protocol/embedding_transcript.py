"""What a signature covers of an answer that is embeddings: a transcript as of any other answer.

Its parts and numbers are those of `protocol.answer_transcript`.

    embeddings = part("oblivious-inference embeddings 2") count (index vector)*
    answer     = part("oblivious-inference embedding answer 2") algorithm tee_id request_hash
                 output_hash model timestamp

A vector is its components as binary32 (IEEE 754), little-endian: the same octets whether the answer
holds them in base64 or as JSON numbers. `output_hash` is the SHA-256 of `embeddings`. Both labels
differ from those of other answers, so that none can be shown as one of the other kind.
"""

import math
import struct
from collections.abc import Mapping, Sequence

from protocol.answer_transcript import joined, number
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.strict_json import decode_base64

EMBEDDINGS_LABEL = b"oblivious-inference embeddings 2"
EMBEDDING_ANSWER_LABEL = b"oblivious-inference embedding answer 2"

COMPONENT_OCTETS = 4

_MEMBERS = {"object", "index", "embedding"}


def encode_embeddings(vectors: Sequence[bytes]) -> bytes:
    """Return what is hashed of an answer's vectors, which are in the order of their index."""
    parts = [EMBEDDINGS_LABEL, number(len(vectors))]
    for index, vector in enumerate(vectors):
        parts += number(index), vector
    return joined(parts)


def vectors_of(data: object) -> list[bytes]:
    """Return the vectors in the `data` of an answer, or raise SignatureInvalid.

    An entry that says anything else, or stands elsewhere than its index says, would mislead.
    """
    if not isinstance(data, list):
        raise SignatureInvalid("the answer holds no embeddings")
    return [_vector_of(entry, index) for index, entry in enumerate(data)]


def encode_vector(components: Sequence[object]) -> bytes:
    """Return numbers as binary32, little-endian; ValueError for what is no finite one."""
    if not all(type(component) in (float, int) for component in components):
        raise ValueError("a component is no number")
    try:
        vector = struct.pack(f"<{len(components)}f", *components)
    except (struct.error, OverflowError):
        raise ValueError("a component is out of range") from None
    return require_vector(vector)


def require_vector(vector: bytes) -> bytes:
    """Return `vector`; ValueError if it is none: empty, of a broken length, or not finite."""
    if not vector or len(vector) % COMPONENT_OCTETS or not all(map(math.isfinite, decode(vector))):
        raise ValueError("not a vector of finite numbers")
    return vector


def decode(vector: bytes) -> tuple[float, ...]:
    """Return the components of a vector, each of which a JSON number says exactly."""
    return struct.unpack(f"<{len(vector) // COMPONENT_OCTETS}f", vector)


def _vector_of(entry: object, index: int) -> bytes:
    if not isinstance(entry, Mapping) or not entry.keys() <= _MEMBERS:
        raise SignatureInvalid("an embedding has a member that nobody signs")
    number_said = entry.get("index")
    if type(number_said) is not int or number_said != index:
        raise SignatureInvalid("an embedding does not stand where its index says")
    if entry.get("object", "embedding") != "embedding":
        raise SignatureInvalid("an embedding is of another kind than signed")
    said = entry.get("embedding")
    try:
        if isinstance(said, list):
            return encode_vector(said)
        return require_vector(decode_base64(said))
    except (ValueError, MalformedMessage):
        raise SignatureInvalid("an embedding is no vector of finite numbers") from None
