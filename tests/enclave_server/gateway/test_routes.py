"""The resources of outer HTTP at the socket: media types, methods, keys, evidence, problems."""

import asyncio
import base64
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_public_key,
)

from enclave_server.gateway import routes
from enclave_server.gateway.routes import TooOften, make_router
from enclave_server.gateway.steps import Stepping
from enclave_server.http.limits import Limits
from enclave_server.keys.ring import KeySet
from enclave_server.security_module.nsm import NsmError
from protocol import chunked
from protocol.binary_http import (
    Request,
    Response,
    decode_response,
    encode_request,
    encode_response,
)
from protocol.encapsulation import HEADER_SIZE, ClientContext, GatewayKey, encapsulate_request
from protocol.evidence import Evidence, Platform
from protocol.gateway import Answer, ChunkedExchange, Delivery, Gateway
from protocol.hpke import TAG_SIZE
from protocol.kem import KEMS, X_WING
from protocol.key_config import decode_key_configs, encode_key_configs
from protocol.padding import bucket
from protocol.signature import SigningKeys, encode_pem, key_identifier
from tests.support.sockets import Received, Serving, run, serving_routes

NOW = 1_800_000_000.25
PROMPT = b"a prompt that nobody may read in the clear"
ANSWER = b"an answer that nobody may read in the clear"
INNER = encode_request(Request(b"POST", b"https", b"gateway.example", b"/inner", (), PROMPT))
KEY_PROBLEM = "https://iana.org/assignments/http-problem-types#ohttp-key"

SEALED_PATHS = pytest.mark.parametrize("path", ["/v1/ohttp", "/.well-known/ohttp-gateway"])
KEY_PATHS = pytest.mark.parametrize("path", ["/.well-known/ohttp-gateway", "/v1/ohttp/config"])


@functools.cache
def signing_keys() -> SigningKeys:
    return SigningKeys.generate()


class State:
    """Keys and evidence that stand still; `failure` is raised for the next nonce."""

    def __init__(self, catalogue: bytes | None = None) -> None:
        self.keys = (GatewayKey.generate(7, X_WING), GatewayKey.generate(6))
        pem = encode_pem(signing_keys().rsa.public_key())
        ohttp_keys = encode_key_configs([key.config for key in self.keys])
        told = {"token_catalogue": catalogue}
        self.evidence = Evidence(b"document", ohttp_keys, pem, Platform.SIMULATED, **told)
        self.expires = NOW + 600.5
        self.failure: Exception | None = None
        self.models_answer = True

    def ready(self) -> bool:
        return self.models_answer

    def keyset(self) -> KeySet:
        return KeySet(
            self.keys,
            tuple(self.expires for _ in self.keys),
            self.evidence.ohttp_keys,
            self.evidence,
            signing_keys(),
            key_identifier(signing_keys().rsa.public_key()),
            self.expires,
        )

    def opening_keys(self) -> Sequence[GatewayKey]:
        return self.keys

    def fresh_document(self, nonce: bytes) -> Evidence:
        if self.failure is not None:
            raise self.failure
        kept = self.evidence
        return Evidence(b"for " + nonce, kept.ohttp_keys, kept.signing_key_pem, kept.platform)


async def dispatch(request: Request, delivery: Delivery) -> Answer:
    """Answer the one request that is expected; anything else is a fault of ours."""
    if request.content != PROMPT:
        raise ValueError(request.content.decode("latin-1"))
    return Response(200, ((b"content-type", b"text/plain"),), ANSWER)


async def two_pieces(exchange: ChunkedExchange, begins: float = 0.0) -> AsyncIterator[bytes]:
    """Seal the answer in a chunk and an end."""
    answer = await exchange.respond()
    assert isinstance(answer, Response)
    yield exchange.sealer.seal(encode_response(answer))
    yield exchange.sealer.finish()


class Client:
    """Asks one server, over a new connection each time."""

    def __init__(self, server: Serving, state: State) -> None:
        self.server = server
        self.state = state

    async def ask(
        self, method: str, path: str, body: bytes = b"", *fields: str, framed: bool = True
    ) -> Received:
        length = [f"Content-Length: {len(body)}"] if framed and body else []
        lines = (f"{method} {path} HTTP/1.1", "Host: a", *fields, *length, "", "")
        peer = await self.server.connect()
        await peer.send("\r\n".join(lines).encode() + body)
        answer = await peer.answer(method)
        peer.close()
        return answer

    async def post(self, body: bytes, media_type: str = "message/ohttp-req") -> Received:
        return await self.ask("POST", "/v1/ohttp", body, f"Content-Type: {media_type}")

    def seal(self) -> tuple[bytes, ClientContext]:
        return encapsulate_request(self.state.keys[0].config, INNER)


