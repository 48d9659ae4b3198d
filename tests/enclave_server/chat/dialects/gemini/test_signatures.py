"""Thought signatures go out as they came, and come back as nothing else."""

import pytest

from enclave_server.chat.conversation import State
from enclave_server.chat.dialects.gemini.signatures import (
    MAX_CHARACTERS,
    NAME,
    STAND_IN,
    keep,
    recall,
)
from enclave_server.chat.errors import ChatError, UpstreamError
from enclave_server.chat.states import GOOGLE

SIGNATURE = "c2lnbmVk+/-_=="
FALSE = ["", "a b", '"', "é", "A" * (MAX_CHARACTERS + 1)]


def test_what_was_kept_is_recalled() -> None:
    assert recall(keep(SIGNATURE), "x") == SIGNATURE
    assert recall(State(GOOGLE, SIGNATURE.encode()), "x") == SIGNATURE
    assert recall(State(GOOGLE, STAND_IN.encode()), "x") == STAND_IN


def test_state_of_another_dialect_is_none() -> None:
    assert recall(None, "x") is recall(State("another", SIGNATURE.encode()), "x") is None


@pytest.mark.parametrize("text", FALSE, ids=lambda text: text[:9])
def test_what_is_no_signature_is_neither_kept_nor_recalled(text: str) -> None:
    with pytest.raises(UpstreamError):
        keep(text)
    with pytest.raises(ChatError) as caught:
        recall(State(NAME, text.encode()), "messages[3]")
    assert (caught.value.status, caught.value.param) == (400, "messages[3].extra_content")
