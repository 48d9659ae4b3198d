"""Questions with tokens over the transports: which tokens leave, and what is left of them."""

import asyncio
import contextlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from oblivious_client.cache import EvidenceCache
from oblivious_client.client import AsyncObliviousClient, ObliviousClient
from oblivious_client.errors import (
    AnswerTruncated,
    EvidenceRefused,
    NoConnection,
    NoToken,
    OuterRefusal,
    ServiceError,
    TokenRefused,
)
from oblivious_client.exits import Exit
from oblivious_client.paying import AsyncPaidStream, Begun, PaidStream
from oblivious_client.policy import Policy, Simulated
from oblivious_client.sealing import Framing
from oblivious_client.wallet import Wallet
from protocol.binary_http import ResponseHead
from protocol.evidence import Evidence
from protocol.registry import KEY_PROBLEM
from protocol.token_prices import Tariff
from tests.support.gateway import MODEL, PROBLEM, WORDS, Plain, StandInGateway
from tests.support.minting import TARIFF
from tests.support.toll import RETURNED, Refusal, Toll
from tests.support.wallets import C4, MINT, Clock, counts, fill, octets_of, total

ALLOWED = Policy(simulated=Simulated.ALLOWED)
ANSWER = "".join(WORDS)
QUESTION = "What is the capital of France?"
MODELS = {MODEL: TARIFF, "free": Tariff({})}

Ask = Callable[..., str]


@pytest.fixture
def toll() -> Toll:
    return Toll(MINT.catalogue(MODELS))


@pytest.fixture
def gateway(toll: Toll) -> Iterator[StandInGateway]:
    with StandInGateway(toll=toll) as running:
        yield running


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3", clock=Clock())


def whole(url: str, **options: Any) -> str:
    with ObliviousClient(url, policy=ALLOWED, **options) as client:
        return client.chat(QUESTION, model=MODEL).text


def streamed(url: str, **options: Any) -> str:
    with ObliviousClient(url, policy=ALLOWED, **options) as client:
        return "".join(client.stream(QUESTION, model=MODEL))


def whole_in_a_loop(url: str, **options: Any) -> str:
    async def run() -> str:
        async with AsyncObliviousClient(url, policy=ALLOWED, **options) as client:
            return (await client.chat(QUESTION, model=MODEL)).text

    return asyncio.run(run())


def streamed_in_a_loop(url: str, **options: Any) -> str:
    async def run() -> str:
        async with AsyncObliviousClient(url, policy=ALLOWED, **options) as client:
            stream = await client.stream(QUESTION, model=MODEL)
            return "".join([text async for text in stream])

    return asyncio.run(run())


WAYS = pytest.mark.parametrize("ask", [whole, streamed, whole_in_a_loop, streamed_in_a_loop])


