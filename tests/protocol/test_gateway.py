"""The gateway: one dispatch for each request that opens, one sealed answer for each outcome."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import pytest

from protocol import chunked, encapsulation, gateway, registry
from protocol.binary_http import (
    Request,
    Response,
    decode_response,
    encode_request,
    encode_response,
)
from protocol.chunked import LONG_CHUNK_SIZE
from protocol.encapsulation import GatewayKey
from protocol.errors import KeyRejected, MalformedMessage, ProtocolError, TruncatedMessage
from protocol.gateway import (
    LARGE_ANSWER_BYTES,
    STEP_BYTES,
    Answer,
    Delivery,
    Gateway,
    StreamedResponse,
    admit_all,
)
from protocol.hpke import TAG_SIZE
from protocol.key_config import KeyConfig
from protocol.padding import bucket

KEY = GatewayKey(7, bytes(range(32)))
REQUEST = Request(
    b"POST", b"https", b"", b"/v1/chat/completions", ((b"date", b"now"),), b'{"model":"m"}'
)


class Chat:
    """A dispatch function that keeps what it was asked and answers what it was told to."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[Request, Delivery]] = []

    async def __call__(self, request: Request, delivery: Delivery) -> Answer:
        self.asked.append((request, delivery))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def pieces(*items: bytes | Exception) -> AsyncIterator[bytes]:
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


OK = Response(200, ((b"content-type", b"application/json"),), b'{"answer":true}')


def ask(server: Gateway, plaintext: bytes, *, config: KeyConfig = KEY.config) -> bytes:
    data, client = encapsulation.encapsulate_request(config, plaintext)
    return client.open_response(asyncio.run(server.answer(data)))


def ask_chunked(server: Gateway, plaintext: bytes) -> tuple[Answer, bytes]:
    """Return the answer, and what the client gets of b"sealed" through the exchange's sealer."""
    sealer, client = chunked.encapsulate_request(KEY.config)
    exchange = server.open_chunked(sealer.finish(plaintext))
    opener = client.open_response()
    opener.feed(exchange.sealer.finish(b"sealed"))
    return asyncio.run(exchange.respond()), opener.finish()


def turns_of(size: int) -> int:
    """Return in how many turns of an event loop a whole answer of that size is made."""
    server = Gateway(lambda: [KEY], Chat(Response(200, (), bytes(size))))
    data, client = encapsulation.encapsulate_request(KEY.config, encode_request(REQUEST))
    answering = server.begin(data)
    assert not isinstance(answering, bytes)
    making, turns = answering.__await__(), 0

    def finish() -> None:
        nonlocal turns
        while True:
            turns += 1
            next(making)

    with pytest.raises(StopIteration) as ended:
        finish()
    assert len(decode_response(client.open_response(ended.value.value)).content) == size
    return turns


def test_each_copy_of_a_large_answer_is_made_in_a_turn_of_its_own() -> None:
    assert turns_of(LARGE_ANSWER_BYTES) == 1
    assert turns_of(LARGE_ANSWER_BYTES + 1) == 3


def test_a_large_answer_is_sealed_aside_and_a_small_one_is_not() -> None:
    aside: list[bytes] = []

    async def note(work: Callable[[], bytes]) -> bytes:
        aside.append(work())
        return aside[-1]

    for size, count in ((LARGE_ANSWER_BYTES, 0), (LARGE_ANSWER_BYTES + 1, 1)):
        server = Gateway(lambda: [KEY], Chat(Response(200, (), bytes(size))), aside=note)
        data, client = encapsulation.encapsulate_request(KEY.config, encode_request(REQUEST))
        answer = client.open_response(asyncio.run(server.answer(data)))
        assert decode_response(answer).content == bytes(size)
        assert len(aside) == count


def problem_of(response: Response) -> tuple[int, str]:
    assert response.headers == ((b"content-type", registry.PROBLEM_JSON),)
    body = json.loads(response.content)
    assert set(body) == {"type", "status"}
    assert body["status"] == response.status
    return response.status, body["type"]