def check(test: Callable[[Client], Awaitable[None]], catalogue: bytes | None = None) -> None:
    """Run `test` against a new server, which takes tokens if it has a catalogue of them."""

    async def main() -> None:
        state = State(catalogue)
        gateway = Gateway(state.opening_keys, dispatch)
        router = make_router(state, gateway, two_pieces, lambda: NOW)
        async with serving_routes(router) as server:
            await test(Client(server, state))
            await server.server.drain(1)
            text = server.log.getvalue()
            for content in (PROMPT, ANSWER, b"/unknown", b"feedface"):
                assert content.decode() not in text

    run(main)


def is_problem(answer: Received, status: int) -> bool:
    """Whether an answer says its status and nothing else."""
    about_blank = answer.json.keys() == {"title", "status"}
    media_type = answer.headers["content-type"]
    return (answer.status, answer.json["status"]) == (status, status) and (
        about_blank and media_type == "application/problem+json"
    )


# Sealed requests.


@SEALED_PATHS
def test_a_sealed_request(path: str) -> None:
    async def test(client: Client) -> None:
        body, context = client.seal()
        answer = await client.ask("POST", path, body, "Content-Type: message/ohttp-req")
        assert answer.status == 200
        assert set(answer.headers) == {"content-type", "date", "content-length"}
        assert answer.headers["content-type"] == "message/ohttp-res"
        assert decode_response(context.open_response(answer.body)).content == ANSWER

    check(test)


@SEALED_PATHS
@pytest.mark.parametrize("count", [1, 7])
def test_a_chunked_request(path: str, count: int) -> None:
    """A sealed request in chunks, each of them in a chunk of the transfer coding."""

    async def test(client: Client) -> None:
        sealer, context = chunked.encapsulate_request(client.state.keys[0].config)
        size = -(-len(INNER) // count)
        pieces = [sealer.seal(INNER[at : at + size]) for at in range(0, len(INNER), size)]
        sealed = [*pieces, sealer.finish()]
        coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in sealed) + b"0\r\n\r\n"
        fields = (
            "Content-Type: message/ohttp-chunked-req",
            "Transfer-Encoding: chunked",
            "Incremental: ?1",
        )
        answer = await client.ask("POST", path, coded, *fields, framed=False)
        assert answer.status == 200
        assert set(answer.headers) == {
            *("content-type", "date", "incremental", "transfer-encoding")
        }
        assert answer.headers["content-type"] == "message/ohttp-chunked-res"
        assert answer.headers["incremental"] == "?1"
        opener = context.open_response()
        plaintext = b"".join(opener.feed(answer.body)) + opener.finish()
        assert decode_response(plaintext).content == ANSWER

    check(test)


# Tokens.


def test_the_catalogue_of_tokens_is_kept_as_long_as_the_keys() -> None:
    async def test(client: Client) -> None:
        for method in ("GET", "HEAD"):
            answer = await client.ask(method, "/v1/tokens")
            assert (answer.status, answer.body) == (200, b'{"a":1}' if method == "GET" else b"")
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "max-age=600"
        refused = await client.ask("POST", "/v1/tokens")
        assert is_problem(refused, 405)
        assert refused.headers["allow"] == "GET, HEAD"
        assert is_problem(await client.ask("GET", "/v1/tokens?a"), 400)

    check(test, b'{"a":1}')


def test_where_nobody_pays_there_is_no_catalogue() -> None:
    async def test(client: Client) -> None:
        for method in ("GET", "POST"):
            answers = [await client.ask(method, path) for path in ("/v1/tokens", "/unknown")]
            assert is_problem(answers[0], 404)
            assert answers[0].body == answers[1].body

    check(test)


# Large requests: the clock of the streams does not wait for them.

LARGE = INNER.ljust(routes.LARGE_BYTES + 1, b"\0")


def test_a_large_sealed_request() -> None:
    async def test(client: Client) -> None:
        body, context = encapsulate_request(client.state.keys[0].config, LARGE)
        answer = await client.post(body)
        assert answer.status == 200
        assert decode_response(context.open_response(answer.body)).content == ANSWER

    check(test)


