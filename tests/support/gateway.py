"""A stand-in gateway for the client's tests: the real protocol, scripted answers, faults.

It is none of the servers of this project: `protocol.Gateway` behind the standard library's HTTP
server, which also plays the relay. It keeps what arrived, in the clear and sealed.
"""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from enclave_server.chat import conversation as chat
from enclave_server.chat.embedding import Vectors
from enclave_server.chat.signing import Signer, asked_algorithm
from enclave_server.chat.surfaces.embeddings import Embeddings
from enclave_server.chat.surfaces.messages_writing import MessageStream, write_message
from enclave_server.chat.surfaces.surface import Identity
from enclave_server.keys.ring import MECHANISMS
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.binary_http import Request, Response, ResponseEncoder
from protocol.embedding_transcript import encode_vector
from protocol.encapsulation import GatewayKey
from protocol.errors import KeyRejected, ProtocolError
from protocol.evidence import Evidence, Platform, attested_config, encode_user_data
from protocol.gateway import Answer, Delivery, Gateway, StreamedResponse
from protocol.kem import Kem, find_kem
from protocol.key_config import encode_key_configs
from protocol.registry import KEY_PROBLEM
from protocol.signature import SigningKeys, encode_pem, encode_spki
from tests.support.toll import Toll

JSON = ((b"content-type", b"application/json"),)
EVENTS = ((b"content-type", b"text/event-stream"),)
MODEL = "stand-in"
MESSAGES = b"/v1/messages"
EMBEDDINGS = b"/v1/embeddings"
WORDS = ("The capital ", "of France ", "is Paris.")
FINISHED = "stop"
PROBLEM = "application/problem+json"


@functools.cache
def signing_keys(name: str) -> SigningKeys:
    """Return the keys for each name, made once a run."""
    return SigningKeys.generate()


