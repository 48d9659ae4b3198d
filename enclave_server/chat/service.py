"""The chat service: inner requests in, signed inner answers out (OpenAI's HTTP API)."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from enclave_server.chat.dialects.event_stream import EventStream
from enclave_server.chat.dialects.exchange import EVENT_STREAM_TYPE, JSON_TYPE, ask, read_whole
from enclave_server.chat.dialects.recoder import ChatEvent, Expected, Outputs, Recoder, TextEvent
from enclave_server.chat.dialects.scrub import strip, upstream_body
from enclave_server.chat.dialects.whole_answer import (
    Identity,
    UpstreamChat,
    UpstreamText,
    encode_answer,
    parse_chat,
    parse_text,
)
from enclave_server.chat.errors import JSON, ChatError, invalid
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.signing import Signer
from enclave_server.chat.strict_json import parse_object, printable
from enclave_server.chat.surfaces.schema import ChatRequest, CompletionRequest, convert
from enclave_server.chat.upstream.connections import UpstreamConnections
from protocol.binary_http import Request, Response, field_value
from protocol.gateway import Answer, Answering, Delivery, StreamedResponse

MODELS_PATH = b"/v1/models"
EVENT_STREAM = (b"content-type", EVENT_STREAM_TYPE)
OWNER = "oblivious-inference"

ModelRequest = ChatRequest | CompletionRequest


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the two ways to ask a model."""

    path: str
    prefix: str
    read: Callable[[dict[str, Any]], ModelRequest]
    parse: Callable[[bytes], UpstreamChat | UpstreamText]
    events: type[ChatEvent] | type[TextEvent]


ENDPOINTS = {
    b"/v1/chat/completions": Endpoint(
        "/chat/completions",
        "chatcmpl-",
        lambda fields: convert(fields, ChatRequest),
        parse_chat,
        ChatEvent,
    ),
    b"/v1/completions": Endpoint(
        "/completions",
        "cmpl-",
        lambda fields: convert(fields, CompletionRequest),
        parse_text,
        TextEvent,
    ),
}


