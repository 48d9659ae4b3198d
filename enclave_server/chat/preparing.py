"""What a request becomes before its upstream is asked: read, held against its model, and written.

It is a computation alone, so that another process can do it for a large request: no event loop's
clock waits for that. `elsewhere` has what passes between the two.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Literal

import msgspec

from enclave_server.chat.asking import write_embedding, write_request
from enclave_server.chat.conversation import (
    AnyQuestion,
    Continuation,
    Conversation,
    Kind,
    Message,
)
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.embedding import Embedding, Wanted
from enclave_server.chat.errors import ChatError, Failure, UpstreamError, invalid
from enclave_server.chat.estimate import count_tokens
from enclave_server.chat.later_instructions import placed
from enclave_server.chat.limits import check, check_embedding, require_chat
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.pricing import budgeted, price_of
from enclave_server.chat.recoder import Expected
from enclave_server.chat.states import without_foreign
from enclave_server.chat.strict_json import printable
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.completions import Completions
from enclave_server.chat.surfaces.embeddings import Embeddings
from enclave_server.chat.surfaces.messages import Messages
from enclave_server.chat.surfaces.responses import Responses
from enclave_server.chat.surfaces.surface import Surface
from protocol.token_prices import PricePoint

MESSAGES = Messages()

SURFACES: dict[bytes, Surface] = {
    b"/v1/chat/completions": ChatCompletions(),
    b"/v1/completions": Completions(),
    b"/v1/messages": MESSAGES,
    b"/v1/responses": Responses(),
}

EMBEDDINGS_PATH = b"/v1/embeddings"
EMBEDDINGS = Embeddings()

MOST_LISTED = 20
"""Models that are named to who asks for one that there is not; `/v1/models` lists all."""

KindName = Literal["conversation", "continuation", "embedding"]
KINDS: dict[str, Kind] = {
    "conversation": Conversation,
    "continuation": Continuation,
    "embedding": Embedding,
}

_PLACE = re.compile(r"messages\[([0-9]+)\]")

AccountOf = Callable[[str], Account | None]
"""Returns who pays at the upstream of a name, or None where a key is missing."""


class Job(msgspec.Struct, frozen=True):
    """A request to prepare: its path, its content, and whether its answer may be streamed.

    `presented` is what the token costs that came with it, in units; nothing of that is verified.
    """

    path: bytes
    content: bytes
    may_stream: bool
    presented: int | None = None


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """The model's name, what its upstream is asked, what a stream must have, and what is signed.

    `joins` is how many choices of a stream are joined into the whole answer that is wanted,
    `choices` how many any answer may have, `wanted` what it must have if it is embeddings, and
    `limit_name` what the client calls the limit of the answer. `price` is the least that a token
    for it costs, in units, `paid_tokens` what the token that came with it buys of the answer; None
    if it is free.
    """

    model: str
    kind: KindName
    request: UpstreamRequest
    expected: Expected | None
    request_hash: bytes
    joins: int | None = None
    wanted: Wanted | None = None
    choices: int | None = None
    limit_name: str | None = None
    price: int | None = None
    paid_tokens: int | None = None


def prepare(models: ModelTable, job: Job, account_of: AccountOf) -> Prepared:
    """Return what becomes of a request; raises ChatError. Of what is parsed nothing is kept."""
    if job.path == EMBEDDINGS_PATH:
        return _prepare_embedding(models, job, account_of)
    question = SURFACES[job.path].read(job.content)
    try:
        return _prepare(models, job, question, account_of)
    except ChatError as error:
        error.name_limit(question.limit_name)
        raise


def _prepare(
    models: ModelTable, job: Job, question: AnyQuestion, account_of: AccountOf
) -> Prepared:
    model = find_model(models, question.model)
    check(question, model)
    if question.stream and not job.may_stream:
        raise invalid(
            "A stream needs the chunked media type: send the request as "
            "message/ohttp-chunked-req, or set 'stream' to false.",
            "stream",
        )
    price, limit_name = price_of(question, len(job.content), model), question.limit_name
    bought = _larger(price, job.presented)
    question = budgeted(question, model, bought)
    account = _found(account_of, model)
    joins = model.profile.streams_always and not question.stream
    return Prepared(
        model.name,
        "conversation" if isinstance(question, Conversation) else "continuation",
        _written(question, model, account),
        Expected(question.choices, question.usage) if question.stream else None,
        hashlib.sha256(job.content).digest(),
        question.choices if joins else None,
        choices=question.choices,
        limit_name=limit_name,
        price=None if price is None else price.units,
        paid_tokens=_paid_tokens(question, model, bought),
    )


def _written(question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
    """Return what the upstream is asked; raises ChatError, which names the client's places."""
    fitted = _fitted(question, model)
    try:
        return write_request(fitted, model, account)
    except ChatError as error:
        if isinstance(question, Conversation) and isinstance(fitted, Conversation):
            raise _placed(error, len(fitted.messages) - len(question.messages)) from None
        raise