class TestWhole:
    """message/ohttp-req in, message/ohttp-res out."""

    def test_answers(self) -> None:
        chat = Chat(OK)
        server = Gateway(lambda: [GatewayKey.generate(1), KEY], chat)
        answer = ask(server, encode_request(REQUEST, pad_to=2048))
        assert decode_response(answer) == OK
        assert len(answer) == bucket(len(encode_response(OK))) == 1024
        assert chat.asked == [(REQUEST, Delivery.WHOLE)]

    def test_long_answers_go_to_their_bucket(self) -> None:
        long = Response(200, content=bytes(70_000))
        answer = ask(Gateway(lambda: [KEY], Chat(long)), encode_request(REQUEST))
        assert decode_response(answer) == long
        assert len(answer) == bucket(len(encode_response(long)))

    def test_a_streamed_response_is_collected(self) -> None:
        chat = Chat(StreamedResponse(200, ((b"a", b"b"),), pieces(b"one", b"two")))
        answer = ask(Gateway(lambda: [KEY], chat), encode_request(REQUEST))
        assert decode_response(answer) == Response(200, ((b"a", b"b"),), b"onetwo")

    def test_names_come_in_lower_case(self) -> None:
        chat = Chat(OK)
        data = bytearray(encode_request(REQUEST))
        at = data.index(b"date")
        data[at : at + 4] = b"DaTe"
        ask(Gateway(lambda: [KEY], chat), bytes(data))
        assert chat.asked == [(REQUEST, Delivery.WHOLE)]

    @pytest.mark.parametrize(
        "plaintext", [b"", b"\0", b"garbage", b'{"model":"m"}', b"\x01\x40\xc8"]
    )
    def test_garbage_inside_is_a_sealed_400(self, plaintext: bytes) -> None:
        chat = Chat(OK)
        answer = decode_response(ask(Gateway(lambda: [KEY], chat), plaintext))
        assert problem_of(answer) == (400, "about:blank")
        assert chat.asked == []

    def test_an_expectation_is_a_sealed_417(self) -> None:
        chat = Chat(OK)
        request = Request(b"POST", b"https", b"", b"/", ((b"Expect", b"100-continue"),))
        answer = decode_response(ask(Gateway(lambda: [KEY], chat), encode_request(request)))
        assert problem_of(answer) == (417, "about:blank")
        assert chat.asked == []

    @pytest.mark.parametrize(
        "failing",
        [
            lambda: RuntimeError("secret reason"),
            lambda: MalformedMessage("of an upstream"),
            lambda: StreamedResponse(200, (), pieces(b"one", RuntimeError("secret reason"))),
        ],
    )
    def test_a_failure_is_a_sealed_500(self, failing: Callable[[], Answer | Exception]) -> None:
        failures: list[Exception] = []
        server = Gateway(lambda: [KEY], Chat(failing()), report=failures.append)
        answer = ask(server, encode_request(REQUEST))
        assert problem_of(decode_response(answer)) == (500, "about:blank")
        assert b"secret" not in answer
        assert len(failures) == 1
        silent = Gateway(lambda: [KEY], Chat(failing()))
        assert decode_response(ask(silent, encode_request(REQUEST))).status == 500

    def test_what_is_answered_at_once_is_sealed_at_once(self) -> None:
        asked: list[Request] = []

        def dispatch(request: Request, delivery: Delivery) -> Answer:
            asked.append(request)
            return OK

        server = Gateway(lambda: [KEY], dispatch)
        data, client = encapsulation.encapsulate_request(KEY.config, encode_request(REQUEST))
        sealed = server.begin(data)
        assert isinstance(sealed, bytes)
        assert decode_response(client.open_response(sealed)) == OK
        assert decode_response(ask(server, encode_request(REQUEST))) == OK
        assert ask_chunked(server, encode_request(REQUEST))[0] == OK
        assert asked == [REQUEST] * 3

    def test_a_failure_at_once_is_a_sealed_500(self) -> None:
        def dispatch(request: Request, delivery: Delivery) -> Answer:
            raise RuntimeError("secret reason")

        failures: list[Exception] = []
        server = Gateway(lambda: [KEY], dispatch, report=failures.append)
        answer = ask(server, encode_request(REQUEST))
        assert problem_of(decode_response(answer)) == (500, "about:blank")
        assert len(failures) == 1

    def test_what_does_not_open_is_raised(self) -> None:
        chat = Chat(OK)
        server = Gateway(lambda: [KEY], chat)
        with pytest.raises(MalformedMessage):
            asyncio.run(server.answer(b"short"))
        with pytest.raises(KeyRejected):
            ask(server, b"", config=GatewayKey.generate(8).config)
        with pytest.raises(KeyRejected):
            ask(server, b"", config=GatewayKey.generate(7).config)
        assert chat.asked == []

    def test_the_keys_of_the_moment_are_used(self) -> None:
        keys = [KEY]
        server = Gateway(lambda: keys, Chat(OK))
        assert decode_response(ask(server, encode_request(REQUEST))) == OK
        keys[:] = [GatewayKey.generate(8)]
        with pytest.raises(ProtocolError):
            ask(server, encode_request(REQUEST))

    def test_cancellation_passes(self) -> None:
        async def dispatch(request: Request, delivery: Delivery) -> Answer:
            await asyncio.Event().wait()
            return OK

        async def main() -> None:
            data, _ = encapsulation.encapsulate_request(KEY.config, encode_request(REQUEST))
            task = asyncio.create_task(Gateway(lambda: [KEY], dispatch).answer(data))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())


