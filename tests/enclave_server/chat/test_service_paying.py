"""What a token becomes with each outcome of a request, and what its client is told."""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enclave_server.chat.overrun import CHARACTERS_PER_TOKEN
from enclave_server.chat.paying import NO_RETRY, REJECTED_SECONDS, STATUS
from enclave_server.chat.profiles import PLAIN
from enclave_server.payment.nullifier import LABEL, nullifier
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.payment.store import Store
from protocol.binary_http import Response
from protocol.gateway import Answer, Delivery
from protocol.token_fields import decode_challenges
from protocol.token_prices import PricePoint
from tests.support.minting import BUDGETS, paying_with
from tests.support.paid_service import (
    LEASE,
    MINT,
    NOW,
    PATHS,
    Clock,
    PaidService,
    code_of,
    memory_store,
    redis_store,
    told,
)
from tests.support.private_tokens import PRICES, WEEK
from tests.support.redis_server import RedisServer, redis_server
from tests.support.upstream import (
    DONE,
    Behaviour,
    Exchange,
    StandInUpstream,
    answering,
    chunk_of,
    event,
    hanging_up,
    raw,
    sending,
    silent,
    stream_of,
    streaming,
    streaming_then_closing,
    streaming_without_end,
)

C1, C4, C16, C64 = PRICES
EMBEDDED = {"data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 1}}
Use = Callable[[PaidService], Awaitable[None]]


def run(use: Use, behaviour: Behaviour | None = None, **changes: Any) -> None:
    """Use a paid service whose upstream behaves so."""

    async def scenario() -> None:
        async with StandInUpstream(behaviour or answering()) as upstream:
            service = PaidService(upstream, **changes)
            try:
                await use(service)
            finally:
                await service.close()
        for _ in range(3):
            await asyncio.sleep(0)  # connections that were aborted are closed in later turns

    asyncio.run(scenario())


# What is refused: each row of the table, in each shape.


async def nothing(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    return ()


async def bearer(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"authorization", b"Bearer sk-anything"),)


async def two_tokens(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    return (MINT.field(), MINT.field())


async def a_token_and_a_bearer(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    return (MINT.field(), (b"authorization", b"Bearer sk-anything"))


async def cut(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    name, value = MINT.field()
    return ((name, value[:-1]),)


async def of_another_key(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    return (paying_with(replace(MINT.token(), token_key_id=bytes(32))),)


async def for_another_gateway(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    return (paying_with(MINT.token(digest=bytes(32))),)


async def forged(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    token = MINT.token()
    *others, last = token.authenticator
    return (paying_with(replace(token, authenticator=bytes([*others, last ^ 1]))),)


async def of_another_nonce(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    return (paying_with(replace(MINT.token(), nonce=bytes(32))),)


async def too_late(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    service.clock.now = MINT.epochs[0].redeem_until + 300
    return (MINT.field(),)


async def too_early(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    service.clock.now = MINT.epochs[1].issue_from - 300.5
    return (MINT.field(epoch=1),)


async def spent(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    token = MINT.field()
    assert (await service.whole(token)).status == 200
    return (token,)


async def held(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    token = MINT.token()
    await service.gate.hold(service.gate.look((paying_with(token),)), C1)
    return (paying_with(token),)


async def unknown(service: PaidService) -> tuple[tuple[bytes, bytes], ...]:
    async def fail(nullifier: bytes) -> bytes:
        raise Refused(Refusal.UNAVAILABLE)

    service.store.hold = fail  # type: ignore[method-assign]
    return (MINT.field(),)


ROWS = [
    (nothing, 401, "token_required"),
    (bearer, 401, "token_required"),
    (two_tokens, 401, "token_invalid"),
    (a_token_and_a_bearer, 401, "token_invalid"),
    (cut, 401, "token_invalid"),
    (of_another_key, 401, "token_invalid"),
    (for_another_gateway, 401, "token_invalid"),
    (forged, 401, "token_invalid"),
    (of_another_nonce, 401, "token_invalid"),
    (too_late, 401, "token_expired"),
    (too_early, 401, "token_expired"),
    (spent, 401, "token_spent"),
    (held, 409, "token_in_use"),
    (unknown, 503, "token_store_unavailable"),
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.decode().rpartition("/")[2])
@pytest.mark.parametrize(("present", "status", "code"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_each_refusal(
    path: bytes,
    present: Callable[[PaidService], Awaitable[tuple[tuple[bytes, bytes], ...]]],
    status: int,
    code: str,
) -> None:
    async def use(service: PaidService) -> None:
        fields = await present(service)
        asked = len(service.store.done)
        answer = await service.whole(*fields, path=path)
        assert (answer.status, code_of(answer)) == (status, code)
        fields_told = dict(answer.headers)
        assert (fields_told.pop(b"content-type"), STATUS in fields_told) == (
            b"application/json",
            False,
        )
        _check_fields(fields_told, status, code, service.clock.now)
        body = json.loads(answer.content)
        if path == b"/v1/messages":
            assert body["type"] == "error"
            assert body["error"].keys() == {"type", "message", "code"}
        else:
            assert body["error"].keys() == {"message", "type", "param", "code"}
        if code not in ("token_spent", "token_in_use"):
            assert service.store.done[asked:] == []

    run(use)


def _check_fields(fields: dict[bytes, bytes], status: int, code: str, now: float) -> None:
    if status in (409, 503):
        assert fields == {b"retry-after": b"30" if status == 409 else b"5"}
        return
    assert fields.pop(NO_RETRY[0]) == NO_RETRY[1]
    (challenge,) = decode_challenges(fields.pop(b"www-authenticate"))
    catalogue = MINT.catalogue({})
    assert challenge.challenge == catalogue.challenge.encode()
    key = catalogue.issuing(C1, now)
    if key is None:  # too late for any
        assert (challenge.token_key, challenge.max_age) == (None, None)
    else:
        assert challenge.token_key == key.key.spki
        assert challenge.max_age == int(key.epoch.issue_until - now)
    assert (b"date" in fields) == (code == "token_expired")
    fields.pop(b"date", None)
    assert fields == {}


def test_a_token_that_is_too_small_is_told_what_suffices_and_can_be_used_elsewhere() -> None:
    async def use(service: PaidService) -> None:
        token = MINT.field(C1)
        answer = await service.whole(token, max_tokens=513)
        assert (answer.status, code_of(answer)) == (402, "token_too_small")
        assert {name for name, _ in answer.headers} == {
            b"content-type",
            b"www-authenticate",
            NO_RETRY[0],
        }
        (challenge,) = decode_challenges(told(answer, b"www-authenticate") or b"")
        key = MINT.catalogue({}).issuing(C4, NOW)
        assert key is not None
        assert challenge.token_key == key.key.spki
        assert service.store.done == []
        assert (await service.whole(token, max_tokens=512)).status == 200

    run(use)


@pytest.mark.parametrize(
    ("path", "changes", "param"),
    [
        (PATHS[0], {"max_tokens": 512 * 64 + 1}, "max_tokens"),
        (PATHS[0], {"max_completion_tokens": 512 * 64 + 1}, "max_completion_tokens"),
        (PATHS[0], {"messages": [{"role": "user", "content": "x" * 8192 * 64}]}, "messages"),
        (PATHS[1], {"prompt": "x" * 8192 * 64}, "prompt"),
        (PATHS[3], {"input": "x" * 8192 * 64}, "input"),
        (PATHS[3], {"max_output_tokens": 512 * 64 + 1}, "max_output_tokens"),
        (PATHS[4], {"input": "x" * 8192 * 64}, "input"),
    ],
)
def test_what_no_token_is_large_enough_for(
    path: bytes, changes: dict[str, Any], param: str
) -> None:
    async def use(service: PaidService) -> None:
        for fields in ((), (MINT.field(C64),)):
            answer = await service.whole(*fields, path=path, **changes)
            assert (answer.status, code_of(answer)) == (400, "budget_exceeded")
            assert json.loads(answer.content)["error"]["param"] == param
            assert dict(answer.headers) == {
                b"content-type": b"application/json",
                NO_RETRY[0]: NO_RETRY[1],
            }
        assert service.store.done == []

    run(use)


def test_what_fails_the_schema_never_reaches_the_store() -> None:
    async def use(service: PaidService) -> None:
        wrong: tuple[dict[str, Any], ...] = (
            {"model": "nowhere"},
            {"messages": []},
            {"messages": 3},
            {"unknown": 1},
            {"n": 129},
            {"temperature": 3},
            {"max_tokens": 1, "max_completion_tokens": 2},
        )
        for changes in wrong:
            answer = await service.whole(MINT.field(), **changes)
            assert answer.status in (400, 404)
        answer = await service.whole(MINT.field(), stream=True)
        assert answer.status == 400  # a stream needs chunks
        assert service.store.done == []
        assert service.counted.counts == {}

    run(use)


# What a refusal leaves of a token: the same one buys an answer afterwards.

Asking = Callable[[PaidService, bytes, tuple[bytes, bytes]], Awaitable[int]]


def refusing(**changes: Any) -> Asking:
    async def ask(service: PaidService, path: bytes, token: tuple[bytes, bytes]) -> int:
        return (await service.whole(token, path=path, **changes)).status

    return ask


async def without_it(service: PaidService, path: bytes, token: tuple[bytes, bytes]) -> int:
    return (await service.whole(path=path)).status


async def held_elsewhere(service: PaidService, path: bytes, token: tuple[bytes, bytes]) -> int:
    hold = await service.gate.hold(service.gate.look((token,)), C1)
    answer = await service.whole(token, path=path)
    hold.give_back()
    return answer.status


async def store_away(service: PaidService, path: bytes, token: tuple[bytes, bytes]) -> int:
    hold = service.store.hold
    await unknown(service)
    answer = await service.whole(token, path=path)
    service.store.hold = hold  # type: ignore[method-assign]
    return answer.status


LEFT: dict[str, tuple[Asking, int]] = {
    "none sent": (without_it, 401),
    "no such model": (refusing(model="nowhere"), 404),
    "fails the schema": (refusing(unheard_of=1, model=5), 400),
    "too small": (refusing(metadata={"a": "x" * 8192}), 402),
    "too large for any": (refusing(metadata={"a": "x" * 8192 * 64}), 400),
    "held by another": (held_elsewhere, 409),
    "store away": (store_away, 503),
}
STORES = pytest.mark.parametrize("kind", ["memory", "redis"])


@contextlib.contextmanager
def store_of(kind: str, folder: Path, clock: Clock) -> Iterator[tuple[Store, RedisServer | None]]:
    """Give a store of that kind, and the server that it is in, if it is in one."""
    if kind == "memory":
        yield memory_store(clock), None
        return
    with redis_server(folder) as server:
        yield redis_store(server.unix, clock), server


@STORES
@pytest.mark.parametrize("path", PATHS[:4], ids=lambda path: path.decode().rpartition("/")[2])
def test_a_refusal_that_leaves_a_token_leaves_it_good_for_one_answer(
    kind: str, path: bytes, tmp_path: Path
) -> None:
    text = {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}
    arrived: list[Exchange] = []

    async def behaviour(exchange: Exchange) -> None:
        arrived.append(exchange)
        await (sending(200, text) if path == PATHS[1] else answering())(exchange)

    async def use(service: PaidService) -> None:
        for number, (refuse, status) in enumerate(LEFT.values()):
            token = MINT.field()
            assert await refuse(service, path, token) == status
            assert len(arrived) == number
            answer = await service.whole(token, path=path)
            assert (answer.status, told(answer, STATUS)) == (200, b"spent")

    clock = Clock()
    with store_of(kind, tmp_path, clock) as (store, _):
        run(use, behaviour, store=store, clock=clock)


# What is answered.


@pytest.mark.parametrize("path", PATHS[:4], ids=lambda path: path.decode().rpartition("/")[2])
def test_an_answer_spends_the_token(path: bytes) -> None:
    behaviour = {
        PATHS[1]: sending(200, {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]})
    }

    async def use(service: PaidService) -> None:
        token = MINT.field()
        answer = await service.whole(token, path=path)
        assert answer.status == 200
        assert told(answer, STATUS) == b"spent"
        assert service.store.done == ["hold", "commit"]
        assert service.counted.counts == {"redeemed": 1}
        again = await service.whole(token, path=path)
        assert code_of(again) == "token_spent"

    run(use, behaviour.get(path))


def test_embeddings_spend_it_too() -> None:
    async def use(service: PaidService) -> None:
        answer = await service.whole(MINT.field(), path=PATHS[4])
        assert (answer.status, told(answer, STATUS)) == (200, b"spent")

    run(use, sending(200, EMBEDDED))


def test_a_stream_spends_it_and_says_nothing_of_it() -> None:
    async def use(service: PaidService) -> None:
        token = MINT.field()
        said = await service.stream(token)
        assert b'"token":' not in said
        assert said.endswith(b"data: [DONE]\n\n")
        assert service.store.done == ["hold", "commit"]
        assert code_of(await service.whole(token)) == "token_spent"

    run(use)


def test_a_larger_token_is_taken_and_its_budget_is_the_limit() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            service = PaidService(upstream)
            for price, choices, limit in ((C1, 1, 512), (C16, 1, 8192), (C4, 2, 1024)):
                await service.whole(MINT.field(price), n=choices)
                assert upstream.requests[-1].json["max_tokens"] == limit
            await service.whole(MINT.field(C16), max_tokens=7)
            assert upstream.requests[-1].json["max_tokens"] == 7
            await service.close()

    asyncio.run(scenario())


def test_what_is_free_takes_no_token() -> None:
    async def use(service: PaidService) -> None:
        token = MINT.field()
        for fields in ((), (token,)):
            answer = await service.whole(*fields, model="free")
            assert (answer.status, told(answer, STATUS)) == (200, None)
        assert service.store.done == []
        assert (await service.whole(token)).status == 200

    run(use)


# What fails: when the token comes back.

BEFORE: dict[str, tuple[Behaviour, int, float]] = {
    "nobody there": (hanging_up, 502, 0),
    "overloaded": (sending(529, {}), 503, 0),
    "limited": (sending(429, {}), 429, 0),
    "not for us": (sending(401, {}), 503, 0),
    "broken": (sending(500, {}), 502, 0),
    "no such model": (sending(404, {}), 404, 0),
    "rejected": (sending(400, {}), 400, 10),
    "too long": (sending(413, {}), 400, 10),
}


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_a_token_comes_back_if_its_upstream_fails_first(name: str, streams: bool) -> None:
    behaviour, status, after = BEFORE[name]

    async def use(service: PaidService) -> None:
        token = MINT.field()
        options: dict[str, Any] = {"stream": True, "delivery": Delivery.CHUNKED} if streams else {}
        answer = await service.whole(token, **options)
        assert answer.status == status
        assert told(answer, STATUS) == b"returned"
        assert told(answer, NO_RETRY[0]) is None
        assert service.store.done == ["hold", f"give back after {after:g}"]
        assert service.counted.counts == {"returned": 1}
        if after:
            assert code_of(await service.whole(token)) == "token_in_use"
            service.clock.now += after + 1
        assert code_of(await service.whole(token)) != "token_in_use"

    run(use, behaviour)


def test_a_token_comes_back_if_its_upstream_says_nothing_in_time() -> None:
    async def use(service: PaidService) -> None:
        answer = await service.whole(MINT.field())
        assert (answer.status, told(answer, STATUS)) == (504, b"returned")

    run(use, silent, total_seconds=0.05)


@pytest.mark.parametrize(
    ("pieces", "fate"),
    [
        ([], "returned"),
        ([b": comment\n\n"], "returned"),
        ([event(chunk_of({"role": "assistant", "content": ""}))], "returned"),
        ([b"data: {\n\n"], "returned"),
        (stream_of(["Pa"])[:2], "spent"),
        ([event(chunk_of({"refusal": "No"}))], "spent"),
        (
            [event(chunk_of({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}))],
            "spent",
        ),
    ],
    ids=["nothing", "comment", "a role", "garbage", "a word", "a refusal", "a call"],
)
@pytest.mark.parametrize("path", [PATHS[0], PATHS[2], PATHS[3]], ids=["chat", "messages", "items"])
def test_a_stream_that_breaks_off_says_what_became_of_the_token(
    pieces: list[bytes], fate: str, path: bytes
) -> None:
    async def use(service: PaidService) -> None:
        token = MINT.field()
        said = await service.stream(token, path=path)
        assert b'"token":"%b"' % fate.encode() in said
        assert service.store.done == ["hold", "commit" if fate == "spent" else "give back after 0"]
        answer = await service.whole(token)
        assert (code_of(answer) == "token_spent") == (fate == "spent")

    run(use, streaming_then_closing(pieces))


async def head_alone(exchange: Any) -> None:
    await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
    await exchange.wait_gone()


SECONDS = ("first_byte_seconds", "idle_seconds", "total_seconds")
BROKEN_OFF = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
WORD = stream_of(["Pa"])[:2]
UPSTREAMS: dict[str, tuple[Behaviour, bool, str]] = {
    "refuses": (sending(429, {}), False, "returned"),
    "refuses a stream": (sending(429, {}), True, "returned"),
    "calls it wrong": (sending(400, {}), False, "returned"),
    "is silent": (silent, False, "returned"),
    "is silent where a stream is wanted": (silent, True, "returned"),
    "is silent after the head of a stream": (head_alone, True, "returned"),
    "hangs up": (hanging_up, False, "returned"),
    "breaks off after the head": (raw(BROKEN_OFF), False, "returned"),
    "breaks off within the answer": (raw(BROKEN_OFF + b'{"choices"'), False, "returned"),
    "breaks off after the head of a stream": (streaming_then_closing([]), True, "returned"),
    "breaks off before a word": (streaming_then_closing(WORD[:1]), True, "returned"),
    "breaks off after a word": (streaming_then_closing(WORD), True, "spent"),
    "answers": (answering(), False, "spent"),
}


async def said_of_the_token(answer: Answer) -> str:
    """Return what an answer says of its token: in its head, or in the error that ends a stream."""
    if isinstance(answer, Response):
        return (told(answer, STATUS) or b"").decode()
    content = b"".join([piece async for piece in answer.content])
    (fate,) = re.findall(rb'"token":"(\w+)"', content)
    return str(fate.decode())


@STORES
@pytest.mark.parametrize("name", UPSTREAMS)
def test_what_a_client_is_told_of_a_token_is_what_its_store_has(
    kind: str, name: str, tmp_path: Path
) -> None:
    behaviour, streams, fate = UPSTREAMS[name]
    options: dict[str, Any] = {"stream": True, "delivery": Delivery.CHUNKED} if streams else {}
    is_late = behaviour in (silent, head_alone)
    patience = dict.fromkeys(SECONDS, 0.2) if is_late else {}
    clock, token = Clock(), MINT.token()

    async def use(service: PaidService) -> None:
        answer = await service.ask(paying_with(token), **options)
        assert await said_of_the_token(answer) == fate
        await service.close()  # tells a store on the host what it has not been told
        clock.now += REJECTED_SECONDS + 1  # for what the request provoked
        key = nullifier(LABEL, token)
        if server is not None:
            stands = server.command("GET", key)
            assert stands.startswith(b"$17\r\ns" if fate == "spent" else b"$-1\r\n")
        elif fate == "returned":
            assert await store.hold(key)
        else:
            with pytest.raises(Refused) as caught:
                await store.hold(key)
            assert caught.value.refusal is Refusal.SPENT

    with store_of(kind, tmp_path, clock) as (store, server):
        run(use, behaviour, store=store, clock=clock, **patience)


def test_an_answer_that_is_read_and_cannot_be_understood_is_paid_for() -> None:
    async def use(service: PaidService) -> None:
        answer = await service.whole(MINT.field())
        assert (answer.status, told(answer, STATUS)) == (502, b"spent")
        assert told(answer, NO_RETRY[0]) == NO_RETRY[1]

    run(use, sending(200, b"{"))


@pytest.mark.parametrize("behaviour", [silent, streaming_without_end()], ids=["before", "after"])
def test_who_goes_away_has_paid(behaviour: Behaviour) -> None:
    async def use(service: PaidService) -> None:
        answer = await service.ask(MINT.field(), delivery=Delivery.CHUNKED, stream=True)
        content: Any = answer.content
        reading = asyncio.ensure_future(anext(content))
        await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait((reading,))
        await content.aclose()
        assert service.store.done == ["hold", "commit"]

    if behaviour is silent:
        behaviour = head_alone
    run(use, behaviour)


# What runs on beyond what was paid for.

LETTERS = BUDGETS[C1].output_tokens * CHARACTERS_PER_TOKEN


def read(said: bytes) -> tuple[str, str]:
    """Return the text of a stream of one choice, and how it ends."""
    events = [line[6:] for line in said.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for each in events for choice in json.loads(each).get("choices", ())]
    texts = [choice.get("delta", choice) for choice in choices]
    text = "".join(each.get("content", each.get("text")) or "" for each in texts)
    (end,) = (choice["finish_reason"] for choice in choices if choice.get("finish_reason"))
    return text, end


@pytest.mark.parametrize("price", [C1, C4])
def test_a_stream_that_runs_far_beyond_what_was_paid_for_is_ended_and_its_upstream_left(
    price: PricePoint,
) -> None:
    async def scenario() -> None:
        async with StandInUpstream(streaming_without_end("x" * 500)) as upstream:
            service = PaidService(upstream)
            said = await service.stream(MINT.field(price))
            text, end = read(said)
            assert end == "length"
            assert said.endswith(b"data: [DONE]\n\n")
            assert b'"tee_signature":' in said
            most = LETTERS * price.units
            assert most < len(text) <= most + 500
            assert service.store.done == ["hold", "commit"]
            while not upstream.gone:  # nobody reads on, to the cost of who runs this
                await asyncio.sleep(0.001)
            await service.close()

    asyncio.run(scenario())


def test_a_whole_answer_that_is_made_of_a_stream_is_ended_there_as_well() -> None:
    async def use(service: PaidService) -> None:
        answer = await service.whole(MINT.field())
        (choice,) = json.loads(answer.content)["choices"]
        assert choice["finish_reason"] == "length"
        assert LETTERS < len(choice["message"]["content"]) <= LETTERS + 500
        assert told(answer, STATUS) == b"spent"

    streams = replace(PLAIN, streams_always=True)
    run(use, streaming_without_end("x" * 500), profile=streams)


@pytest.mark.parametrize(
    ("model", "letters", "fields"),
    [("m", LETTERS, (MINT.field(),)), ("free", 3 * LETTERS, ())],
    ids=["paid", "free"],
)
def test_who_has_what_he_paid_for_or_what_is_free_is_not_cut_off(
    model: str, letters: int, fields: tuple[tuple[bytes, bytes], ...]
) -> None:
    async def use(service: PaidService) -> None:
        said = await service.stream(*fields, model=model)
        assert read(said) == ("x" * letters, "stop")

    run(use, streaming(stream_of(["x" * 128] * (letters // 128))))


def test_a_question_that_is_said_again_counts_nothing_of_the_answer() -> None:
    async def use(service: PaidService) -> None:
        said = await service.stream(MINT.field(), path=PATHS[1], echo=True)
        assert read(said) == ("x" * 2 * LETTERS, "stop")

    texts = [
        event({"choices": [{"index": 0, "text": "x" * 2 * LETTERS, "finish_reason": None}]}),
        event({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}),
        DONE,
    ]
    run(use, streaming(texts))


def test_who_goes_away_while_the_upstream_thinks_has_paid() -> None:
    async def scenario() -> None:
        async with StandInUpstream(silent) as upstream:
            service = PaidService(upstream)
            asking = asyncio.ensure_future(service.whole(MINT.field()))
            while not upstream.requests:
                await asyncio.sleep(0.001)
            assert service.store.done == ["hold"]
            asking.cancel()
            await asyncio.wait((asking,))
            assert service.store.done == ["hold", "commit"]
            await service.close()

    asyncio.run(scenario())


# Time.


@pytest.mark.parametrize(
    ("epoch", "name", "offset", "is_taken"),
    [
        (1, "issue_from", -301, False),
        (1, "issue_from", -299, True),
        (0, "issue_until", -1, True),
        (0, "issue_until", 1, True),
        (0, "redeem_until", 299, True),
        (0, "redeem_until", 301, False),
    ],
)
def test_around_each_of_the_three_times(epoch: int, name: str, offset: int, is_taken: bool) -> None:
    async def use(service: PaidService) -> None:
        service.clock.now = getattr(MINT.epochs[epoch], name) + offset
        answer = await service.whole(MINT.field(epoch=epoch))
        assert (answer.status == 200) == is_taken

    run(use)


def test_two_epochs_at_once_and_a_spent_token_stays_so_to_its_end() -> None:
    async def use(service: PaidService) -> None:
        service.clock.now = NOW + 3 * WEEK  # the second has begun two weeks ago
        tokens = [MINT.field(epoch=0), MINT.field(epoch=1)]
        for token in tokens:
            assert (await service.whole(token)).status == 200
        for moment in (NOW + 5 * WEEK, MINT.epochs[0].redeem_until + 299):
            service.clock.now = moment
            for token in tokens:
                assert code_of(await service.whole(token)) == "token_spent"
        service.clock.now = MINT.epochs[1].redeem_until + 299
        assert code_of(await service.whole(tokens[1])) == "token_spent"

    run(use)


def test_a_hold_that_nobody_settles_ends_with_its_lease() -> None:
    async def use(service: PaidService) -> None:
        fields = await held(service)
        service.clock.now += LEASE - 1
        assert code_of(await service.whole(*fields)) == "token_in_use"
        service.clock.now += 2.5
        assert (await service.whole(*fields)).status == 200

    run(use)


def test_a_memory_that_is_full_refuses_rather_than_forgets() -> None:
    clock = Clock()

    async def use(service: PaidService) -> None:
        codes = [code_of(await service.whole(MINT.field())) for _ in range(66)]
        assert set(codes) == {None, "token_store_unavailable"}

    run(use, store=memory_store(clock, 1), clock=clock)


def test_fifty_at_once_are_one_answer() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            service = PaidService(upstream)
            token = MINT.field()
            answers = await asyncio.gather(*(service.whole(token) for _ in range(50)))
            assert sorted(answer.status for answer in answers)[0] == 200
            codes = {code_of(answer) for answer in answers if answer.status != 200}
            assert codes <= {"token_in_use", "token_spent"}
            assert len(upstream.requests) == 1
            await service.close()

    asyncio.run(scenario())
