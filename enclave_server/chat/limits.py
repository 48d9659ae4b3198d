"""What is asked, held against what its model can do and against what it may cost."""

from enclave_server.chat.conversation import (
    AnyQuestion,
    Continuation,
    Conversation,
    Image,
    ObjectOf,
)
from enclave_server.chat.cost import Amount, amounts
from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.grammar import count_rules
from enclave_server.chat.images import SCHEME
from enclave_server.chat.models import Model

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
    if isinstance(question, Conversation):
        _check_conversation(question, model)
    else:
        _check_continuation(question, model)
    for amount in amounts(question, model.bounds.schema_nodes):
        _hold_against(amount, getattr(model.bounds, amount.bound))
    if model.bounds.grammar_rules and isinstance(question, Conversation):
        _check_grammar(question, model.bounds.grammar_rules)


def _check_conversation(question: Conversation, model: Model) -> None:
    if not model.tools and question.tools is not None:
        raise invalid("This model cannot call tools.", "tools", "unsupported_parameter")
    if not model.files and question.files:
        raise invalid(
            "'messages' hold a document, which this model cannot read.",
            "messages",
            "unsupported_parameter",
        )
    if not model.images and question.images:
        raise invalid(
            "'messages' show an image, which this model cannot see.",
            "messages",
            "unsupported_parameter",
        )
    if question.images and not model.profile.remote_images:
        _refuse_remote_images(question)


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