class ChatService:
    """Answers inner requests from the models of a table, signed with the key of the moment."""

    def __init__(
        self,
        models: ModelTable,
        signing_key: Callable[[], RSAPrivateKey],
        *,
        clock: Callable[[], float] = time.time,
        repeated: Callable[[], None] = lambda: None,
    ) -> None:
        """`repeated` is called for every request that an upstream was asked a second time."""
        self._models = models
        self._signer = Signer(signing_key, clock)
        self._clock = clock
        self._upstreams = {
            upstream.name: UpstreamConnections(upstream, repeated)
            for upstream in models.upstreams()
        }

    def dispatch(self, request: Request, delivery: Delivery) -> Answering:
        """Return the answer to an inner request; whatever is wrong with it is an answer too.

        It is there at once if no upstream has to be asked.
        """
        if (endpoint := ENDPOINTS.get(request.path)) is not None:
            return self._ask(endpoint, request, delivery)
        try:
            return self._list(request)
        except ChatError as error:
            return error.response()

    def close(self) -> None:
        """Close idle connections to upstreams."""
        for connections in self._upstreams.values():
            connections.close()

    async def _ask(self, endpoint: Endpoint, request: Request, delivery: Delivery) -> Answer:
        try:
            _require_method(request, b"POST")
            _require_json(request)
            model, body, expected = self._prepare(endpoint, request.content, delivery)
            if expected is None:
                return await self._whole(endpoint, model, request.content, body)
            return await self._streamed(endpoint, model, request.content, body, expected)
        except ChatError as error:
            return error.response()

    def _prepare(
        self, endpoint: Endpoint, content: bytes, delivery: Delivery
    ) -> tuple[Model, bytes, Expected | None]:
        """Return the model, what goes to its upstream, and what to expect of a stream.

        Apart, so that what was parsed does not take memory for as long as the upstream thinks.
        """
        wanted = endpoint.read(strip(parse_object(content)))
        model = self._find(wanted.model)
        _check_abilities(wanted, model)
        body = upstream_body(wanted, model)
        if not wanted.stream:
            return model, body, None
        if delivery is Delivery.WHOLE:
            raise invalid(
                "A stream needs the chunked media type: send the request as "
                "message/ohttp-chunked-req, or set 'stream' to false.",
                "stream",
            )
        return model, body, Expected(_choices(wanted), _wants_usage(wanted))

    async def _whole(
        self, endpoint: Endpoint, model: Model, request_body: bytes, body: bytes
    ) -> Response:
        connections = self._upstreams[model.upstream.name]
        arriving = await ask(connections, endpoint.path, body, JSON_TYPE)
        try:
            answer = endpoint.parse(await read_whole(arriving))
        finally:
            await arriving.close()
        signature = self._signer.sign(request_body, [choice.output for choice in answer.choices])
        return Response(200, (JSON,), encode_answer(answer, self._name(endpoint, model), signature))

    async def _streamed(
        self, endpoint: Endpoint, model: Model, request_body: bytes, body: bytes, expected: Expected
    ) -> StreamedResponse:
        def sign(outputs: Outputs) -> dict[str, str | int]:
            return self._signer.sign(request_body, outputs)

        connections = self._upstreams[model.upstream.name]
        arriving = await ask(connections, endpoint.path, body, EVENT_STREAM_TYPE)
        recoder = Recoder(endpoint.events, self._name(endpoint, model), expected, sign)
        return StreamedResponse(200, (EVENT_STREAM,), EventStream(arriving, recoder))

    def _name(self, endpoint: Endpoint, model: Model) -> Identity:
        return Identity(endpoint.prefix + secrets.token_hex(12), int(self._clock()), model.name)

    def _find(self, name: str) -> Model:
        model = self._models.find(name)
        if model is None:
            raise ChatError(
                404,
                f"The model '{printable(name)}' does not exist here.",
                param="model",
                code="model_not_found",
            )
        return model

    def _list(self, request: Request) -> Response:
        if request.path == MODELS_PATH:
            _require_method(request, b"GET")
            listed = [_describe(model) for model in self._models.models]
            body = msgspec.json.encode({"object": "list", "data": listed})
        elif request.path.startswith(MODELS_PATH + b"/"):
            _require_method(request, b"GET")
            name = unquote(request.path.removeprefix(MODELS_PATH + b"/").decode("ascii"))
            body = msgspec.json.encode(_describe(self._find(name)))
        else:
            raise ChatError(404, "There is nothing at this path.", code="unknown_url")
        return Response(200, (JSON,), body)


def _describe(model: Model) -> dict[str, str | int]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": OWNER}


def _require_method(request: Request, method: bytes) -> None:
    if request.method != method:
        message = f"This path answers {method.decode()} only."
        raise ChatError(405, message, code="method_not_allowed", fields=((b"allow", method),))


def _require_json(request: Request) -> None:
    value = field_value(request.headers, b"content-type") or b""
    if value.partition(b";")[0].strip().lower() != JSON_TYPE:
        raise ChatError(415, "The Content-Type must be application/json.")
    if field_value(request.headers, b"content-encoding") not in (None, b"identity"):
        raise ChatError(415, "The body must not be compressed.")


def _check_abilities(request: ModelRequest, model: Model) -> None:
    """Refuse what the upstream of `model` would silently ignore or choke on."""
    if (request.n or 1) > model.max_choices:
        raise invalid(f"'n' is at most {model.max_choices} for this model.", "n", "invalid_value")
    if request.stream_options is not None and not request.stream:
        raise invalid("'stream_options' needs 'stream' to be true.", "stream_options")
    if isinstance(request, CompletionRequest):
        return
    if not model.tools and request.tools is not None:
        raise invalid("This model cannot call tools.", "tools", "unsupported_parameter")
    if not model.images and request.has_image:
        raise invalid(
            "'messages' show an image, which this model cannot see.",
            "messages",
            "unsupported_parameter",
        )


def _choices(request: ModelRequest) -> int:
    prompts = 1
    if isinstance(request, CompletionRequest) and isinstance(request.prompt, list):
        prompts = 1 if isinstance(request.prompt[0], int) else len(request.prompt)
    return prompts * (request.n or 1)


def _wants_usage(request: ModelRequest) -> bool:
    return request.stream_options is not None and request.stream_options.include_usage is True
