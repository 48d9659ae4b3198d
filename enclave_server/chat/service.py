"""The chat service: inner requests in, signed inner answers out."""

import secrets
import time
from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from enclave_server.chat.asking import Asking, Upstreams
from enclave_server.chat.conversation import AnyQuestion, Conversation, Message
from enclave_server.chat.errors import JSON_FIELD, ChatError, invalid
from enclave_server.chat.limits import check
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.recoder import Expected, Outputs, Recoder, Sign
from enclave_server.chat.signing import Signer, asked_algorithm
from enclave_server.chat.streaming import EventStream
from enclave_server.chat.strict_json import printable
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.completions import Completions
from enclave_server.chat.surfaces.surface import Identity, Signature, Surface
from enclave_server.chat.turns import Turns
from enclave_server.memory import Holding, Memory
from protocol.binary_http import Request, Response, field_value
from protocol.gateway import Answer, Answering, Delivery, StreamedResponse
from protocol.registry import EVENT_STREAM, JSON, media_type
from protocol.signature import Algorithm, SigningKeys

MODELS_PATH = b"/v1/models"
EVENT_STREAM_FIELD = (b"content-type", EVENT_STREAM)
OWNER = "oblivious-inference"

SURFACES: dict[bytes, Surface] = {
    b"/v1/chat/completions": ChatCompletions(),
    b"/v1/completions": Completions(),
}


class ChatService:
    """Answers inner requests from the models of a table, signed with the keys of the moment."""

    def __init__(
        self,
        models: ModelTable,
        signing_keys: Callable[[], SigningKeys],
        *,
        version: int = 2,
        clock: Callable[[], float] = time.time,
        repeated: Callable[[], None] = lambda: None,
        memory: Memory | None = None,
    ) -> None:
        """`version` is that of signatures for who asks for no algorithm.

        `repeated` is called for every request that an upstream was asked a second time. Answers
        under way take of `memory`, by default one of its own.
        """
        self._memory = memory or Memory()
        self._models = models
        self._signer = Signer(signing_keys, clock, version)
        self._clock = clock
        self._upstreams = Upstreams(models, repeated)
        self._turns = Turns()

    def dispatch(self, request: Request, delivery: Delivery) -> Answering:
        """Return the answer to an inner request; whatever is wrong with it is an answer too.

        It is there at once if no upstream has to be asked.
        """
        if (surface := SURFACES.get(request.path)) is not None:
            return self._ask(surface, request, delivery)
        try:
            return self._list(request)
        except ChatError as error:
            return error.response()

    def close(self) -> None:
        """Close idle connections to upstreams."""
        self._upstreams.close()

    async def _ask(self, surface: Surface, request: Request, delivery: Delivery) -> Answer:
        try:
            _require_method(request, b"POST")
            _require_json(request)
            algorithm = asked_algorithm(request)
            await self._turns.wait(len(request.content))
            model, asking, expected = self._prepare(surface, request.content, delivery)
            sign = self._signing(request.content, model, algorithm)
            if expected is None:
                return await self._whole(surface, model, asking, sign)
            return await self._streamed(surface, model, asking, expected, sign)
        except ChatError as error:
            return surface.refuse(error)

    def _prepare(
        self, surface: Surface, content: bytes, delivery: Delivery
    ) -> tuple[Model, Asking, Expected | None]:
        """Return the model, what asks its upstream, and what to expect of a stream.

        Apart, so that what was parsed does not take memory for as long as the upstream thinks.
        """
        question = surface.read(content)
        model = self._find(question.model)
        check(question, model)
        if question.stream and delivery is Delivery.WHOLE:
            raise invalid(
                "A stream needs the chunked media type: send the request as "
                "message/ohttp-chunked-req, or set 'stream' to false.",
                "stream",
            )
        asking = self._upstreams.prepare(_instructed(question, model), model)
        return model, asking, _expected(question)

    def _signing(self, request_body: bytes, model: Model, algorithm: Algorithm | None) -> Sign:
        def sign(outputs: Outputs) -> Signature:
            return self._signer.sign(request_body, outputs, model.name, algorithm)

        return sign

    async def _whole(self, surface: Surface, model: Model, asking: Asking, sign: Sign) -> Response:
        with Holding(self._memory) as holding:
            answer = await asking.whole(holding)
            signature = sign([choice.output for choice in answer.choices])
            content = surface.write(answer, self._name(surface, model), signature)
        # From here on it is held by whoever sends it, without a turn of the loop in between.
        return Response(200, (JSON_FIELD,), content)

    async def _streamed(
        self,
        surface: Surface,
        model: Model,
        asking: Asking,
        expected: Expected,
        sign: Sign,
    ) -> StreamedResponse:
        response, reader = await asking.stream()
        writer = surface.stream(self._name(surface, model))
        recoder = Recoder(reader, writer, expected, sign, Holding(self._memory))
        return StreamedResponse(200, (EVENT_STREAM_FIELD,), EventStream(response, recoder))

    def _name(self, surface: Surface, model: Model) -> Identity:
        return Identity(surface.id_prefix + secrets.token_hex(12), int(self._clock()), model.name)

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
        return Response(200, (JSON_FIELD,), body)


def _describe(model: Model) -> dict[str, str | int]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": OWNER}


def _require_method(request: Request, method: bytes) -> None:
    if request.method != method:
        message = f"This path answers {method.decode()} only."
        raise ChatError(405, message, code="method_not_allowed", fields=((b"allow", method),))


def _require_json(request: Request) -> None:
    if media_type(field_value(request.headers, b"content-type")) != JSON:
        raise ChatError(415, "The Content-Type must be application/json.")
    if field_value(request.headers, b"content-encoding") not in (None, b"identity"):
        raise ChatError(415, "The body must not be compressed.")


def _instructed(question: AnyQuestion, model: Model) -> AnyQuestion:
    """Return `question` with the model's system prompt, if it has one and nobody instructs it."""
    if model.system_prompt is None or not isinstance(question, Conversation):
        return question
    if question.is_instructed:
        return question
    messages = [Message("system", model.system_prompt), *question.messages]
    return msgspec.structs.replace(question, messages=messages)


def _expected(question: AnyQuestion) -> Expected | None:
    return Expected(question.choices, question.usage) if question.stream else None
