"""The arguments of a call as the JSON object that some providers want instead of its text."""

from typing import Any

import msgspec

from enclave_server.chat.conversation import ToolCall
from enclave_server.chat.errors import invalid

_DECODER = msgspec.json.Decoder(dict[str, Any])


def arguments_of(call: ToolCall, place: str) -> dict[str, Any]:
    """Return what `call`, which stands at `place`, is called with; raises ChatError 400.

    Some models write nothing where a function takes nothing.
    """
    if not call.arguments.strip():
        return {}
    try:
        return _DECODER.decode(call.arguments)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        param = f"{place}.function.arguments"
        raise invalid(
            f"'{param}' is no JSON object, which this model's provider demands. If a model wrote "
            "it, leave that call and its result out.",
            param,
            "invalid_value",
        ) from None
