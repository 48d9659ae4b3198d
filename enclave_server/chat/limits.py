"""What is asked, held against what its model can do and against what it may cost."""

from enclave_server.chat.called import check_calls
from enclave_server.chat.conversation import (
    AnyObject,
    AnyQuestion,
    Continuation,
    Conversation,
    Image,
    ObjectOf,
)
from enclave_server.chat.cost import Amount, amounts, amounts_of_embedding
from enclave_server.chat.dialects.refusals import unsupported, unsupported_value
from enclave_server.chat.embedding import Embedding
from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.grammar import count_rules
from enclave_server.chat.images import SCHEME
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import Range

IMAGE_SHOWN = "'messages' show an image, which this model cannot see."
FILE_SHOWN = "'messages' hold a document, which this model cannot read."
EMBEDDINGS_ALONE = "This model makes embeddings alone: ask it at /v1/embeddings."
NO_EMBEDDINGS = "This model makes no embeddings."
FORMAT_WANTED = "This model cannot be held to a format."

# What a bound counts, as the client is told it.
UNITS = {
    "text_bytes": "octets of text",
    "messages": "messages, parts and calls",
    "choices": "answers",
    "tools": "tools",
    "images": "images",
    "schema_nodes": "values in schemas",
    "schema_depth": "levels in a schema",
    "logit_bias": "tokens",
    "stop_bytes": "octets",
    "grammar_rules": "rules in the grammar of its schema",
}


def check(question: AnyQuestion, model: Model) -> None:
    """Refuse what the upstream of `model` would silently ignore or choke on; raises ChatError."""
    require_chat(model)
    _check_sampling(question, model)
    if isinstance(question, Conversation):
        _check_conversation(question, model)
    else:
        _check_continuation(question, model)
    for amount in amounts(question, model.bounds.schema_nodes):
        _hold_against(amount, getattr(model.bounds, amount.bound))
    if model.bounds.grammar_rules and isinstance(question, Conversation):
        _check_grammar(question, model.bounds.grammar_rules)


def require_chat(model: Model) -> None:
    """Refuse a model that answers no chat; raises ChatError."""
    if model.embeddings:
        raise invalid(EMBEDDINGS_ALONE, "model", "unsupported_value")


def check_embedding(question: Embedding, model: Model) -> None:
    """Refuse embeddings that `model` does not make, or that cost too much; raises ChatError."""
    if not model.embeddings:
        raise invalid(NO_EMBEDDINGS, "model", "unsupported_value")
    for amount in amounts_of_embedding(question):
        _hold_against(amount, getattr(model.bounds, amount.bound))


def _check_conversation(question: Conversation, model: Model) -> None:
    shown = question.shown
    images = [part for part in shown if isinstance(part, Image)]
    for wanted, ability, param, sentence in (
        (question.tools is not None, model.tools, "tools", "This model cannot call tools."),
        (images, model.images, "messages", IMAGE_SHOWN),
        (len(shown) > len(images), model.files, "messages", FILE_SHOWN),
        (_is_structured(question), model.structured_output, "response_format", FORMAT_WANTED),
        (_is_to_think(question), model.reasoning, "reasoning_effort", "This model does not think."),
    ):
        if wanted and not ability:
            raise invalid(sentence, param, "unsupported_parameter")
    if images and not model.profile.remote_images:
        _refuse_remote_images(question)
    _check_effort(question, model.profile.efforts)
    _check_limits(question)
    check_calls(question)


def _is_structured(question: Conversation) -> bool:
    return isinstance(question.response_format, ObjectOf | AnyObject)


def _is_to_think(question: Conversation) -> bool:
    return question.reasoning_effort not in (None, "none")


def _check_effort(question: Conversation, efforts: tuple[str, ...] | None) -> None:
    wanted = question.reasoning_effort
    if wanted is not None and efforts is not None and wanted not in efforts:
        raise unsupported_value("reasoning_effort", f"It takes {', '.join(efforts) or 'no level'}.")


def _check_limits(question: Conversation) -> None:
    limits = {question.max_tokens, question.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise invalid(
            "'max_tokens' and 'max_completion_tokens' are two names of one limit, and say two.",
            "max_completion_tokens",
            "invalid_value",
        )


def _check_sampling(question: AnyQuestion, model: Model) -> None:
    for name in ("temperature", "top_p"):
        _check_range(name, getattr(question, name), model.profile.temperature)
    for name in question.sampling or ():
        if name not in model.sampling:
            known = ", ".join(sorted(model.sampling))
            advice = f"Of such fields it takes {known}." if known else "It takes none of its kind."
            raise unsupported(name, advice)


def _check_range(name: str, value: float | None, reach: Range) -> None:
    if value is None:
        return
    if reach == "none" and value != 1:
        raise unsupported_value(name, "It takes 1 alone, which is its default.")
    if reach == "one" and value > 1:
        raise unsupported_value(name, "It takes 0 to 1.")


def _refuse_remote_images(question: Conversation) -> None:
    for index, message in enumerate(question.messages):
        parts = message.content if isinstance(message.content, list) else ()
        for position, part in enumerate(parts):
            if isinstance(part, Image) and not part.url.startswith(SCHEME):
                raise invalid(
                    "The model's provider would fetch this image, and its server would learn who "
                    "shows it and when. Send it inside the request, as a data: URL.",
                    f"messages[{index}].content[{position}].image_url",
                    "remote_image_not_allowed",
                )


def _check_continuation(question: Continuation, model: Model) -> None:
    if model.completion_options:
        return
    wanted = {
        "suffix": question.suffix,
        "echo": question.echo,
        # The best of as many as are given anyway are all of them.
        "best_of": question.best_of and question.best_of != (question.n or 1),
    }
    for name, value in wanted.items():
        if value:
            raise invalid(f"This model knows no '{name}'.", name, "unsupported_parameter")


def _check_grammar(question: Conversation, limit: int) -> None:
    if isinstance(question.response_format, ObjectOf):
        rules = count_rules(question.response_format.schema or {}, limit)
        _hold_against(Amount("grammar_rules", "response_format", rules), limit)


def _hold_against(amount: Amount, limit: int) -> None:
    if amount.count <= limit:
        return
    sentence = f"'{amount.param}' exceeds this model's limit of {limit} {UNITS[amount.bound]}."
    # Programs know by this code that they have to shorten what they send.
    code = "context_length_exceeded" if amount.bound == "text_bytes" else "invalid_value"
    raise ChatError(400, sentence, param=amount.param, code=code)
