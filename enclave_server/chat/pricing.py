"""What a question costs, which its client computes alike of its JSON (`protocol/token_asked.py`).

Of a conversation: its octets, its images and documents, its choices, and the tokens that it may be
answered with. Of prompts: all candidates, since the best of them are not made alone. Embeddings are
read and not written, so that their octets are all. Counts of tokens and lists of models are free.
"""

import msgspec

from enclave_server.chat.conversation import AnyQuestion, Conversation
from enclave_server.chat.embedding import Embedding
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model
from enclave_server.chat.paying import too_large
from protocol.token_prices import Asked, Budget, PricePoint, Tariff


def asked(question: AnyQuestion | Embedding, octets: int) -> Asked:
    """Return what of a question decides about its price; `octets` are those of its JSON."""
    if isinstance(question, Embedding):
        return Asked(octets, limit=0)
    if not isinstance(question, Conversation):
        return Asked(octets, question.max_tokens, question.candidates)
    # A document of a few octets may have hundreds of pages, which its reader sees as images.
    return Asked(octets, _limit(question), question.choices, len(question.shown))


def price_of(question: AnyQuestion | Embedding, octets: int, model: Model) -> PricePoint | None:
    """Return the least that a token for `question` costs, None if it is free; raises ChatError."""
    tariff = model.tariff
    if tariff.is_free:
        return None
    wanted = asked(question, octets)
    price = tariff.price_of(wanted)
    if price is None:
        raise _too_large(question, tariff.need(wanted), tariff)
    return price


def budgeted(question: AnyQuestion, model: Model, price: PricePoint | None) -> AnyQuestion:
    """Return `question` with a limit, if it has none, that a token of `price` pays for.

    A token may be of a price point that the model has no budget for: the next below it counts.
    """
    if price is None or _limit(question) is not None:
        return question
    written = question.choices if isinstance(question, Conversation) else question.candidates
    limit = model.tariff.limit(price, written)
    if model.output_limit is not None:
        limit = min(limit, model.output_limit)
    return msgspec.structs.replace(question, max_tokens=limit)


def _limit(question: AnyQuestion) -> int | None:
    """Return how many tokens an answer may have, the larger limit if a question names two."""
    if not isinstance(question, Conversation) or question.max_completion_tokens is None:
        return question.max_tokens
    if question.max_tokens is None:
        return question.max_completion_tokens
    return max(question.max_tokens, question.max_completion_tokens)


def _too_large(question: AnyQuestion | Embedding, need: Budget, tariff: Tariff) -> ChatError:
    """Return the error that names what is too large for the largest budget."""
    largest = tariff.budgets[max(tariff.budgets)]
    if need.output_tokens > largest.output_tokens:
        conversation = isinstance(question, Conversation) and question.max_tokens is None
        return too_large("max_completion_tokens" if conversation else "max_tokens")
    if isinstance(question, Embedding):
        return too_large("input")
    return too_large("messages" if isinstance(question, Conversation) else "prompt")
