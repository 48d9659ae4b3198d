"""How freely a model chooses its words, by the fields and in the range that its provider takes."""

from collections.abc import Mapping
from typing import Any

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.refusals import unsupported, unsupported_value
from enclave_server.chat.profiles import Profile

_MOST = {"one": 1.0, "two": 2.0}


def temperature_of(question: Conversation, profile: Profile) -> float | None:
    """Return the temperature to ask for; raises ChatError 400 for one out of the range."""
    asked = question.temperature
    if profile.temperature == "none":
        return _hold_to_one("temperature", asked)
    most = _MOST[profile.temperature]
    if asked is not None and asked > most:
        raise unsupported_value("temperature", f"It takes 0 to {most:.0f}.")
    return asked


def top_p_of(question: Conversation, profile: Profile) -> float | None:
    """Return the share of likely tokens to ask for; raises ChatError 400 where none is taken."""
    if profile.temperature == "none":
        return _hold_to_one("top_p", question.top_p)
    return question.top_p


def further_sampling(question: Conversation, words: Mapping[str, str]) -> dict[str, Any]:
    """Return the further fields by the provider's `words` for them; raises ChatError for others."""
    asked = question.sampling or {}
    for name in asked:
        if name not in words:
            raise unsupported(name, "Leave it out.")
    return {words[name]: value for name, value in asked.items()}


def _hold_to_one(name: str, asked: float | None) -> float | None:
    """Return nothing to ask for: one is what comes without asking, and all that there is."""
    if asked not in (None, 1):
        raise unsupported_value(name, "It takes 1 alone, which may be left out.")
    return None
