"""What an issuer sees of purchases fits every token alike, and order and time tell it little more.

Each request hides a token behind a random factor. For any request with its answer and any token of
the same key there is a factor that joins the two, so that what an issuer keeps singles out none.
What is left to it are orders and times: a matcher that uses them all does as well as chance.
"""

import random
import secrets
import statistics
from collections.abc import Callable, Sequence

import pytest

from protocol.blind_rsa import encode_pss
from protocol.private_token import PendingToken, Token, TokenRequest, request_token
from tests.support.private_tokens import ISSUER, KEY, SIGN

N = KEY.public_key.public_numbers().n
E = KEY.public_key.public_numbers().e
DIGEST = bytes(32)

Sold = tuple[TokenRequest, bytes, Token]
"""What an issuer has of a purchase, and the token that came of it."""


def sell() -> Sold:
    request, pending = request_token(KEY, DIGEST)
    answer = request.answer(KEY, SIGN)
    return request, answer, pending.finalize(answer)


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def joins(request: TokenRequest, answer: bytes, token: Token) -> bool:
    """Whether some factor blinds the token's message into the request and opens its answer."""
    signature = number(token.authenticator)
    factor = number(answer) * pow(signature, -1, N) % N
    message = pow(signature, E, N)  # EMSA-PSS of the token, whatever its salt
    return message * pow(factor, E, N) % N == number(request.blinded_message)


def test_every_request_could_be_of_every_token() -> None:
    sold = [sell() for _ in range(12)]
    assert all(joins(request, answer, token) for request, answer, _ in sold for *_, token in sold)


def test_a_wrong_answer_joins_nothing() -> None:
    (request, answer, token), (other, *_) = sell(), sell()
    assert not joins(request, number_up(answer), token)
    assert not joins(other, answer, token)


def number_up(answer: bytes) -> bytes:
    return ((number(answer) + 1) % N).to_bytes(256, "big")


def test_the_message_that_is_joined_is_the_tokens_own() -> None:
    """EMSA-PSS of the token with some salt, as RFC 8017, Section 9.1.1, has it."""
    nonce, salt = bytes(range(32)), bytes(48)
    pieces = iter((nonce, salt, b"\1" * 256))
    request, pending = request_token(KEY, DIGEST, random=lambda _: next(pieces))
    token = pending.finalize(request.answer(KEY, SIGN))
    message = pow(number(token.authenticator), E, N)
    assert message.to_bytes(256, "big") == encode_pss(token.token_input, 2047, salt)


def test_nothing_of_a_token_stands_in_its_purchase() -> None:
    for request, answer, token in (sell() for _ in range(20)):
        seen = request.encode() + answer
        for part in (token.nonce, token.authenticator, token.authenticator[:16]):
            assert part not in seen


def test_a_request_is_as_random_as_octets_are() -> None:
    """The mean of octets in the middle of requests; a bias of one in a hundred would fail."""
    blinded = [request_token(KEY, DIGEST)[0].blinded_message[64:192] for _ in range(200)]
    mean = statistics.fmean(octet for message in blinded for octet in message)
    assert abs(mean - 127.5) < 2.5  # six standard deviations of 25,600 octets


# Times: what a matcher makes of purchases and redemptions.

BUYERS = 1000
WEEKS = 4.0
"""Within which a token is spent after its purchase, at any moment as likely as at any other."""


class History:
    """When each buyer bought a token, and when it was spent, in weeks."""

    def __init__(self, source: random.Random, *, delay: float = WEEKS) -> None:
        bought = sorted(source.uniform(0, 1) for _ in range(BUYERS))
        self.bought, self.delay = bought, delay
        self.spent = [each + source.uniform(0, delay) for each in bought]
        self.order = sorted(range(BUYERS), key=self.spent.__getitem__)
        """The buyer of each redemption, in the order in which a gateway sees them."""


def by_order(history: History) -> list[int]:
    """Guess that what was bought first is spent first."""
    return list(range(BUYERS))


def by_nearest(history: History) -> list[int]:
    """Guess for each redemption a purchase that fits it best and is not yet taken."""
    guesses, free = [], list(range(BUYERS))
    for buyer in history.order:
        moment = history.spent[buyer] - history.delay / 2
        best = min(free, key=lambda each: abs(history.bought[each] - moment))
        free.remove(best)
        guesses.append(best)
    return guesses


def by_recency(history: History) -> list[int]:
    """Guess the latest purchase of before that is not yet taken."""
    guesses, free = [], list(range(BUYERS))
    for buyer in history.order:
        before = [each for each in free if history.bought[each] <= history.spent[buyer]]
        best = before[-1] if before else free[0]
        free.remove(best)
        guesses.append(best)
    return guesses


def hits(history: History, guesses: list[int]) -> float:
    """Return which part of the redemptions was given to its buyer."""
    pairs = zip(history.order, guesses, strict=True)
    return sum(buyer == guess for buyer, guess in pairs) / BUYERS


Matcher = Callable[[History], list[int]]
MATCHERS = pytest.mark.parametrize("matcher", [by_order, by_nearest, by_recency])


@MATCHERS
def test_a_matcher_of_times_does_as_well_as_chance(matcher: Matcher) -> None:
    """Chance is one in a thousand; two points more would be too many."""
    histories = [History(random.Random(seed)) for seed in range(3)]
    rates = [hits(history, matcher(history)) for history in histories]
    assert statistics.fmean(rates) < 1 / BUYERS + 0.02


@MATCHERS
def test_the_same_matcher_finds_those_that_spend_at_once(matcher: Matcher) -> None:
    """Else the test above would show nothing: what is spent at once gives its buyer away."""
    history = History(random.Random(1), delay=1e-7)
    assert hits(history, matcher(history)) > 0.9


# Octets: what a matcher makes of blinded messages and tokens.


def by_rank(blinded: Sequence[int], signed: Sequence[int]) -> float:
    """Pair the n-th of both by their numbers; return which part is right."""
    one, other = (sorted(range(BUYERS), key=of.__getitem__) for of in (blinded, signed))
    return sum(a == b for a, b in zip(one, other, strict=True)) / BUYERS


def seen(random: Callable[[int], bytes]) -> tuple[list[int], list[int]]:
    """Return what the issuer sees of each purchase, and what anybody can tell of its token."""
    pairs = [request_token(KEY, DIGEST, random=random) for _ in range(BUYERS)]
    blinded = [number(request.blinded_message) for request, _ in pairs]
    opened = [pow(pending.inverse, E, N) for _, pending in pairs]
    return blinded, [one * other % N for one, other in zip(blinded, opened, strict=True)]


def test_a_matcher_of_octets_does_as_well_as_chance_and_finds_what_is_not_blinded() -> None:
    assert by_rank(*seen(secrets.token_bytes)) < 1 / BUYERS + 0.02
    one = (1).to_bytes(256, "big")  # as a factor it hides nothing
    assert by_rank(*seen(lambda size: one if size == 256 else secrets.token_bytes(size))) == 1


def test_an_issuer_that_knows_the_inverse_would_find_the_token() -> None:
    """What the wallet deletes when a token comes is what would tie it to its purchase."""
    sold = [request_token(KEY, DIGEST) for _ in range(5)]
    tokens = [pending.finalize(request.answer(KEY, SIGN)) for request, pending in sold]
    request, pending = sold[3]
    opened = number(request.answer(KEY, SIGN)) * pending.inverse % N
    assert [number(token.authenticator) == opened for token in tokens].index(True) == 3
    assert isinstance(pending, PendingToken)
    assert ISSUER.key_size == 2048
