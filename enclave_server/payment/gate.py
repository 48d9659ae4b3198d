"""The gate: a request passes if a token that is large enough can be held for it.

    look     what the request presents, without a verdict: which price point it names, if any
    hold     the verdict, once the price of the request is known: first what costs nothing to see,
             then the signature, and last of all the store

What was looked at is nothing that could be spent: `hold` alone returns a Hold.
"""

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import NamedTuple

from enclave_server.payment.hold import Hold
from enclave_server.payment.nullifier import nullifier
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.payment.store import Store
from enclave_server.payment.tally import Outcome, Tally
from protocol.binary_http import Fields
from protocol.errors import MalformedMessage, ProtocolError
from protocol.private_token import Token
from protocol.token_catalogue import SKEW_SECONDS, Catalogue, CatalogueKey
from protocol.token_fields import SCHEME, PrivateTokenChallenge, decode_authorization
from protocol.token_prices import PricePoint

IN_USE_SECONDS = 30
"""What a client is told to wait for a token that another request holds."""

UNAVAILABLE_SECONDS = 5
"""What a client is told to wait for a store that does not answer."""

_AUTHORIZATION = b"authorization"
_SCHEME = SCHEME.lower()
_OUTCOMES = {
    Refusal.INVALID: Outcome.REFUSED_INVALID,
    Refusal.EXPIRED: Outcome.REFUSED_INVALID,
    Refusal.TOO_SMALL: Outcome.REFUSED_SMALL,
    Refusal.IN_USE: Outcome.REFUSED_SPENT,
    Refusal.SPENT: Outcome.REFUSED_SPENT,
    Refusal.UNAVAILABLE: Outcome.STORE_FAILED,
}
NullifierKey = Callable[[], bytes | None]
"""Returns the key of nullifiers, or None as long as it has not been handed over."""


class Presented(NamedTuple):
    """A token of a key that is known, or what is wrong with what was presented in its place."""

    refusal: Refusal | None = None
    token: Token | None = None
    key: CatalogueKey | None = None

    @property
    def price(self) -> PricePoint | None:
        """The price point that the token names; nothing is verified of it."""
        return None if self.key is None else self.key.price


class Gate:
    """Takes tokens of a catalogue and keeps to `store` which of them are spent."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        nullifier_key: NullifierKey,
        tally: Tally,
        *,
        skew: float = SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalogue, self._store, self.tally = catalogue, store, tally
        self._nullifier_key = nullifier_key
        self._skew, self._clock = skew, clock
        self._keys = {each.key.key_id: each for each in catalogue.keys}
        self._challenge = catalogue.challenge.encode()
        self._digest = catalogue.challenge.digest

    def look(self, fields: Fields) -> Presented:
        """Return what a request with these fields presents; their names are in lower case."""
        values = [value for name, value in fields if name == _AUTHORIZATION]
        try:
            token = decode_authorization(values)
        except MalformedMessage:
            named = any(value[: len(_SCHEME)].lower() == _SCHEME for value in values)
            return Presented(Refusal.INVALID if named else Refusal.REQUIRED)
        key = self._keys.get(token.token_key_id)
        return Presented(Refusal.INVALID) if key is None else Presented(None, token, key)

    async def hold(self, presented: Presented, price: PricePoint) -> Hold:
        """Hold the token for a request that costs `price`; raises Refused."""
        try:
            token = self._verified(presented, price)
            key = self._nullifier_key()
            if key is None:
                raise Refused(Refusal.UNAVAILABLE)
            name = nullifier(key, token)
            return Hold(self._store, name, await self._store.hold(name))
        except Refused as refused:
            if (outcome := _OUTCOMES.get(refused.refusal)) is not None:
                self.tally.count(outcome)
            raise Refused(refused.refusal, self._fields(refused.refusal, price)) from None

    async def close(self) -> None:
        """Have the store do what is left to be done."""
        await self._store.close()

    def _verified(self, presented: Presented, price: PricePoint) -> Token:
        """Return a token that is good for `price`, as far as can be told without the store."""
        token, key = presented.token, presented.key
        if presented.refusal is not None or token is None or key is None:
            raise Refused(presented.refusal or Refusal.INVALID)
        if not key.epoch.redeems(self._clock(), self._skew):
            raise Refused(Refusal.EXPIRED)
        if token.challenge_digest != self._digest:  # which everybody knows
            raise Refused(Refusal.INVALID)
        if key.price.units < price.units:
            raise Refused(Refusal.TOO_SMALL)
        try:
            token.verify(key.key, self._digest)
        except ProtocolError:
            raise Refused(Refusal.INVALID) from None
        return token

    def _fields(self, refusal: Refusal, price: PricePoint) -> Fields:
        """Return what a client is told beside the case: of challenges one, as all else is a size.

        RFC 9577, Section 2.1: a challenge for a token that suffices.
        """
        now = self._clock()
        match refusal:
            case Refusal.IN_USE:
                return ((b"retry-after", b"%d" % IN_USE_SECONDS),)
            case Refusal.UNAVAILABLE:
                return ((b"retry-after", b"%d" % UNAVAILABLE_SECONDS),)
        fields: Fields = ((b"www-authenticate", self._challenge_for(price, now)),)
        if refusal is Refusal.EXPIRED:
            fields = (*fields, (b"date", formatdate(now, usegmt=True).encode()))
        return fields

    def _challenge_for(self, price: PricePoint, now: float) -> bytes:
        key = self._catalogue.issuing(price, now)
        if key is None:  # no more are sold
            return PrivateTokenChallenge(self._challenge).encode()
        age = int(key.epoch.issue_until - now)
        return PrivateTokenChallenge(self._challenge, key.key.spki, age).encode()
