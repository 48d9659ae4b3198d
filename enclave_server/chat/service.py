"""The chat service: inner requests in, signed inner answers out."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from enclave_server.chat.aside import Aside, Elsewhere, in_turns
from enclave_server.chat.asking import Asking, Upstreams
from enclave_server.chat.elsewhere import (
    Ended,
    decode_counted,
    decode_prepared,
    decode_written,
    encode_job,
    encode_said,
    encode_uncounted,
)
from enclave_server.chat.errors import JSON_FIELD, ChatError, UpstreamError
from enclave_server.chat.finishing import Said, finish
from enclave_server.chat.large import Outside
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.paying import Payment, pay, presented_units, tell
from enclave_server.chat.preparing import (
    EMBEDDINGS,
    EMBEDDINGS_PATH,
    KINDS,
    MESSAGES,
    SURFACES,
    Job,
    KindName,
    Prepared,
    count,
    find_model,
    prepare,
)
from enclave_server.chat.recoder import Expected, Outputs, Recoder, Sign
from enclave_server.chat.signing import Signer, asked_algorithm
from enclave_server.chat.spoken import Spoken
from enclave_server.chat.streaming import EventStream
from enclave_server.chat.surfaces.embeddings import Embeddings
from enclave_server.chat.surfaces.surface import Identity, Signature, Surface
from enclave_server.chat.turns import Turns
from enclave_server.memory import Holding, Memory
from enclave_server.payment.gate import Gate
from protocol.binary_http import Request, Response, field_value
from protocol.gateway import Answer, Answering, Delivery, StreamedResponse
from protocol.registry import EVENT_STREAM, JSON, media_type
from protocol.signature import Algorithm, RequestHash, SigningKeys

MODELS_PATH = b"/v1/models"
COUNT_PATH = b"/v1/messages/count_tokens"
EVENT_STREAM_FIELD = (b"content-type", EVENT_STREAM)
ASKED: dict[bytes, Surface | Embeddings] = {**SURFACES, EMBEDDINGS_PATH: EMBEDDINGS}
OWNER = "oblivious-inference"

# Above this a request or an answer is read elsewhere. The worst of this size takes 5 milliseconds.
ELSEWHERE_BYTES = 64 * 1024


class Signing(NamedTuple):
    """What signs an answer here or elsewhere, and whether it covers what the model thought."""

    sign: Sign
    ended: Callable[[Sequence[Spoken]], Ended]
    covers_reasoning: bool


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
        elsewhere: Elsewhere | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`version` is that of signatures for who asks for no algorithm.

        `repeated` is called for every request that an upstream was asked a second time. Answers
        under way take of `memory`, by default one of its own. Without `elsewhere` large requests
        and answers are read here, and all others wait meanwhile. Without a `gate` nobody pays.
        """
        self._gate = gate
        self._elsewhere = elsewhere
        self._memory = memory or Memory()
        self._models = models
        self._signing_keys, self._version = signing_keys, version
        self._signer = Signer(signing_keys, clock, version)
        self._clock = clock
        self._upstreams = Upstreams(models, repeated)
        self._turns = Turns()
        self._aside_turn = asyncio.Semaphore(1)

    def dispatch(self, request: Request, delivery: Delivery) -> Answering:
        """Return the answer to an inner request; whatever is wrong with it is an answer too.

        It is there at once if no upstream has to be asked.
        """
        # Anthropic's SDKs ask at the same path with it when they ask for what is new.
        path = request.path.removesuffix(b"?beta=true")
        if (surface := ASKED.get(path)) is not None:
            return self._ask(surface, path, request, delivery)
        if path == COUNT_PATH:
            return self._count(request)
        try:
            return self._list(request)
        except ChatError as error:
            return error.response()

    def close(self) -> None:
        """Close idle connections to upstreams."""
        self._upstreams.close()

    async def _ask(
        self, surface: Surface | Embeddings, path: bytes, request: Request, delivery: Delivery
    ) -> Answer:
        try:
            _require_method(request, b"POST")
            _require_json(request)
            algorithm = asked_algorithm(request)
            await self._turns.wait(len(request.content))
            may_stream = delivery is Delivery.CHUNKED
            presented = None if self._gate is None else self._gate.look(request.headers)
            units = presented_units(presented)
            prepared = await self._prepare(Job(path, request.content, may_stream, units))
            # All that costs nothing has been looked at: from here on a token may be held.
            payment = await pay(self._gate, presented, prepared.price)
        except ChatError as error:
            return surface.refuse(error)
        try:
            return await self._answer(path, prepared, algorithm, payment)
        except ChatError as error:
            payment.fail(error)
            tell(error, payment)
            return surface.refuse(error)
        except BaseException as error:
            payment.fail(error)
            raise

    async def _answer(
        self, path: bytes, prepared: Prepared, algorithm: Algorithm | None, payment: Payment
    ) -> Answer:
        model, asking = self._asking(prepared)
        try:
            if prepared.expected is None:
                return await self._whole(path, prepared, model, asking, algorithm, payment)
            signing = self._signing(RequestHash(prepared.request_hash), model, algorithm)
            outside = self._aside(model, prepared.kind, signing.ended)
            return await self._streamed(
                SURFACES[path], model, asking, prepared.expected, signing, outside, payment
            )
        except UpstreamError as error:
            error.name_limit(prepared.limit_name)
            raise

    async def _count(self, request: Request) -> Response:
        """Return about how many tokens there are to read; no upstream is asked."""
        try:
            _require_method(request, b"POST")
            _require_json(request)
            await self._turns.wait(len(request.content))
            tokens = await self._counted(request.content)
        except ChatError as error:
            return MESSAGES.refuse(error)
        body = msgspec.json.encode({"input_tokens": tokens})
        return Response(200, (JSON_FIELD,), body)

    async def _counted(self, content: bytes) -> int:
        if self._elsewhere is None or len(content) <= ELSEWHERE_BYTES:
            return count(self._models, content)
        return await in_turns(self._elsewhere, partial(encode_uncounted, content), decode_counted)

    async def _prepare(self, job: Job) -> Prepared:
        if self._elsewhere is None or len(job.content) <= ELSEWHERE_BYTES:
            return prepare(self._models, job, self._upstreams.account)
        encode = partial(encode_job, job, self._upstreams.accounts())
        return await in_turns(self._elsewhere, encode, decode_prepared)

    async def _finish(self, said: Said) -> bytes:
        if self._elsewhere is None or len(said.body) <= ELSEWHERE_BYTES:
            return finish(self._models, self._signing_keys(), said)
        return await in_turns(self._elsewhere, partial(encode_said, said), decode_written)

    def _asking(self, prepared: Prepared) -> tuple[Model, Asking]:
        model = find_model(self._models, prepared.model)
        kind = KINDS[prepared.kind]
        request, joins = prepared.request, prepared.joins
        return model, self._upstreams.ask(model, kind, request, joins, prepared.paid_tokens)

    def _signing(
        self, request_hash: RequestHash, model: Model, algorithm: Algorithm | None
    ) -> Signing:
        def sign(outputs: Outputs) -> Signature:
            return self._signer.sign(request_hash, outputs, model.name, algorithm)

        def ended(choices: Sequence[Spoken]) -> Ended:
            now, digest = int(self._clock()), request_hash.digest
            return Ended(digest, model.name, algorithm, self._version, now, choices)

        return Signing(sign, ended, self._signer.covers_reasoning(algorithm))

    def _aside(
        self, model: Model, kind: KindName, ended: Callable[[Sequence[Spoken]], Ended]
    ) -> Aside | None:
        if self._elsewhere is None:
            return None
        return Aside(self._elsewhere, self._aside_turn, model.upstream.dialect, kind, ended)

    async def _whole(
        self,
        path: bytes,
        prepared: Prepared,
        model: Model,
        asking: Asking,
        algorithm: Algorithm | None,
        payment: Payment,
    ) -> Response:
        with Holding(self._memory) as holding:
            body = await asking.whole(holding, self._aside(model, prepared.kind, _unsigned))
            payment.begin()
            said = Said(
                path,
                prepared.kind,
                self._name(ASKED[path], model),
                self._version,
                algorithm,
                prepared.request_hash,
                body,
                is_joined=prepared.joins is not None,
                wanted=prepared.wanted,
                choices=prepared.choices,
            )
            content = await self._finish(said)
        # From here on it is held by whoever sends it, but for some turns in which a large one is
        # sealed.
        return Response(200, (JSON_FIELD, *payment.fields), content)

    async def _streamed(
        self,
        surface: Surface,
        model: Model,
        asking: Asking,
        expected: Expected,
        signing: Signing,
        outside: Outside | None,
        payment: Payment,
    ) -> StreamedResponse:
        response, reader = await asking.stream()
        writer = surface.stream(self._name(surface, model))
        recoder = Recoder(
            reader,
            writer,
            expected,
            signing.sign,
            Holding(self._memory),
            gives_reasoning=signing.covers_reasoning,
            outside=outside,
            payment=payment,
            paid_tokens=asking.paid_tokens,
        )
        return StreamedResponse(200, (EVENT_STREAM_FIELD,), EventStream(response, recoder))

    def _name(self, surface: Surface | Embeddings, model: Model) -> Identity:
        identifier = surface.id_prefix + secrets.token_hex(12)
        return Identity(identifier, int(self._clock()), model.name, model.upstream.name)

    def _list(self, request: Request) -> Response:
        if request.path == MODELS_PATH:
            _require_method(request, b"GET")
            listed = [_describe(model) for model in self._models.models]
            body = msgspec.json.encode({"object": "list", "data": listed})
        elif request.path.startswith(MODELS_PATH + b"/"):
            _require_method(request, b"GET")
            name = unquote(request.path.removeprefix(MODELS_PATH + b"/").decode("ascii"))
            body = msgspec.json.encode(_describe(find_model(self._models, name)))
        else:
            raise ChatError(404, "There is nothing at this path.", code="unknown_url")
        return Response(200, (JSON_FIELD,), body)


def _unsigned(choices: Sequence[Spoken]) -> Ended:
    """Raise ValueError: a joined answer is signed when it is finished."""
    raise ValueError("a joined answer is signed as a whole")


def _describe(model: Model) -> dict[str, object]:
    """Return OpenAI's four members, and what a model can, in the configuration's words."""
    counts = {"context_length": model.context_length, "output_limit": model.output_limit}
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": OWNER,
        **{name: count for name, count in counts.items() if count is not None},
        "tools": model.tools,
        "images": model.images,
        "files": model.files,
        "reasoning": model.reasoning,
        "structured_output": model.structured_output,
        "embeddings": model.embeddings,
        "later_instructions": model.profile.later_instructions,
        "sampling": sorted(model.sampling),
    }


def _require_method(request: Request, method: bytes) -> None:
    if request.method != method:
        message = f"This path answers {method.decode()} only."
        raise ChatError(405, message, code="method_not_allowed", fields=((b"allow", method),))


def _require_json(request: Request) -> None:
    if media_type(field_value(request.headers, b"content-type")) != JSON:
        raise ChatError(415, "The Content-Type must be application/json.")
    if field_value(request.headers, b"content-encoding") not in (None, b"identity"):
        raise ChatError(415, "The body must not be compressed.")