def test_a_large_chunked_request() -> None:
    async def test(client: Client) -> None:
        sealer, context = chunked.encapsulate_request(client.state.keys[0].config)
        answer = await client.post(sealer.finish(LARGE), "message/ohttp-chunked-req")
        assert answer.headers["content-type"] == "message/ohttp-chunked-res"
        opener = context.open_response()
        plaintext = b"".join(opener.feed(answer.body)) + opener.finish()
        assert decode_response(plaintext).content == ANSWER

    check(test)


@pytest.mark.parametrize("media_type", ["message/ohttp-req", "message/ohttp-chunked-req"])
def test_large_requests_that_no_key_opens_look_as_small_ones(media_type: str) -> None:
    async def test(client: Client) -> None:
        config = client.state.keys[0].config
        answers = []
        for plaintext in (INNER, LARGE):
            whole, _ = encapsulate_request(config, plaintext)
            in_chunks = chunked.encapsulate_request(config)[0].finish(plaintext)
            body = whole if media_type == "message/ohttp-req" else in_chunks
            for at in (0, len(body) - 1):
                altered = bytearray(body)
                altered[at] ^= 0x80
                answer = await client.post(bytes(altered), media_type)
                answers.append((answer.status, answer.body))
        assert len(set(answers)) == 1

    check(test)


def test_the_loop_goes_round_while_a_large_request_is_opened() -> None:
    async def main() -> tuple[int, int]:
        state = State()
        gateway = Gateway(state.opening_keys, dispatch)
        sealer, _ = chunked.encapsulate_request(state.keys[0].config)
        # Chunks of one octet: to open them takes far longer than a turn.
        body = b"".join(sealer.seal(b"x") for _ in range(10_000)) + sealer.finish()
        stepping = Stepping()
        steps = sum(1 for _ in gateway.open_chunked_in_steps(body))
        task = asyncio.create_task(stepping.take(gateway.open_chunked_in_steps(body)))
        rounds = 0
        while not task.done():
            rounds += 1
            await asyncio.sleep(0)
        await task
        return rounds, steps

    rounds, steps = asyncio.run(main())
    assert steps > 40
    # Each step alone takes a turn of some 230 decryptions, or a large part of one.
    assert rounds > 10


def test_the_first_tick_depends_on_the_size_alone() -> None:
    """Requests of one size class that are read fast, slowly or not at all begin alike."""
    seconds = [routes.reading_seconds(size) for size in (70_000, 70_500, 500_000, 20 << 20)]
    assert seconds[0] == seconds[1] < seconds[2] < seconds[3]


def test_a_large_answer_begins_when_the_size_says_and_a_small_one_at_once() -> None:
    begun: list[float] = []

    async def noting(exchange: ChunkedExchange, begins: float = 0.0) -> AsyncIterator[bytes]:
        begun.append(begins)
        yield exchange.sealer.finish(b"x")

    async def main() -> None:
        state = State()
        router = make_router(state, Gateway(state.opening_keys, dispatch), noting, lambda: NOW)
        async with serving_routes(router) as server:
            nearly = INNER.ljust(routes.LARGE_BYTES - 2000, b"\0")
            sealer, _ = chunked.encapsulate_request(state.keys[0].config)
            left = routes.LARGE_BYTES - len(sealer.finish(nearly))
            largest = nearly.ljust(len(nearly) + left, b"\0")
            for plaintext in (INNER, largest, LARGE):
                sealer, _ = chunked.encapsulate_request(state.keys[0].config)
                sealed = sealer.finish(plaintext)
                assert plaintext is not largest or len(sealed) == routes.LARGE_BYTES
                before = asyncio.get_running_loop().time()
                await Client(server, state).post(sealed, "message/ohttp-chunked-req")
            after = asyncio.get_running_loop().time()
            waited = routes.reading_seconds(len(sealed))
            assert before + waited <= begun[2] <= after + waited
            await server.server.drain(1)

    run(main)
    assert begun[:2] == [0.0, 0.0]


def test_no_mechanism_changes_the_time_of_a_large_request() -> None:
    plain = bucket(routes.LARGE_BYTES)
    while plain < Limits().body_bytes:
        sealed = {plain + HEADER_SIZE + kem.enc_size + TAG_SIZE for kem in KEMS.values()}
        assert len({routes.reading_seconds(size) for size in sealed}) == 1, plain
        assert all(size > routes.LARGE_BYTES for size in sealed)
        plain = bucket(plain + 1)


