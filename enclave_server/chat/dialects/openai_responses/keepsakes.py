"""What a provider gives for its own reasoning, so that it can be resent without being stored there.

A state is a JSON list with an entry for each item of an answer, in their order: reasoning as it
came, encrypted; of messages and calls, which the client resends itself, only that they were there.
"""

from collections.abc import Sequence

import msgspec

from enclave_server.chat.conversation import State
from enclave_server.chat.errors import ChatError, Failure, UpstreamError, invalid

NAME = "openai-responses"

# Reasoning is some hundred kilobytes at most.
MAX_OCTETS = 4 * 1024 * 1024
MAX_ENTRIES = 1024


class SummaryText(msgspec.Struct, frozen=True, tag_field="type", tag="summary_text"):
    """A paragraph of what was thought, retold."""

    text: str


class Reasoning(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="reasoning",
    forbid_unknown_fields=True,
):
    """An item of reasoning that its provider alone can read."""

    id: str
    encrypted_content: str
    summary: list[SummaryText] = []


class Said(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="message",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A message stood here; `phase` is whether it was the last word or on the way to it."""

    phase: str | None = None


class Called(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="function_call",
    forbid_unknown_fields=True,
):
    """A call stood here."""


Entry = Reasoning | Said | Called

_DECODER = msgspec.json.Decoder(list[Entry])


def octets_of(entry: Entry) -> int:
    """Return what `entry` takes in a state."""
    return len(msgspec.json.encode(entry))


def keep(entries: Sequence[Entry]) -> State | None:
    """Return the state that holds `entries`, or None if nobody needs it; raises UpstreamError."""
    if not any(isinstance(entry, Reasoning) or _has_phase(entry) for entry in entries):
        return None
    value = msgspec.json.encode(entries)
    if len(value) > MAX_OCTETS or len(entries) > MAX_ENTRIES:
        raise UpstreamError(Failure.BROKEN)
    return State(NAME, value)


def recall(state: State | None, place: str) -> list[Entry]:
    """Return the entries of a state that is of this dialect; raises ChatError 400 for a false one.

    `place` is where it stands.
    """
    if state is None or state.dialect != NAME:
        return []
    if len(state.value) > MAX_OCTETS:
        raise _false(place)
    try:
        entries = _DECODER.decode(state.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _false(place) from None
    if len(entries) > MAX_ENTRIES:
        raise _false(place)
    return entries


def _has_phase(entry: Entry) -> bool:
    return isinstance(entry, Said) and entry.phase is not None


def _false(place: str) -> ChatError:
    param = f"{place}.extra_content"
    return invalid(f"'{param}' is not what came with an answer. Leave it out.", param)