class TestAdmission:
    """A check between opening and dispatch, for replays and dates."""

    def test_sees_what_identifies_the_request(self) -> None:
        seen: list[tuple[bytes, int, Request]] = []

        def admit(enc: bytes, key_id: int, request: Request) -> Response | None:
            seen.append((enc, key_id, request))
            return None

        server = Gateway(lambda: [KEY], Chat(OK), admit=admit)
        data, _ = encapsulation.encapsulate_request(KEY.config, encode_request(REQUEST))
        asyncio.run(server.answer(data))
        assert seen == [(data[7:39], 7, REQUEST)]

    def test_a_refusal_is_sealed(self) -> None:
        chat = Chat(OK)
        refusal = gateway.problem(400, registry.DATE_PROBLEM)
        server = Gateway(lambda: [KEY], chat, admit=lambda *_: refusal)
        answer = decode_response(ask(server, encode_request(REQUEST)))
        assert problem_of(answer) == (400, "https://iana.org/assignments/http-problem-types#date")
        assert ask_chunked(server, encode_request(REQUEST))[0] == refusal
        assert chat.asked == []


class TestBareJson:
    """The dialect of clients that seal a JSON object without HTTP around it."""

    def test_is_refused_unless_allowed(self) -> None:
        answer = ask(Gateway(lambda: [KEY], Chat(OK)), b'{"model":"m"}')
        assert decode_response(answer).status == 400

    def test_is_a_chat_request_and_gets_the_bare_body(self) -> None:
        chat = Chat(OK)
        server = Gateway(lambda: [KEY], chat, admit_bare=admit_all)
        assert ask(server, b'{"model":"m"}') == OK.content.ljust(1024)
        ((request, delivery),) = chat.asked
        assert (request.method, request.path) == (b"POST", b"/v1/chat/completions")
        assert request.headers == ((b"content-type", b"application/json"),)
        assert request.content == b'{"model":"m"}'
        assert delivery is Delivery.WHOLE

    def test_binary_http_goes_on_beside_it(self) -> None:
        server = Gateway(lambda: [KEY], Chat(OK), admit_bare=admit_all)
        assert decode_response(ask(server, encode_request(REQUEST))) == OK

    def test_each_dialect_is_admitted_by_its_own_rule(self) -> None:
        refused = Response(403, (), b"binary"), Response(403, (), b"bare")
        whole, bare = (lambda *_, refusal=refusal: refusal for refusal in refused)
        server = Gateway(lambda: [KEY], Chat(OK), admit=whole, admit_bare=bare)
        assert ask(server, b"{}").rstrip() == b"bare"
        assert decode_response(ask(server, encode_request(REQUEST))).content == b"binary"
        answer, _ = ask_chunked(server, encode_request(REQUEST))
        assert answer == refused[0]

    def test_its_errors_are_bare_too(self) -> None:
        server = Gateway(lambda: [KEY], Chat(RuntimeError()), admit_bare=admit_all)
        assert json.loads(ask(server, b"{}"))["status"] == 500

    @pytest.mark.parametrize("size", [2, 1024, 1025, 100_000])
    def test_its_answers_are_padded_with_what_json_passes_over(self, size: int) -> None:
        content = json.dumps("x" * (size - 2)).encode()
        server = Gateway(lambda: [KEY], Chat(Response(200, (), content)), admit_bare=admit_all)
        answer = ask(server, b"{}")
        assert len(answer) == bucket(size)
        assert json.loads(answer) == json.loads(content)


