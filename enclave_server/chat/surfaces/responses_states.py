"""States in `encrypted_content`, where programs of the Responses API keep what they cannot read.

A state of a call is in an item of reasoning as well, which names the call by its number in the
answer: an item that calls a function has no room for it.
"""

import re

from enclave_server.chat import states
from enclave_server.chat.conversation import PartState, State
from enclave_server.chat.states import Malformed, Origin

_SEALED = re.compile(r"(?:call([0-9]{1,4})|message)\.([A-Za-z0-9_-]+)")


def seal(given: PartState, origin: Origin) -> str:
    """Return the text that carries a state of an answer."""
    text = states.write(given.state, origin)[states.OURS]["state"]
    place = "message" if given.call is None else f"call{given.call}"
    return f"{place}.{text}"


def unseal(text: str) -> tuple[int | None, State]:
    """Return the number of the call that a state is of, or None, and the state.

    Raises Malformed for what was not made here.
    """
    found = _SEALED.fullmatch(text)
    state = states.read({states.OURS: {"state": found[2]}}) if found else None
    if found is None or state is None:
        raise Malformed
    return (None if found[1] is None else int(found[1])), state
