"""Thought signatures: what the provider gives with a part, and demands to have back with it."""

import re

from enclave_server.chat.conversation import State
from enclave_server.chat.errors import Failure, UpstreamError, invalid
from enclave_server.chat.states import GOOGLE

NAME = "gemini"

# A signature holds what was thought: some kilobytes, rarely more than a hundred.
MAX_CHARACTERS = 1024 * 1024

STAND_IN = "skip_thought_signature_validator"
"""Google's own word for a call that another model made, or whose signature a client lost."""

_SIGNATURE = re.compile("[A-Za-z0-9+/_=-]+")


def keep(signature: str) -> State:
    """Return the state that holds a part's signature; raises UpstreamError for one that is none."""
    if not _is_signature(signature):
        raise UpstreamError(Failure.BROKEN)
    return State(NAME, signature.encode())


def recall(state: State | None, place: str) -> str | None:
    """Return the signature of a part, or None; raises ChatError 400 for a false one.

    `place` is where the state stands. It may have come in Google's own place.
    """
    if state is None or state.dialect not in (NAME, GOOGLE):
        return None
    signature = state.value.decode("ascii", "replace")
    if _is_signature(signature):
        return signature
    param = f"{place}.extra_content"
    raise invalid(f"'{param}' is not what came with an answer. Leave it out.", param)


def _is_signature(text: str) -> bool:
    return len(text) <= MAX_CHARACTERS and _SIGNATURE.fullmatch(text) is not None