@pytest.mark.parametrize("media_type", ["message/ohttp-req", "message/ohttp-chunked-req"])
@pytest.mark.parametrize("place", [0, 1], ids=["X-Wing", "X25519"])
def test_requests_that_no_key_opens_all_look_the_same(media_type: str, place: int) -> None:
    async def test(client: Client) -> None:
        key = client.state.keys[place]
        if media_type == "message/ohttp-req":
            sealed, _ = encapsulate_request(key.config, INNER)
        else:
            sealer, _ = chunked.encapsulate_request(key.config)
            sealed = sealer.seal(INNER[:20]) + sealer.finish(INNER[20:])
        share = 7 + key.kem.enc_size - 32  # of X25519, which is all of it or its end
        altered = (
            b"\xff" + sealed[1:],  # key identifier
            sealed[:1] + b"\x00\x10" + sealed[3:],  # KEM
            sealed[:3] + b"\x00\x02" + sealed[5:],  # KDF
            sealed[:5] + b"\xff\xff" + sealed[7:],  # AEAD
            sealed[:share] + bytes(32) + sealed[share + 32 :],  # gives an all-zero secret
            sealed[:share] + bytes([sealed[share] ^ 1]) + sealed[share + 1 :],  # another share
            sealed[:7] + bytes([sealed[7] ^ 1]) + sealed[8:],  # the beginning of what was sent
            sealed[:-1] + bytes([sealed[-1] ^ 1]),  # ciphertext
        )
        answers = [await client.post(body, media_type) for body in altered]
        assert {answer.status for answer in answers} == {422}
        assert len({answer.body for answer in answers}) == 1
        problem = answers[0].json
        assert problem["type"] == KEY_PROBLEM
        assert problem.keys() == {"type", "title", "status"}

    check(test)


@pytest.mark.parametrize("media_type", ["message/ohttp-req", "message/ohttp-chunked-req"])
@pytest.mark.parametrize("size", [0, 1, 6, 38, 39, 55, 1126, 1142])
def test_a_message_cut_short_is_a_400(media_type: str, size: int) -> None:
    async def test(client: Client) -> None:
        whole = client.seal()[0]
        # What is sealed whole may begin as a chunk that is complete.
        if media_type == "message/ohttp-chunked-req":
            sealer, _ = chunked.encapsulate_request(client.state.keys[0].config)
            whole = sealer.seal(bytes(100)) + sealer.finish(b"")
        assert is_problem(await client.post(whole[:size], media_type), 400)

    check(test)


def test_a_chunked_request_without_its_end_is_a_400() -> None:
    async def test(client: Client) -> None:
        sealer, _ = chunked.encapsulate_request(client.state.keys[0].config)
        answer = await client.post(sealer.seal(INNER), "message/ohttp-chunked-req")
        assert is_problem(answer, 400)

    check(test)


def test_what_is_wrong_inside_does_not_show_outside() -> None:
    async def test(client: Client) -> None:
        config = client.state.keys[0].config
        unexpected = Request(b"POST", b"https", b"a", b"/", (), b"feedface")
        for plaintext, status in ((b"\xff", 400), (encode_request(unexpected), 500)):
            body, context = encapsulate_request(config, plaintext)
            answer = await client.post(body)
            assert answer.status == 200
            assert decode_response(context.open_response(answer.body)).status == status

    check(test)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Content-Type: text/plain",),
        ("Content-Type: message/ohttp-res",),
        ("Content-Type: message/ohttp-req; a=b",),
        ("Content-Type: message/ohttp-req", "Content-Type: message/ohttp-req"),
        ("Content-Type: message/ohttp-req", "Content-Encoding: gzip"),
    ],
)
def test_other_media_types_are_a_415(fields: tuple[str, ...]) -> None:
    async def test(client: Client) -> None:
        body, _ = client.seal()
        assert is_problem(await client.ask("POST", "/v1/ohttp", body, *fields), 415)

    check(test)


def test_media_types_have_no_case() -> None:
    async def test(client: Client) -> None:
        body, _ = client.seal()
        assert (await client.post(body, "Message/OHTTP-Req")).status == 200

    check(test)


