"""What a buyer asks for: a request for one token, or for a batch of them, strictly read.

The order of steps is that of the issuer's: read, then have the ledger take the price, then sign.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from protocol.blind_rsa import read_residue
from protocol.errors import ProtocolError
from protocol.private_token import TokenRequest
from protocol.registry import (
    TOKEN_BATCH_REQUEST,
    TOKEN_BATCH_RESPONSE,
    TOKEN_REQUEST,
    TOKEN_RESPONSE,
)
from protocol.token_batch import decode_requests, encode_responses
from token_issuer.key_ring import IssuingKey, KeyRing
from token_issuer.ledger import Purchase
from token_issuer.refusals import Refusal

MAX_ORDER_BYTES = 32 * 1024
"""A batch of a hundred has 25,904."""


@dataclass(frozen=True, slots=True)
class Order:
    """Tokens that somebody wants, each with the key that would sign it."""

    reference: str
    """SHA-256 of the request, in hexadecimal: the same request is paid for once, ever."""
    members: tuple[tuple[TokenRequest, IssuingKey], ...] = field(repr=False)
    answer_type: str
    """The media type of the answer."""

    @property
    def counts(self) -> Mapping[IssuingKey, int]:
        """How many tokens each key is to sign."""
        return Counter(key for _, key in self.members)

    def purchase(self, now: float) -> Purchase:
        """Return what the ledger is told of it."""
        counts = self.counts
        units = {key.entry.price.units for key in counts}
        return Purchase(
            reference=self.reference,
            price=sum(key.entry.price.units * count for key, count in counts.items()),
            tokens={key.entry.key.key_id.hex(): count for key, count in counts.items()},
            only_price_point=units.pop() if len(units) == 1 else None,
            is_issuing=all(key.issues(now) for key in counts),
        )

    def sign(self) -> bytes:
        """Return the answer's octets, the same ones each time; ArithmeticError if a key failed."""
        responses = [
            asked.answer(key.entry.key, key.private_operation) for asked, key in self.members
        ]
        if self.answer_type == TOKEN_RESPONSE.decode():
            return responses[0]
        return encode_responses(responses)


def read_order(media_type: bytes, body: bytes, ring: KeyRing) -> Order:
    """Return the order in a request's body; Refusal with 415 or 422 for what is none."""
    try:
        if media_type == TOKEN_REQUEST:
            requests, answered = [TokenRequest.decode(body)], TOKEN_RESPONSE
        elif media_type == TOKEN_BATCH_REQUEST:
            requests, answered = decode_requests(body), TOKEN_BATCH_RESPONSE
        else:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        members = tuple((each, _key(each, ring)) for each in requests)
    except ProtocolError:
        raise unprocessable() from None
    return Order(hashlib.sha256(body).hexdigest(), members, answered.decode())


def unprocessable() -> Refusal:
    """Return the answer to a request that no key of now signs (RFC 9578, Section 6.2)."""
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY)


def _key(asked: TokenRequest, ring: KeyRing) -> IssuingKey:
    key = ring.find(asked.truncated_key_id)
    if key is None:
        raise unprocessable()
    # Here already, so that nothing is paid for that cannot be signed.
    read_residue(key.entry.key.public_key, asked.blinded_message)
    return key