class TestChunked:
    """message/ohttp-chunked-req in; whoever sends the answer paces and seals it."""

    def test_answers(self) -> None:
        chat = Chat(OK)
        answer, sealed = ask_chunked(Gateway(lambda: [KEY], chat), encode_request(REQUEST))
        assert (answer, sealed) == (OK, b"sealed")
        assert chat.asked == [(REQUEST, Delivery.CHUNKED)]

    def test_a_streamed_response_is_passed_on(self) -> None:
        streamed = StreamedResponse(200, (), pieces(b"one"))
        answer, _ = ask_chunked(Gateway(lambda: [KEY], Chat(streamed)), encode_request(REQUEST))
        assert answer is streamed

    def test_a_request_in_many_chunks_is_one_request(self) -> None:
        chat = Chat(OK)
        sealer, _ = chunked.encapsulate_request(KEY.config)
        data = b"".join(sealer.seal(bytes([byte])) for byte in encode_request(REQUEST))
        exchange = Gateway(lambda: [KEY], chat).open_chunked(data + sealer.finish())
        assert asyncio.run(exchange.respond()) == OK
        assert chat.asked == [(REQUEST, Delivery.CHUNKED)]

    @pytest.mark.parametrize("plaintext", [b"", b"garbage", b'{"model":"m"}'])
    def test_garbage_inside_has_an_answer(self, plaintext: bytes) -> None:
        chat = Chat(OK)
        server = Gateway(lambda: [KEY], chat, admit_bare=admit_all)
        answer, _ = ask_chunked(server, plaintext)
        assert isinstance(answer, Response)
        assert problem_of(answer) == (400, "about:blank")
        assert chat.asked == []

    def test_a_failure_has_an_answer(self) -> None:
        answer, _ = ask_chunked(Gateway(lambda: [KEY], Chat(KeyError())), encode_request(REQUEST))
        assert isinstance(answer, Response)
        assert problem_of(answer) == (500, "about:blank")

    def test_nothing_is_acted_on_before_the_final_chunk(self) -> None:
        chat = Chat(OK)
        server = Gateway(lambda: [KEY], chat)
        sealer, _ = chunked.encapsulate_request(KEY.config)
        data = sealer.seal(encode_request(REQUEST))
        with pytest.raises(TruncatedMessage):
            server.open_chunked(data)
        with pytest.raises(TruncatedMessage):
            server.open_chunked(data[:30])
        with pytest.raises(KeyRejected):
            server.open_chunked(data + b"\0" + bytes(16))
        assert chat.asked == []