# Everything else that can be asked for.


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/ohttp", "POST"),
        ("HEAD", "/v1/ohttp", "POST"),
        ("PUT", "/.well-known/ohttp-gateway", "GET, HEAD, POST"),
        ("POST", "/v1/ohttp/config", "GET, HEAD"),
        ("POST", "/v1/attestation", "GET, HEAD"),
        ("DELETE", "/signing-key", "GET, HEAD"),
        ("OPTIONS", "/health", "GET, HEAD"),
        ("POST", "/ready", "GET, HEAD"),
    ],
)
def test_other_methods_are_a_405(method: str, path: str, allow: str) -> None:
    async def test(client: Client) -> None:
        answer = await client.ask(method, path)
        assert (answer.status, answer.headers["allow"]) == (405, allow)
        assert method == "HEAD" or is_problem(answer, 405)

    check(test)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/unknown", "/v1/ohttp/", "/V1/ohttp", "//v1/ohttp", "/v1/%6Fhttp", "/v1/ohttp;a"),
        *("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/provision"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_a_404(method: str, path: str) -> None:
    """There is no way to ask in the clear."""

    async def test(client: Client) -> None:
        fields = ("Content-Type: application/json",)
        assert is_problem(await client.ask(method, path, b"{}", *fields), 404)

    check(test)


@KEY_PATHS
def test_keys(path: str) -> None:
    async def test(client: Client) -> None:
        answer = await client.ask("GET", path)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/ohttp-keys"
        assert answer.headers["cache-control"] == "max-age=600"
        assert answer.body == client.state.evidence.ohttp_keys
        assert [config.key_id for config in decode_key_configs(answer.body)] == [7, 6]

    check(test)


@pytest.mark.parametrize("path", ["/v1/attestation", "/v1/ohttp/config", "/signing-key"])
def test_nothing_is_cached_beyond_its_end(path: str) -> None:
    async def test(client: Client) -> None:
        client.state.expires = NOW + 0.9
        assert (await client.ask("GET", path)).headers["cache-control"] == "max-age=0"
        client.state.expires = NOW - 5
        assert (await client.ask("GET", path)).headers["cache-control"] == "max-age=0"

    check(test)


def test_evidence() -> None:
    async def test(client: Client) -> None:
        answer = await client.ask("GET", "/v1/attestation")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "max-age=600"
        assert Evidence.decode(answer.body) == client.state.evidence

    check(test)


@pytest.mark.parametrize("nonce", ["00" * 8, "feedFACE" * 4, "ff" * 64])
def test_evidence_for_a_nonce(nonce: str) -> None:
    async def test(client: Client) -> None:
        answer = await client.ask("GET", f"/v1/attestation?nonce={nonce}")
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        document = base64.b64decode(answer.json["attestation"])
        assert document == b"for " + bytes.fromhex(nonce)

    check(test)


@pytest.mark.parametrize(
    "query",
    [
        *("nonce=", "nonce=" + "00" * 7, "nonce=" + "00" * 65, "nonce=" + "00" * 8 + "0"),
        *("nonce=feedfacefeedfacg", "a=b", "nonce=feedfacefeedface&a=b", "Nonce=feedfacefeedface"),
        *("nonce=feedfacefeedface&nonce=feedfacefeedface", "nonce=%30" + "00" * 8, "nonce"),
    ],
)
def test_other_queries_are_a_400(query: str) -> None:
    async def test(client: Client) -> None:
        assert is_problem(await client.ask("GET", f"/v1/attestation?{query}"), 400)

    check(test)


@pytest.mark.parametrize("failure", [TooOften(), NsmError("InternalError", "feedface")])
def test_no_document_for_a_nonce_is_a_503(failure: Exception) -> None:
    async def test(client: Client) -> None:
        client.state.failure = failure
        answer = await client.ask("GET", f"/v1/attestation?nonce={'00' * 8}")
        assert is_problem(answer, 503)
        assert answer.headers["retry-after"] == "1"
        assert (await client.ask("GET", "/v1/attestation")).status == 200

    check(test)


def test_the_signing_key() -> None:
    async def test(client: Client) -> None:
        answer = await client.ask("GET", "/signing-key")
        assert answer.json.keys() == {"public_key", "tee_id"}
        public = load_pem_public_key(answer.json["public_key"].encode())
        assert isinstance(public, RSAPublicKey)
        assert answer.json["tee_id"] == key_identifier(public)

    check(test)


def test_health_says_nothing_else() -> None:
    async def test(client: Client) -> None:
        answer = await client.ask("GET", "/health")
        assert (answer.status, answer.json) == (200, {"status": "ok"})
        assert (await client.ask("GET", "/health?a=b")).status == 400

    check(test)


@pytest.mark.parametrize(
    ("ready", "status", "word"), [(True, 200, "ready"), (False, 503, "not ready")]
)
def test_ready_says_whether_and_nothing_else(ready: bool, status: int, word: str) -> None:
    async def test(client: Client) -> None:
        client.state.models_answer = ready
        answer = await client.ask("GET", "/ready")
        assert (answer.status, answer.json) == (status, {"status": word})
        assert answer.headers["cache-control"] == "no-store"
        assert (await client.ask("GET", "/health")).status == 200

    check(test)


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/ohttp-gateway",
        "/v1/ohttp/config",
        "/v1/attestation",
        "/signing-key",
        "/health",
        "/ready",
    ],
)
def test_head_is_answered_as_get_is_without_the_content(path: str) -> None:
    async def test(client: Client) -> None:
        whole, head = await client.ask("GET", path), await client.ask("HEAD", path)
        assert (head.status, head.headers | {"date": ""}) == (
            whole.status,
            whole.headers | {"date": ""},
        )
        assert (head.body, len(whole.body)) == (b"", int(head.headers["content-length"]))

    check(test)


