"""What is asked, held against what its model can do."""

from enclave_server.chat.conversation import AnyQuestion, Conversation
from enclave_server.chat.errors import invalid
from enclave_server.chat.models import Model


def check(question: AnyQuestion, model: Model) -> None:
    """Refuse what the upstream of `model` would silently ignore or choke on; raises ChatError."""
    if (question.n or 1) > model.max_choices:
        raise invalid(f"'n' is at most {model.max_choices} for this model.", "n", "invalid_value")
    if isinstance(question, Conversation):
        _check_conversation(question, model)


def _check_conversation(question: Conversation, model: Model) -> None:
    if not model.tools and question.tools is not None:
        raise invalid("This model cannot call tools.", "tools", "unsupported_parameter")
    if not model.images and question.images:
        raise invalid(
            "'messages' show an image, which this model cannot see.",
            "messages",
            "unsupported_parameter",
        )