@functools.cache
def security_module(name: str) -> SimulatedSecurityModule:
    """Return a simulated module for each name, made once a run."""
    return SimulatedSecurityModule()


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as the outside sees it."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    chunk_sizes: tuple[int, ...]

    @property
    def kem(self) -> Kem | None:
        """The mechanism that a sealed request names, for whoever is on the way."""
        return find_kem(int.from_bytes(self.body[1:3], "big"))

    def field(self, name: str) -> str | None:
        """Return the value of a field."""
        return next((value for key, value in self.fields if key.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer in the clear."""

    status: int
    media_type: str
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Faults:
    """What goes wrong on purpose."""

    outer: list[Plain] = field(default_factory=list)
    evidence: Callable[[Evidence], Evidence] = lambda evidence: evidence
    evidence_answers: list[Plain] = field(default_factory=list)
    pieces: Callable[[list[bytes]], list[bytes]] = lambda pieces: pieces
    cut_after: int | None = None
    signature: Callable[[dict[str, Any]], dict[str, Any]] = lambda fields: fields
    max_age: int = 600
    is_old: bool = False


class Chat:
    """Scripted chat: says the words, with tools calls one, and signs what it says."""

    def __init__(self, signing_keys: SigningKeys, faults: Faults) -> None:
        self.signing_keys = signing_keys
        self.faults = faults
        self.events: Sequence[dict[str, Any]] | None = None
        self.release = threading.Event()
        self.release.set()
        self.pause_after = 1
        self.padding_after = 0
        self.busy = 0
        self.abandoned = threading.Event()
        self.finished = threading.Event()
        self.inner: list[Request] = []
        self.toll: Toll | None = None

    async def dispatch(self, request: Request, delivery: Delivery) -> Answer:
        """Answer one inner request."""
        self.inner.append(request)
        if self.toll is not None and (refused := self.toll.refuse(request)) is not None:
            return refused
        if self.busy:
            self.busy -= 1
            return StreamedResponse(503, JSON, self._slow_error())
        if request.path.startswith(b"/v1/models"):
            return self._listed(request)
        return self._answer(request, delivery)

    def _listed(self, request: Request) -> Answer:
        """Answer what asks for models."""
        if request.path == b"/v1/models":
            listing = {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
            return Response(200, JSON, json.dumps(listing).encode())
        if request.path == f"/v1/models/{MODEL}".encode():
            return Response(200, JSON, json.dumps({"id": MODEL, "object": "model"}).encode())
        return _error(404, "there is no model of that name")

    def _answer(self, request: Request, delivery: Delivery) -> Answer:
        """Answer what asks a model."""
        body = json.loads(request.content)
        if body.get("model") != MODEL:
            return _error(404, f"there is no model {body.get('model')}")
        if request.path == EMBEDDINGS:
            return Response(200, JSON, json.dumps(self._embedded(request, body)).encode())
        if body.get("stream") and delivery is Delivery.WHOLE:
            return _error(400, "streams need the chunked media type")
        if request.path.startswith(MESSAGES):
            return self._message(request, body)
        if body.get("stream"):
            return StreamedResponse(200, EVENTS, self._stream(request, body))
        if self.toll is not None:
            fields = (*JSON, *self.toll.told)
            return Response(200, fields, json.dumps(self._whole(request, body)).encode())
        return Response(200, JSON, json.dumps(self._whole(request, body)).encode())

    def _message(self, request: Request, body: dict[str, Any]) -> Answer:
        """Answer in Anthropic's shape."""
        if request.path != MESSAGES:
            return Response(200, JSON, json.dumps({"input_tokens": 3}).encode())
        identity, text = Identity("msg_1", 1, MODEL), "".join(WORDS)
        signature = self._signed(request, {"index": 0, "content": text, "finish_reason": FINISHED})
        if not body.get("stream"):
            answer = chat.Answer([chat.Choice(0, chat.Reply(content=text), None, FINISHED)])
            return Response(200, JSON, write_message(answer, identity, signature))
        writer = MessageStream(identity)
        deltas = [chat.ChoiceDelta(0, chat.Delta(content=word)) for word in WORDS]
        ends = [writer.write(deltas), writer.finish(chat.Usage(1, 3, 4), signature)]
        return StreamedResponse(200, EVENTS, _pieces(b": padding\n\n".join(ends)))

    def _embedded(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Return one vector for each text, in the encoding that is asked for."""
        entries = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = [encode_vector([len(entry), 0.1]) for entry in entries]
        signer = Signer(lambda: self.signing_keys, time.time)
        signature = signer.sign_vectors(request.content, vectors, MODEL, asked_algorithm(request))
        wanted = body.get("encoding_format", "float")
        identity = Identity("", 1, MODEL)
        signed = self.faults.signature(signature)
        answer: dict[str, Any] = json.loads(
            Embeddings().write(Vectors(vectors, 3), wanted, identity, signed)
        )
        return answer

    def _whole(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        message = _message(request, body)
        said = message if "text" in message else {"message": message}
        choice = {"index": 0, "finish_reason": "stop", **said}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [choice],
            "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4},
            **self._signed(request, choice),
        }

    async def _stream(self, request: Request, body: dict[str, Any]) -> AsyncIterator[bytes]:
        message = _message(request, body)
        try:
            for number, event in enumerate(self.events or _events(message), 1):
                yield b": padding\n\ndata: " + json.dumps(event).encode() + b"\r\n\r\n"
                if self.toll is not None and self.toll.breaks_streams:
                    yield self.toll.broken_stream()
                    return
                while number >= self.pause_after and not self.release.is_set():
                    await asyncio.sleep(0.01)
                    yield b": padding\n\n"
            finish = None if "text" in message else FINISHED
            choice = {"index": 0, "finish_reason": finish, **message}
            last = {**_chunk(), "choices": [], **self._signed(request, choice)}
            yield b"data: " + json.dumps(last).encode() + b"\n\ndata: [DONE]\n\n"
            for _ in range(self.padding_after):
                await asyncio.sleep(0.01)
                yield b": padding\n\n"
            self.finished.set()
        except BaseException:
            self.abandoned.set()
            raise

    async def _slow_error(self) -> AsyncIterator[bytes]:
        try:
            yield _error(503, "busy").content
            for _ in range(20):
                await asyncio.sleep(0.01)
                yield b" "
            self.finished.set()
        except BaseException:
            self.abandoned.set()
            raise

    def _signed(self, request: Request, choice: dict[str, Any]) -> dict[str, Any]:
        signer = Signer(lambda: self.signing_keys, time.time, 1 if self.faults.is_old else 2)
        algorithm = None if self.faults.is_old else asked_algorithm(request)
        return self.faults.signature(signer.sign(request.content, [choice], MODEL, algorithm))


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100):
        yield data[start : start + 100]


def _message(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    if request.path == b"/v1/completions":
        return {"text": "".join(WORDS)}
    if "tools" in body:
        name = body["tools"][0]["function"]["name"]
        function = {"name": name, "arguments": '{"city":"Paris"}'}
        call = {"id": "call_1", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if "response_format" in body:
        return {"role": "assistant", "content": '{"city": "Paris"}'}
    return {"role": "assistant", "content": "".join(WORDS)}


def _chunk() -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}


def _events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "text" in message:
        for word in WORDS:
            yield {**_chunk(), "choices": [{"index": 0, "text": word}]}
        return
    for delta in _deltas(message):
        yield {**_chunk(), "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**_chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": FINISHED}]}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant"}
    for call in message.get("tool_calls", ()):
        function = {**call["function"], "arguments": ""}
        yield {"tool_calls": [{"index": 0, **call, "function": function}]}
        arguments = call["function"]["arguments"]
        for part in (arguments[:5], arguments[5:]):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
    if message["content"] == "".join(WORDS):
        yield from ({"content": word} for word in WORDS)
    elif message["content"]:
        yield {"content": message["content"]}


def _error(status: int, message: str) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return Response(status, JSON, json.dumps({"error": error}).encode())


def new_keys(first_id: int) -> tuple[GatewayKey, ...]:
    """Return a new key of each mechanism."""
    return tuple(GatewayKey.generate(first_id + place, kem) for place, kem in enumerate(MECHANISMS))


class StandInGateway:
    """Serves on a loopback port while the `with` block runs."""

    def __init__(
        self,
        *,
        name: str = "first",
        uds: str | None = None,
        port: int = 0,
        toll: Toll | None = None,
    ) -> None:
        self.faults = Faults()
        self.keys = new_keys(1)
        self.accepted = [*self.keys]
        self.module = security_module(name)
        self.signing_keys = signing_keys(name)
        self.chat = Chat(self.signing_keys, self.faults)
        self.chat.toll = toll
        self.arrived: list[Arrived] = []
        self.files: dict[str, bytes] = {}  # that a relay or a front serves beside
        self.gateway = Gateway(lambda: self.accepted, self.chat.dispatch)
        self._server = _Server(self, uds, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def rotate(self) -> None:
        """Replace the keys: requests to the old ones get 422."""
        self.keys = new_keys(self.keys[-1].key_id + 1)
        self.accepted[:] = self.keys

    def evidence(self, nonce: bytes | None = None) -> Evidence:
        """Return evidence for the keys of the moment."""
        configs = [key.config for key in self.keys]
        keys, held = encode_key_configs(configs), attested_config(configs)
        first, second = self.signing_keys.public_keys
        # One of before there was a second key has one.
        more = None if self.faults.is_old else second
        toll = self.chat.toll
        catalogue = None if toll is None or toll.is_hidden else toll.catalogue.encode()
        spki = None if more is None else encode_spki(more)
        user_data = encode_user_data(keys, encode_spki(first), spki, catalogue)
        document = self.module.attest(user_data, None if held is None else held.encode(), nonce)
        pem = None if more is None else encode_pem(more)
        return Evidence(
            document, keys, encode_pem(first), Platform.SIMULATED, pem, token_catalogue=catalogue
        )

    def posts(self) -> list[Arrived]:
        """Return the sealed requests that arrived."""
        return [arrived for arrived in self.arrived if arrived.method == "POST"]

    def close(self) -> None:
        """Give the port back; for a gateway that never served."""
        self._server.server_close()

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving and let go of every stream."""
        self.chat.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # a crowd that comes at once

    def __init__(self, gateway: StandInGateway, uds: str | None, port: int) -> None:
        self.gateway = gateway
        self._open: set[socket.socket] = set()
        if uds is not None:
            self.address_family = socket.AF_UNIX
        super().__init__(("127.0.0.1", port), _Handler, bind_and_activate=uds is None)
        if uds is not None:
            self.socket.bind(uds)
            self.socket.listen()
            self.server_port = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address or ("unix", 0)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End connections that clients keep alive, and wait for their threads."""
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is gone
        deadline = time.monotonic() + 60
        while self._open and time.monotonic() < deadline:
            time.sleep(0.005)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        """Send each piece at once; a Unix socket does so anyway."""
        super().setup()
        if self.server.address_family != socket.AF_UNIX:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing."""

    def do_GET(self) -> None:
        """Serve evidence and keys."""
        self._keep(b"", ())
        gateway = self.server.gateway
        path, _, query = self.path.partition("?")
        if gateway.faults.evidence_answers:
            self._plain(gateway.faults.evidence_answers.pop(0))
        elif path == "/v1/attestation":
            nonce = bytes.fromhex(query.removeprefix("nonce=")) if query else None
            evidence = gateway.faults.evidence(gateway.evidence(nonce))
            age = (("Cache-Control", f"public, max-age={gateway.faults.max_age}"),)
            self._plain(Plain(200, "application/json", evidence.encode(), age))
        elif path in gateway.files:
            self._plain(Plain(200, "application/json", gateway.files[path]))
        elif path == "/.well-known/ohttp-gateway":
            keys = gateway.evidence().ohttp_keys
            self._plain(Plain(200, "application/ohttp-keys", keys))
        else:
            self._plain(Plain(404, PROBLEM, b"{}"))

    def do_POST(self) -> None:
        """Answer a sealed request."""
        body, sizes = self._body()
        self._keep(body, sizes)
        faults = self.server.gateway.faults
        if faults.outer:
            self._plain(faults.outer.pop(0))
            return
        try:
            asyncio.run(self._answer(body))
        except KeyRejected:
            problem = {"type": KEY_PROBLEM, "status": 422}
            self._plain(Plain(422, PROBLEM, json.dumps(problem).encode()))
        except ProtocolError:
            self._plain(Plain(400, PROBLEM, b"{}"))

    async def _answer(self, body: bytes) -> None:
        gateway = self.server.gateway.gateway
        if self.headers["content-type"] == "message/ohttp-req":
            sealed = await gateway.answer(body)
            for piece in self.server.gateway.faults.pieces([sealed]):
                self._plain(Plain(200, "message/ohttp-res", piece))
            return
        exchange = gateway.open_chunked(body)
        self._head(200, "message/ohttp-chunked-res", (("Incremental", "?1"),))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        await self._chunked(exchange.sealer, await exchange.respond())

    async def _chunked(self, sealer: Any, answer: Answer) -> None:
        encoder = ResponseEncoder()
        faults = self.server.gateway.faults
        head = encoder.informational(102, ((b"padding", b"x" * 20),))
        head += encoder.start(answer.status, answer.headers)
        contents = answer.content if isinstance(answer, StreamedResponse) else _one(answer.content)
        sent = 0
        pieces = [sealer.seal(head)]
        async for content in contents:
            pieces.append(sealer.seal(encoder.content(content)))
            for piece in faults.pieces(pieces):
                self._chunk(piece)
                sent += 1
                if faults.cut_after == sent:
                    self.close_connection = True
                    return
            pieces = []
        for piece in faults.pieces([sealer.finish(encoder.finish())]):
            self._chunk(piece)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        if data:  # an empty chunk would be the end
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _plain(self, plain: Plain) -> None:
        self._head(plain.status, plain.media_type, plain.fields)
        self.send_header("Content-Length", str(len(plain.body)))
        self.end_headers()
        self.wfile.write(plain.body)

    def _head(self, status: int, media_type: str, fields: tuple[tuple[str, str], ...]) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", media_type)
        for name, value in fields:
            self.send_header(name, value)

    def _keep(self, body: bytes, sizes: tuple[int, ...]) -> None:
        fields = tuple(self.headers.items())
        arrived = Arrived(self.command, self.path, fields, body, sizes)
        self.server.gateway.arrived.append(arrived)

    def _body(self) -> tuple[bytes, tuple[int, ...]]:
        if self.headers["transfer-encoding"] != "chunked":
            return self.rfile.read(int(self.headers["content-length"])), ()
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks), tuple(len(chunk) for chunk in chunks)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