class TestSteps:
    """Large requests in steps, to the same end as at once."""

    def test_whole(self) -> None:
        chat = Chat(OK)
        data, client = encapsulation.encapsulate_request(KEY.config, encode_request(REQUEST))
        admitted: list[tuple[bytes, int]] = []

        def admit(enc: bytes, key_id: int, request: Request) -> None:
            admitted.append((enc, key_id))

        steps, sealed = taken(Gateway(lambda: [KEY], chat, admit=admit).begin_in_steps(data))
        assert steps == [True, False]  # what opens it is long
        assert admitted == [(data[7 : 7 + KEY.kem.enc_size], 7)]
        assert not isinstance(sealed, bytes)
        answer = client.open_response(asyncio.run(collect(sealed)))
        assert decode_response(answer) == OK
        assert chat.asked == [(REQUEST, Delivery.WHOLE)]

    @pytest.mark.parametrize("size", [1, 100, 1 << 14])
    def test_chunks_of_any_size(self, size: int) -> None:
        chat = Chat(OK)
        sealer, client = chunked.encapsulate_request(KEY.config)
        plaintext = encode_request(REQUEST, pad_to=20_000)
        data = sealed_in_pieces(sealer, plaintext, size)
        steps, exchange = taken(Gateway(lambda: [KEY], chat).open_chunked_in_steps(data))
        # No step opens more than its share, however small the chunks are.
        assert steps == [False] * (-(-len(data) // STEP_BYTES) + 1)
        opener = client.open_response()
        opener.feed(exchange.sealer.finish(b"sealed"))
        assert opener.finish() == b"sealed"
        assert asyncio.run(collect(exchange.respond())) == OK
        assert chat.asked == [(REQUEST, Delivery.CHUNKED)]

    @pytest.mark.parametrize("before", [(), (100,)])
    @pytest.mark.parametrize("is_final", [False, True])
    @pytest.mark.parametrize(("over", "is_long"), [(0, False), (1, True)])
    def test_a_long_chunk_is_opened_in_a_step_that_says_so(
        self,
        before: tuple[int, ...],
        is_final: bool,
        over: int,
        is_long: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Some senders put a whole body into one chunk."""
        monkeypatch.setattr(chunked, "CHUNK_SIZE", 1 << 20)
        chat = Chat(OK)
        size = LONG_CHUNK_SIZE - TAG_SIZE + over
        rest = 0 if is_final else 50
        plaintext = encode_request(REQUEST, pad_to=sum(before) + size + rest)
        sealer, _ = chunked.encapsulate_request(KEY.config)
        data, at = b"", 0
        for count in (*before, *(() if is_final else (size,))):
            data += sealer.seal(plaintext[at : at + count])
            at += count
        data += sealer.finish(plaintext[at:])
        steps, exchange = taken(Gateway(lambda: [KEY], chat).open_chunked_in_steps(data))
        assert asyncio.run(collect(exchange.respond())) == OK
        assert chat.asked == [(REQUEST, Delivery.CHUNKED)]
        assert steps.count(True) == is_long
        assert steps[-1] is False  # what comes then is the caller's

    def test_what_does_not_open(self) -> None:
        server = Gateway(lambda: [KEY], Chat(OK))
        sealer, _ = chunked.encapsulate_request(KEY.config)
        data = sealer.seal(bytes(20_000))
        with pytest.raises(TruncatedMessage):
            taken(server.open_chunked_in_steps(data))
        with pytest.raises(KeyRejected):
            taken(server.open_chunked_in_steps(data + b"\0" + bytes(16)))
        with pytest.raises(KeyRejected):
            taken(server.begin_in_steps(data))


def taken(steps: Generator[bool, None, Any]) -> tuple[list[bool], Any]:
    """Return for each pause between steps whether the next is long, and their result."""
    pauses: list[bool] = []
    while True:
        try:
            pauses.append(next(steps))
        except StopIteration as ended:
            return pauses, ended.value


async def collect(awaited: Awaitable[Any]) -> Any:
    return await awaited


def sealed_in_pieces(sealer: chunked.RequestSealer, plaintext: bytes, size: int) -> bytes:
    starts = range(0, len(plaintext), size)
    return b"".join(sealer.seal(plaintext[at : at + size]) for at in starts) + sealer.finish()
