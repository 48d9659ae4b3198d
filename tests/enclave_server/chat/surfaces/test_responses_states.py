"""States in `encrypted_content`: they come back as they went, and nothing else does."""

import pytest

from enclave_server.chat.conversation import PartState, State
from enclave_server.chat.states import Malformed
from enclave_server.chat.surfaces.responses_states import seal, unseal

ORIGIN = ("upstream", "model")


@pytest.mark.parametrize("call", [None, 0, 12])
def test_state_comes_back_with_its_call_and_its_origin(call: int | None) -> None:
    sealed = seal(PartState(0, State("d", b"\0value"), call), ORIGIN)
    assert unseal(sealed) == (call, State("d", b"\0value", ORIGIN))


@pytest.mark.parametrize("text", ["", "gAAAAAB", "message.", "message.AAAA", "call1", "callx.AAAA"])
def test_what_was_not_made_here_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        unseal(text)