def _placed(error: ChatError, before: int) -> ChatError:
    """Return `error` of a message that the client has so many places `before`."""
    found = _PLACE.match(error.param or "")
    if found is None or not before:
        return error
    place = f"messages[{int(found[1]) - before}]"
    return ChatError(
        error.status,
        error.message.replace(f"'{found[0]}", f"'{place}"),
        kind=error.kind,
        param=_PLACE.sub(place, error.param or "", count=1),
        code=error.code,
        fields=error.fields,
    )


def _prepare_embedding(models: ModelTable, job: Job, account_of: AccountOf) -> Prepared:
    question = EMBEDDINGS.read(job.content)
    model = find_model(models, question.model)
    check_embedding(question, model)
    price = price_of(question, len(job.content), model)
    request = write_embedding(question, model, _found(account_of, model))
    digest = hashlib.sha256(job.content).digest()
    units = None if price is None else price.units
    wanted = question.wanted
    return Prepared(model.name, "embedding", request, None, digest, wanted=wanted, price=units)


def _larger(price: PricePoint | None, presented: int | None) -> PricePoint | None:
    """Return what the token buys: what it costs, and else what the request does."""
    if price is None or presented is None or presented <= price.units:
        return price
    return PricePoint(presented)


def _paid_tokens(question: AnyQuestion, model: Model, bought: PricePoint | None) -> int | None:
    """Return what was paid for of the answer; None if nothing, or if the question is said again."""
    if bought is None or (isinstance(question, Continuation) and question.echo):
        return None
    return model.tariff.limit(bought, choices=1)


def _found(account_of: AccountOf, model: Model) -> Account:
    account = account_of(model.upstream.name)
    if account is None:
        raise UpstreamError(Failure.NO_KEY)
    return account


def count(models: ModelTable, content: bytes) -> int:
    """Return about how many tokens a request to count them has; raises ChatError."""
    question = MESSAGES.read_to_count(content)
    require_chat(find_model(models, question.model))
    return count_tokens(question)


def find_model(models: ModelTable, name: str) -> Model:
    """Return the model of that name; raises ChatError 404."""
    model = models.find(name)
    if model is None:
        listed = ", ".join(model.name for model in models.models[:MOST_LISTED])
        raise ChatError(
            404,
            f"The model '{printable(name)}' does not exist here. There are: {listed}.",
            param="model",
            code="model_not_found",
        )
    return model


def _fitted(question: AnyQuestion, model: Model) -> AnyQuestion:
    """Return `question` as this model may be asked it: with no other's states, and instructed."""
    if model.profile.streams_always:
        question = msgspec.structs.replace(question, stream=True, usage=True)
    if model.profile.temperature == "none" and 1 in (question.temperature, question.top_p):
        question = msgspec.structs.replace(question, temperature=None, top_p=None)
    if not isinstance(question, Conversation):
        return question
    if not model.reasoning and question.reasoning_effort is not None:  # "none", which it does
        question = msgspec.structs.replace(question, reasoning_effort=None)
    own = without_foreign(question, (model.upstream.name, model.name))
    return _instructed(placed(own, model.profile.later_instructions), model)


def _instructed(question: Conversation, model: Model) -> Conversation:
    """Return `question` with the model's system prompt, if it has one and nobody instructs it."""
    if model.system_prompt is None or question.is_instructed:
        return question
    messages = [Message("system", model.system_prompt), *question.messages]
    return msgspec.structs.replace(question, messages=messages)
