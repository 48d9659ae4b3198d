"""What is looked at, in which order, and what a refusal says."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from enclave_server.payment import nullifier as nullifiers
from enclave_server.payment.gate import Gate, Presented
from enclave_server.payment.hold import State
from enclave_server.payment.nullifier import LABEL
from enclave_server.payment.refusals import Refusal, Refused
from protocol.private_token import Token
from protocol.token_catalogue import Catalogue
from protocol.token_fields import decode_challenges, encode_authorization
from tests.support.minting import paying_with
from tests.support.paid_service import (
    MINT,
    MODELS,
    NOW,
    Clock,
    Counted,
    CountingStore,
    memory_store,
)
from tests.support.private_tokens import PRICES, WEEK

C1, C4, C16, C64 = PRICES
CATALOGUE = MINT.catalogue(MODELS)


class Asked:
    """A gate over a memory, and what it counts."""

    def __init__(self, catalogue: Catalogue = CATALOGUE, key: bytes | None = LABEL) -> None:
        self.clock = Clock()
        self.counted = Counted()
        self.store = CountingStore(memory_store(self.clock))
        self.gate = Gate(
            catalogue, self.store, lambda: key, self.counted.tally, skew=10, clock=self.clock
        )

    def look(self, *values: bytes) -> Presented:
        return self.gate.look(tuple((b"authorization", value) for value in values))

    def refused(self, presented: Presented, price: int = 0) -> Refused:
        with pytest.raises(Refused) as caught:
            asyncio.run(self.gate.hold(presented, PRICES[price]))
        return caught.value


def presented(token: Token) -> Presented:
    return Asked().gate.look((paying_with(token),))


def test_a_token_is_looked_at_and_held() -> None:
    asked, token = Asked(), MINT.token(C4)
    seen = asked.look(encode_authorization(token))
    assert (seen.refusal, seen.token, seen.price) == (None, token, C4)
    assert asked.store.done == []
    hold = asyncio.run(asked.gate.hold(seen, C4))
    assert hold.state is State.HELD
    assert asked.store.done == ["hold"]
    assert asked.refused(seen).refusal is Refusal.IN_USE
    hold.commit()
    assert asked.refused(seen).refusal is Refusal.SPENT
    asked.store.done.clear()
    asyncio.run(asked.gate.close())
    assert asked.store.done == ["close"]


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ([], Refusal.REQUIRED),
        ([b""], Refusal.REQUIRED),
        ([b"Bearer x"], Refusal.REQUIRED),
        ([b"Basic x", b"Bearer x"], Refusal.REQUIRED),
        ([b"PrivateToken"], Refusal.INVALID),
        ([b"PRIVATETOKEN token=x"], Refusal.INVALID),
        ([b"Bearer x", b"PrivateToken token=x"], Refusal.INVALID),
    ],
)
def test_what_is_no_token(values: Sequence[bytes], refusal: Refusal) -> None:
    seen = Asked().look(*values)
    assert (seen.refusal, seen.token, seen.price) == (refusal, None, None)
    assert Asked().refused(seen).refusal is refusal


def test_a_token_in_quotes_is_read() -> None:
    value = encode_authorization(MINT.token()).replace(b"token=", b'token="') + b'"'
    assert Asked().look(value).price == C1


def test_what_costs_nothing_comes_first() -> None:
    """Time before challenge before size before signature before the store."""
    asked, token = Asked(), MINT.token(digest=bytes(32))
    bad = replace(token, authenticator=bytes(256))
    asked.clock.now = NOW + 40 * WEEK
    assert asked.refused(presented(bad), 1).refusal is Refusal.EXPIRED
    asked.clock.now = NOW
    assert asked.refused(presented(bad), 1).refusal is Refusal.INVALID
    forged = replace(MINT.token(), authenticator=bytes(256))
    assert asked.refused(presented(forged), 1).refusal is Refusal.TOO_SMALL
    assert asked.refused(presented(forged), 0).refusal is Refusal.INVALID
    assert asked.store.done == []


def test_outcomes_are_counted_and_tokens_that_are_missing_are_not() -> None:
    asked, token = Asked(), presented(MINT.token())
    asked.refused(Presented(Refusal.REQUIRED))
    assert asked.counted.counts == {}
    asked.refused(Presented(Refusal.INVALID))
    asked.refused(token, 1)
    asyncio.run(asked.gate.hold(token, C1))
    asked.refused(token)
    assert asked.counted.counts == {
        "refused_invalid": 1,
        "refused_small": 1,
        "refused_spent": 1,
    }


def test_without_the_key_of_nullifiers_nothing_is_known() -> None:
    refused = Asked(key=None).refused(presented(MINT.token()))
    assert (refused.refusal, refused.fields) == (Refusal.UNAVAILABLE, ((b"retry-after", b"5"),))


def test_a_token_is_known_by_its_nullifier() -> None:
    asked, token = Asked(), MINT.token()
    names: list[bytes] = []
    hold = asked.store.hold

    async def noting(nullifier: bytes) -> bytes:
        names.append(nullifier)
        return await hold(nullifier)

    asked.store.hold = noting  # type: ignore[method-assign]
    asyncio.run(asked.gate.hold(presented(token), C1))
    assert names == [nullifiers.nullifier(LABEL, token)]


@pytest.mark.parametrize("price", range(4))
def test_a_challenge_names_the_key_of_what_suffices(price: int) -> None:
    asked = Asked()
    fields = dict(asked.refused(Presented(Refusal.REQUIRED), price).fields)
    assert set(fields) == {b"www-authenticate"}
    (challenge,) = decode_challenges(fields[b"www-authenticate"])
    key = CATALOGUE.issuing(PRICES[price], NOW)
    assert key is not None
    assert challenge.challenge == CATALOGUE.challenge.encode()
    assert challenge.token_key == key.key.spki
    assert challenge.max_age == int(key.epoch.issue_until - NOW)


def test_all_challenges_have_one_size() -> None:
    asked = Asked()
    sizes = set()
    for price in range(4):
        for moment in (NOW, NOW + 86400, MINT.epochs[0].issue_until - 1_000_000):
            asked.clock.now = moment
            refused = asked.refused(Presented(Refusal.REQUIRED), price)
            sizes.add(len(dict(refused.fields)[b"www-authenticate"]))
    assert sizes == {len(dict(refused.fields)[b"www-authenticate"])}


def test_what_expired_is_told_the_time() -> None:
    asked = Asked()
    asked.clock.now = MINT.epochs[0].redeem_until + 10
    fields = dict(asked.refused(presented(MINT.token())).fields)
    assert fields[b"date"] == b"Tue, 13 Nov 2096 07:06:50 GMT"


@pytest.mark.parametrize(("offset", "is_taken"), [(9.9, True), (10, False)])
def test_a_clock_may_be_off_by_so_much(offset: float, is_taken: bool) -> None:
    asked = Asked()
    asked.clock.now = MINT.epochs[0].redeem_until + offset
    if is_taken:
        asyncio.run(asked.gate.hold(presented(MINT.token()), C1))
    else:
        assert asked.refused(presented(MINT.token())).refusal is Refusal.EXPIRED


def test_nothing_of_a_token_is_printed() -> None:
    token = MINT.token()
    for printed in (repr(presented(token)), str(Refused(Refusal.SPENT))):
        assert token.nonce.hex() not in printed
        assert repr(token.nonce)[2:10] not in printed
