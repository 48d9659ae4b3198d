"""What some providers' APIs have no word for: refused, unless it says what they do anyway."""

from collections.abc import Mapping

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.refusals import unsupported, unsupported_value
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import Profile

# Values that ask for nothing else than what comes without them.
ASKS_NOTHING: Mapping[str, object] = {
    "n": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
    "temperature": 1,
    "top_p": 1,
}

# Fields that Anthropic's API and Bedrock's have no word for, and what to do instead.
OF_ONE_ANSWER = {
    "n": "It gives one answer: ask several times.",
    "presence_penalty": "Leave it out.",
    "frequency_penalty": "Leave it out.",
    "seed": "Its answers cannot be made the same again: leave it out.",
    "logit_bias": "Leave it out.",
    "logprobs": "It does not tell how likely its words are: leave it out.",
    "top_logprobs": "It does not tell how likely its words are: leave it out.",
    "verbosity": "Say in the messages how long the answer is to be.",
}


def refuse(question: Conversation, advice: Mapping[str, str]) -> None:
    """Raise ChatError for the first of the fields that `advice` is on, if it asks for something."""
    for name, sentence in advice.items():
        value = getattr(question, name)
        if value is not None and value != ASKS_NOTHING.get(name):
            raise unsupported(name, sentence)


def nucleus(question: Conversation, profile: Profile) -> dict[str, float]:
    """Return `temperature` and `top_p` if they are said; raises ChatError out of the range."""
    wanted = {"temperature": question.temperature, "top_p": question.top_p}
    told: dict[str, float] = {}
    for name, value in wanted.items():
        if value is None:
            continue
        if value > 1:
            raise unsupported_value(name, "It takes 0 to 1.")
        if profile.temperature != "none":
            told[name] = value
        elif value != ASKS_NOTHING[name]:
            raise unsupported_value(name, "It takes 1 alone, which may be left out.")
    return told


def output_limit(question: Conversation, model: Model) -> int | None:
    """Return how many tokens may be answered: as asked, else as configured; raises ChatError."""
    asked, newer = question.max_tokens, question.max_completion_tokens
    if asked is not None and newer is not None and asked != newer:
        raise unsupported_value("max_tokens", "'max_completion_tokens' says another limit.")
    return newer or asked or model.output_limit or model.profile.output_limit
