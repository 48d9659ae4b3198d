"""What servers say of thoughts that only they can read, and want back with the next request.

OpenRouter has `reasoning_details` on a message, which come in pieces; Google's compatible endpoint
has a signature on a call, in `extra_content`. Both are kept as states.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from enclave_server.chat.conversation import PartState, State
from enclave_server.chat.states import GOOGLE

NAME = "openai-chat"

# Of one answer: what a long chain of thought takes. What is longer is not kept.
MAX_DETAILS_CHARACTERS = 1 << 20

# What a detail takes besides its characters, and each of these in octets.
DETAIL_CHARACTERS = 128
CHARACTER_OCTETS = 4

# Of a detail, what comes in pieces.
_PIECES = ("text", "summary", "data")

Json = dict[str, Any]


class Detail(msgspec.Struct):
    """A detail of a thought as far as it has come: its members, and those that come in pieces."""

    members: Json
    pieces: dict[str, bytearray] = {}

    def whole(self) -> Json:
        """Return it with its pieces joined."""
        return self.members | {name: piece.decode() for name, piece in self.pieces.items()}


class Thoughts(msgspec.Struct):
    """Collects what a stream says of thoughts; the details of a message are told at its end."""

    details: dict[int, list[Detail]] = {}
    size: int = 0

    @property
    def kept(self) -> int:
        """The octets that are kept of details, about."""
        return CHARACTER_OCTETS * self.size

    def take(self, choice: int, said: Mapping[str, Any], calls: Sequence[int]) -> list[PartState]:
        """Return the states of the calls in `said`, which have the numbers `calls`."""
        for detail in _listed(said.get("reasoning_details")):
            self.size += sum(len(str(value)) for value in detail.values())
            if self.size <= MAX_DETAILS_CHARACTERS:
                self.size += _append(self.details.setdefault(choice, []), detail)
        return [*_of_calls(choice, said, calls)]

    def rest(self) -> tuple[PartState, ...]:
        """Return the states of the messages, once."""
        details, self.details = self.details, {}
        if self.size > MAX_DETAILS_CHARACTERS:  # a part of them is refused
            return ()
        return tuple(
            PartState(choice, State(NAME, msgspec.json.encode([each.whole() for each in listed])))
            for choice, listed in details.items()
        )


def said_again(state: State | None) -> Json:
    """Return the member of a message that gives back its state, if it has one of ours."""
    details = _decoded(state) if state is not None and state.dialect == NAME else None
    return {"reasoning_details": details} if details else {}


def signed_again(state: State | None) -> Json:
    """Return the member of a call that gives back the signature of its thought, if it has one."""
    if state is None or state.dialect not in (NAME, GOOGLE):
        return {}
    signature = state.value.decode("utf-8", "replace")
    return {"extra_content": {"google": {"thought_signature": signature}}}


def _decoded(state: State) -> list[Json]:
    try:
        return msgspec.json.decode(state.value, type=list[Json])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []  # a client's own


def _append(details: list[Detail], piece: Json) -> int:
    """Add `piece` to the last detail if it goes on with it, else after it; return what it takes.

    Its own characters are not counted.
    """
    last = details[-1] if details else None
    if last is None or any(piece.get(name) != last.members.get(name) for name in ("type", "index")):
        details.append(Detail(dict(piece)))
        return DETAIL_CHARACTERS
    for name, value in piece.items():
        if name in _PIECES and isinstance(value, str) and _goes_on(last, name):
            last.pieces[name] += value.encode()
        elif value:
            last.pieces.pop(name, None)
            last.members[name] = value
    return 0


def _goes_on(detail: Detail, name: str) -> bool:
    """Whether the member of that name is a text, to which its pieces are then added."""
    if name not in detail.pieces and isinstance(begun := detail.members.get(name), str):
        detail.pieces[name] = bytearray(begun.encode())
    return name in detail.pieces


def _of_calls(choice: int, said: Mapping[str, Any], calls: Sequence[int]) -> Iterator[PartState]:
    for number, call in zip(calls, _listed(said.get("tool_calls")), strict=False):
        match call:
            case {"extra_content": {"google": {"thought_signature": str(signature)}}}:
                yield PartState(choice, State(NAME, signature.encode()), number)


def _listed(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