@pytest.mark.parametrize(
    ("method", "path", "media_type", "status"),
    [
        ("POST", "/unknown", "message/ohttp-req", 404),
        ("PUT", "/v1/ohttp", "message/ohttp-req", 405),
        ("POST", "/v1/ohttp", "text/plain", 415),
        ("POST", "/v1/ohttp?a=b", "message/ohttp-req", 400),
    ],
)
def test_the_head_of_an_upload_is_enough_to_refuse_it(
    method: str, path: str, media_type: str, status: int
) -> None:
    async def test(client: Client) -> None:
        size = Limits().body_bytes
        peer = await client.server.connect()
        lines = (f"{method} {path} HTTP/1.1", "Host: a", f"Content-Type: {media_type}")
        head = "\r\n".join([*lines, f"Content-Length: {size}", "", ""])
        await peer.send(head.encode())
        assert is_problem(await peer.answer(), status)
        await peer.send(bytes(size))
        peer.end()
        assert await peer.read_to_end() == b""

    check(test)


def test_log_lines_hold_names_and_figures_only() -> None:
    """Every line of a report has known fields, names of ours and numbers."""

    async def main() -> None:
        state = State()
        router = make_router(state, Gateway(state.opening_keys, dispatch), two_pieces)
        async with serving_routes(router) as server:
            client = Client(server, state)
            body, _ = client.seal()
            await client.post(body)
            await client.post(b"feedface" * 10)
            for path in ("/unknown?feedface", "/health", "/v1/attestation?nonce=" + "00" * 8):
                await client.ask("GET", path, b"", "X-Feedface: feedface")
            await client.ask("FEEDFACE", "/health")
            await server.server.drain(1)
            lines = server.events()
            classes = {(line["route"], line["status"]) for line in lines}
            assert classes == {
                ("ohttp", 200),
                ("ohttp", 422),
                ("refused", 404),
                ("refused", 405),
                ("health", 200),
                ("attestation_nonce", 200),
            }
            figures = {"count", "received_bytes", "sent_bytes", "mean_ms", "longest_ms"}
            for line in lines:
                assert line.keys() == {"time", "event", "route", "status", *figures}
            assert "feedface" not in json.dumps(lines).lower()

    run(main)


@pytest.mark.parametrize("media_type", ["message/ohttp-req", "message/ohttp-chunked-req"])
def test_only_a_request_above_the_size_is_opened_in_steps(media_type: str) -> None:
    stepped: list[int] = []

    class Noting(Gateway):
        def begin_in_steps(self, request: bytes) -> Any:
            stepped.append(len(request))
            return super().begin_in_steps(request)

        def open_chunked_in_steps(self, request: bytes) -> Any:
            stepped.append(len(request))
            return super().open_chunked_in_steps(request)

    async def main() -> None:
        state = State()
        router = make_router(state, Noting(state.opening_keys, dispatch), two_pieces, lambda: NOW)
        async with serving_routes(router) as server:
            for size in (routes.LARGE_BYTES, routes.LARGE_BYTES + 1):
                await Client(server, state).post(bytes(size), media_type)

    run(main)
    assert stepped == [routes.LARGE_BYTES + 1]
