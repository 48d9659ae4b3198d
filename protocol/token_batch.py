"""Several tokens at once (draft-ietf-privacypass-batched-tokens-07, Section 6), of type 2 alone.

The layout is that of the implementations, in which a member's type stands once and nothing says
how long a member is. So a member of another type cannot be passed over, and is refused.
"""

from collections.abc import Sequence

from protocol import varint
from protocol.errors import MalformedMessage
from protocol.private_token import REQUEST_BYTES, RESPONSE_BYTES, TokenRequest
from protocol.token_challenge import TOKEN_TYPE

MAX_MEMBERS = 100
"""The largest pack that is sold; its request stays below 32 KiB."""

_ABSENT, _PRESENT = b"\0", b"\1"
_TYPE = TOKEN_TYPE.to_bytes(2, "big")
_ISSUED = _PRESENT + _TYPE


def encode_requests(requests: Sequence[TokenRequest]) -> bytes:
    """Return a batch of 1 to MAX_MEMBERS requests; ValueError for others."""
    if not 0 < len(requests) <= MAX_MEMBERS:
        raise ValueError(f"a batch has 1 to {MAX_MEMBERS} requests")
    return _sized(b"".join(request.encode() for request in requests))


def decode_requests(data: bytes) -> list[TokenRequest]:
    """Return the 1 to MAX_MEMBERS requests of a batch, or raise MalformedMessage."""
    members = _content(data, MAX_MEMBERS * REQUEST_BYTES)
    if not members or len(members) % REQUEST_BYTES:
        raise MalformedMessage("a batch that is not of whole requests")
    starts = range(0, len(members), REQUEST_BYTES)
    return [TokenRequest.decode(members[at : at + REQUEST_BYTES]) for at in starts]


def encode_responses(responses: Sequence[bytes | None]) -> bytes:
    """Return the answer to a batch, in its order; None where no token is issued."""
    if any(response is not None and len(response) != RESPONSE_BYTES for response in responses):
        raise ValueError("a TokenResponse has 256 octets")
    return _sized(b"".join(_ABSENT if each is None else _ISSUED + each for each in responses))


def decode_responses(data: bytes, count: int) -> list[bytes | None]:
    """Return the answers to a batch of `count` requests; MalformedMessage for any other number."""
    members = _content(data, count * (len(_ISSUED) + RESPONSE_BYTES))
    responses: list[bytes | None] = []
    at = 0
    while at < len(members):
        response, at = _response(members, at)
        responses.append(response)
    if len(responses) != count:
        raise MalformedMessage("a batch of another number of answers")
    return responses


def _response(members: bytes, at: int) -> tuple[bytes | None, int]:
    if members[at : at + 1] == _ABSENT:
        return None, at + 1
    start = at + len(_ISSUED)
    end = start + RESPONSE_BYTES
    if members[at:start] != _ISSUED or end > len(members):
        raise MalformedMessage("not an answer with a token of type 2")
    return members[start:end], end


def _sized(members: bytes) -> bytes:
    return varint.encode(len(members)) + members


def _content(data: bytes, most: int) -> bytes:
    """Return all that stands behind the length, which is in its shortest form."""
    size, start = varint.decode(data, 0)
    if size > most or data[:start] != varint.encode(size) or len(data) != start + size:
        raise MalformedMessage("a batch of another length than it says")
    return data[start:]