@WAYS
def test_a_question_takes_a_token(
    ask: Ask, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    tokens = fill(wallet, 3)
    assert ask(gateway.url, wallet=wallet) == ANSWER
    assert len(toll.spent) == 1
    assert toll.spent[0] in tokens
    assert counts(wallet) == (2, 0, 0, 0)
    assert toll.spent[0].nonce not in octets_of(wallet)


@pytest.mark.parametrize("framing", list(Framing))
def test_a_token_leaves_in_either_framing(
    framing: Framing, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 1)
    assert whole(gateway.url, wallet=wallet, framing=framing) == ANSWER
    assert len(toll.spent) == 1


def test_nothing_of_it_shows_on_the_way(
    gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 3)
    for _ in range(2):
        whole(gateway.url, wallet=wallet)
    shown = b"".join(repr(each).encode() + each.body for each in gateway.arrived)
    assert not any(token.nonce in shown or token.authenticator in shown for token in toll.spent)
    assert all(each.field("authorization") is None for each in gateway.arrived)
    assert len({len(each.body) for each in gateway.posts()}) == 1


def test_what_is_free_takes_none(gateway: StandInGateway, toll: Toll, wallet: Wallet) -> None:
    toll.catalogue = MINT.catalogue({MODEL: Tariff({})})
    fill(wallet, 1)
    assert whole(gateway.url, wallet=wallet) == ANSWER
    with ObliviousClient(gateway.url, policy=ALLOWED, wallet=wallet) as client:
        assert client.models() == [MODEL]
    assert toll.seen == []
    assert counts(wallet) == (1, 0, 0, 0)


def test_a_gateway_that_takes_none_is_asked_as_before(wallet: Wallet) -> None:
    fill(wallet, 1)
    with StandInGateway() as gateway:
        assert whole(gateway.url, wallet=wallet) == ANSWER
        assert whole(gateway.url) == ANSWER
        fields = [name for request in gateway.chat.inner for name, _ in request.headers]
    assert b"authorization" not in fields
    assert counts(wallet) == (1, 0, 0, 0)


@WAYS
def test_without_a_token_nothing_is_sent(ask: Ask, gateway: StandInGateway, wallet: Wallet) -> None:
    for given in ({"wallet": wallet}, {}):
        with pytest.raises(NoToken):
            ask(gateway.url, **given)
    assert gateway.posts() == []


def test_the_dearest_price_is_held(gateway: StandInGateway, toll: Toll, wallet: Wallet) -> None:
    fill(wallet, 1, C4)
    with pytest.raises(NoToken):
        whole(gateway.url, wallet=wallet, max_price="c1")
    assert whole(gateway.url, wallet=wallet, max_price="c4") == ANSWER


# Refusals.


@WAYS
@pytest.mark.parametrize("code", ["token_spent", "token_invalid", "token_expired"])
def test_a_refused_token_is_dropped_and_another_is_tried(
    ask: Ask, code: str, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 3)
    toll.script = [Refusal(401, code, ((b"www-authenticate", b"PrivateToken"),))] * 2
    assert ask(gateway.url, wallet=wallet) == ANSWER
    assert len(set(toll.seen)) == len(gateway.posts()) == 3
    assert total(wallet) == 0


@WAYS
def test_a_token_that_somebody_holds_is_kept_and_another_is_tried(
    ask: Ask, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 3)
    toll.script = [Refusal(409, "token_in_use", ((b"retry-after", b"30"),))]
    assert ask(gateway.url, wallet=wallet) == ANSWER
    assert counts(wallet) == (1, 0, 0, 1)


@WAYS
def test_after_two_others_it_is_given_up(
    ask: Ask, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 5)
    toll.script = [Refusal(401, "token_invalid")] * 9
    with pytest.raises(TokenRefused):
        ask(gateway.url, wallet=wallet)
    assert len(gateway.posts()) == 3
    assert counts(wallet) == (2, 0, 0, 0)


@WAYS
@pytest.mark.parametrize(
    ("refusal", "found"),
    [
        (RETURNED, (2, 1, 0, 0)),
        (Refusal(502, "upstream_failed", ((b"privatetoken-status", b"spent"),)), (2, 0, 0, 0)),
        (Refusal(503, "token_store_unavailable"), (2, 0, 0, 1)),
        (Refusal(402, "token_too_small"), (2, 1, 0, 0)),
        (Refusal(400, "budget_exceeded"), (2, 1, 0, 0)),
        (Refusal(409, None, (), b"application/problem+json"), (2, 0, 0, 1)),
    ],
)
def test_no_other_refusal_is_tried_again(
    ask: Ask,
    refusal: Refusal,
    found: tuple[int, int, int, int],
    gateway: StandInGateway,
    toll: Toll,
    wallet: Wallet,
) -> None:
    fill(wallet, 3)
    toll.script = [refusal]
    with pytest.raises(ServiceError) as caught:
        ask(gateway.url, wallet=wallet)
    assert caught.value.status == refusal.status
    assert len(gateway.posts()) == 1
    assert counts(wallet) == found


def test_whether_to_try_again_reaches_an_sdk(
    gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 1)
    toll.script = [Refusal(502, None, ((b"x-should-retry", b"false"), (b"other", b"1")))]
    with ObliviousClient(gateway.url, policy=ALLOWED, wallet=wallet) as client:
        asked = {"model": MODEL, "messages": []}
        response = client._http.post("https://sealed.invalid/v1/chat/completions", json=asked)
    assert response.headers["x-should-retry"] == "false"
    assert "other" not in response.headers


@WAYS
def test_a_gateway_that_wants_a_token_and_names_no_keys_is_told_of(
    ask: Ask, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 1)
    toll.is_hidden = True
    with pytest.raises(TokenRefused, match="its evidence names no issuer"):
        ask(gateway.url, wallet=wallet)
    assert counts(wallet) == (1, 0, 0, 0)


def test_a_copied_wallet_pays_for_nothing_twice_and_loses_nothing(
    gateway: StandInGateway, toll: Toll, wallet: Wallet, tmp_path: Path
) -> None:
    tokens = fill(wallet, 6)
    copied = tmp_path / "copied.sqlite3"
    shutil.copy(wallet.file.path, copied)
    copy, answers = Wallet(copied, clock=Clock()), 0
    for each in (wallet, copy) * len(tokens):
        with contextlib.suppress(NoToken, TokenRefused):
            answers += whole(gateway.url, wallet=each) == ANSWER
    assert total(wallet) == total(copy) == 0
    assert answers == len(tokens)
    assert Counter(toll.spent) == Counter(tokens)
    refused = [each for of in (wallet, copy) for each in of.refusals()]
    assert {each.code for each in refused} == {"token_spent"}
    assert sum(each.count for each in refused) == len(tokens)  # each by whoever came second


# Failures on the way.


@WAYS
def test_a_gateway_without_the_key_gets_the_same_token_again(
    ask: Ask, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 3)
    gateway.rotate()
    stale = gateway.evidence()
    gateway.faults.evidence = lambda fresh: stale if len(gateway.posts()) == 0 else fresh
    gateway.rotate()
    assert ask(gateway.url, wallet=wallet) == ANSWER
    assert len(gateway.posts()) == 2
    assert len(toll.seen) == len(toll.spent) == 1
    assert counts(wallet) == (2, 0, 0, 0)


@WAYS
def test_a_question_whose_answer_was_kept_is_not_paid_for_twice(
    ask: Ask, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    """A relay that passes a question on and says 422 all the same."""
    fill(wallet, 3)
    problem = Plain(422, PROBLEM, json.dumps({"type": KEY_PROBLEM}).encode())
    gateway.faults.outer = [problem]
    toll.script = [Refusal(401, "token_spent")]  # as the first copy was answered
    with pytest.raises(TokenRefused, match="kept the answer"):
        ask(gateway.url, wallet=wallet)
    assert len(gateway.posts()) == 2
    assert counts(wallet) == (2, 0, 0, 0)


@WAYS
@pytest.mark.parametrize(("status", "found"), [(503, (0, 1, 0, 0)), (502, (0, 0, 0, 1))])
def test_an_outer_refusal(
    ask: Ask,
    status: int,
    found: tuple[int, int, int, int],
    gateway: StandInGateway,
    wallet: Wallet,
) -> None:
    fill(wallet, 1)
    gateway.faults.outer = [Plain(status, PROBLEM, b"{}")]
    with pytest.raises(OuterRefusal):
        ask(gateway.url, wallet=wallet)
    assert counts(wallet) == found


@WAYS
def test_a_relay_that_keeps_an_answer_and_says_503_makes_nobody_else_look_guilty(
    ask: Ask, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    """Its 503 is no proof that a token never left: that it is spent then proves nothing."""
    fill(wallet, 1)
    gateway.faults.outer = [Plain(503, PROBLEM, b"{}")]
    with pytest.raises(OuterRefusal):
        ask(gateway.url, wallet=wallet)
    toll.script = [Refusal(401, "token_spent")]  # as what was passed on was answered
    with pytest.raises(TokenRefused):
        ask(gateway.url, wallet=wallet)
    assert counts(wallet) == (0, 0, 0, 0)
    assert wallet.refusals() == []


@WAYS
def test_nobody_there(ask: Ask, toll: Toll, wallet: Wallet, tmp_path: Path) -> None:
    fill(wallet, 1)
    cache = EvidenceCache(tmp_path / "cache")
    with (
        StandInGateway(toll=toll) as gateway,
        ObliviousClient(gateway.url, policy=ALLOWED, cache=cache) as client,
    ):
        client.evidence()
    with pytest.raises(NoConnection):
        ask(gateway.url, wallet=wallet, cache=cache)
    assert counts(wallet) == (1, 0, 0, 0)


@WAYS
def test_an_answer_that_is_cut(ask: Ask, gateway: StandInGateway, wallet: Wallet) -> None:
    fill(wallet, 1)
    gateway.faults.cut_after = 1
    with pytest.raises(AnswerTruncated):
        ask(gateway.url, wallet=wallet)
    assert counts(wallet) == (0, 0, 0, 1)


@pytest.mark.parametrize("ask", [streamed, streamed_in_a_loop])
def test_a_stream_that_fails_before_its_first_word_gives_the_token_back(
    ask: Ask, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 1)
    toll.breaks_streams = True
    with pytest.raises(ServiceError):
        ask(gateway.url, wallet=wallet)
    assert counts(wallet) == (0, 1, 0, 0)


def test_who_hangs_up_has_spent_a_token(gateway: StandInGateway, wallet: Wallet) -> None:
    fill(wallet, 1)
    gateway.chat.release.clear()
    with ObliviousClient(gateway.url, policy=ALLOWED, wallet=wallet) as client:
        stream = client.stream(QUESTION, model=MODEL)
        assert counts(wallet) == (0, 0, 1, 0)
        stream.close()
    assert counts(wallet) == (0, 0, 0, 0)


def test_who_is_cancelled_before_an_answer_does_not_know(
    gateway: StandInGateway, wallet: Wallet
) -> None:
    fill(wallet, 1)
    cancelled = threading.Event()

    def stalled(_: list[bytes]) -> list[bytes]:
        cancelled.wait(60)  # the answer does not begin before
        return []

    gateway.faults.pieces = stalled

    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED, wallet=wallet) as client:
            asking = asyncio.create_task(client.chat(QUESTION, model=MODEL))
            while not gateway.posts():
                await asyncio.sleep(0.01)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    try:
        asyncio.run(run())
    finally:
        cancelled.set()
    assert counts(wallet) == (0, 0, 0, 1)


def test_who_is_cancelled_within_a_stream_has_spent_a_token(
    gateway: StandInGateway, wallet: Wallet
) -> None:
    fill(wallet, 1)
    gateway.chat.release.clear()

    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED, wallet=wallet) as client:
            stream = await client.stream(QUESTION, model=MODEL)
            begun = asyncio.Event()

            async def read() -> None:
                async for _ in stream:
                    begun.set()

            reading = asyncio.create_task(read())
            await begun.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

    asyncio.run(run())
    assert counts(wallet) == (0, 0, 0, 0)


# The catalogue.


@pytest.mark.parametrize("ask", [whole, whole_in_a_loop])
def test_a_catalogue_that_is_not_the_attested_one_is_refused(
    ask: Ask, gateway: StandInGateway, wallet: Wallet
) -> None:
    fill(wallet, 1)

    def other(evidence: Evidence) -> Evidence:
        octets = bytearray(evidence.token_catalogue or b"")
        octets[octets.index(b"issuer.example") + 3] ^= 1
        return replace(evidence, token_catalogue=bytes(octets))

    def without(evidence: Evidence) -> Evidence:
        return replace(evidence, token_catalogue=None)

    for fault in (other, without):
        gateway.faults.evidence = fault
        with pytest.raises(EvidenceRefused) as caught:
            ask(gateway.url, wallet=wallet)
        assert caught.value.code is Exit.CATALOGUE
    assert gateway.posts() == []
    assert counts(wallet) == (1, 0, 0, 0)


def test_a_catalogue_that_would_tell_buyers_apart_is_refused_though_attested(
    gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    members = json.loads(toll.catalogue.encode())
    members["keys"][0]["redeem_until"] += 1

    class Bad:
        challenge = toll.catalogue.challenge
        models = toll.catalogue.models

        def encode(self) -> bytes:
            return json.dumps(members).encode()

    toll.catalogue = Bad()  # type: ignore[assignment]
    with pytest.raises(EvidenceRefused) as caught:
        whole(gateway.url, wallet=wallet)
    assert caught.value.code is Exit.CATALOGUE


def test_what_is_printed_of_an_answer_shows_no_word() -> None:
    begun = Begun(ResponseHead(200), b"Paris", is_stream=False, response=httpx.Response(200))
    assert "Paris" not in repr(begun)


class Settled:
    """A payment that remembers how it was settled."""

    def __init__(self) -> None:
        self.how: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None if name == "take" else self.how.append(name)


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A stream of one piece, and then what is raised, if anything is."""

    def __init__(self, ends: BaseException | None) -> None:
        self.ends = ends

    def __iter__(self) -> Iterator[bytes]:
        yield b"Paris"
        if self.ends is not None:
            raise self.ends

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def read_through(stream: Pieces, payment: Any) -> list[bytes]:
    return list(PaidStream(stream, payment))


def read_through_in_a_loop(stream: Pieces, payment: Any) -> list[bytes]:
    async def run() -> list[bytes]:
        return [piece async for piece in AsyncPaidStream(stream, payment)]

    return asyncio.run(run())


@pytest.mark.parametrize("read", [read_through, read_through_in_a_loop])
@pytest.mark.parametrize(
    ("ends", "how"),
    [
        (None, ["end"]),
        (AnswerTruncated(), ["break_off"]),
        (GeneratorExit(), ["hang_up"]),
    ],
)
def test_how_a_stream_ends_is_told_to_who_reads_it_as_well(
    read: Callable[[Pieces, Any], list[bytes]], ends: BaseException | None, how: list[str]
) -> None:
    payment = Settled()
    if ends is None:
        assert read(Pieces(ends), payment) == [b"Paris"]
    else:
        with pytest.raises(type(ends)):
            read(Pieces(ends), payment)
    assert payment.how == how


def test_who_is_cancelled_in_a_stream_is_told_so() -> None:
    payment = Settled()
    with pytest.raises(asyncio.CancelledError):
        read_through_in_a_loop(Pieces(asyncio.CancelledError()), payment)
    assert payment.how == ["hang_up"]
