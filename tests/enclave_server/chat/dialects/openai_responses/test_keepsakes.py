"""Encrypted reasoning goes out as it came, and comes back as nothing else."""

import pytest

from enclave_server.chat.conversation import State
from enclave_server.chat.dialects.openai_responses.keepsakes import (
    MAX_ENTRIES,
    MAX_OCTETS,
    NAME,
    Called,
    Entry,
    Reasoning,
    Said,
    SummaryText,
    keep,
    octets_of,
    recall,
)
from enclave_server.chat.errors import ChatError, UpstreamError

THOUGHT = Reasoning("rs_1", "AB==", [SummaryText("Why")])


@pytest.mark.parametrize(
    "entries", [[THOUGHT], [THOUGHT, Said(), Called()], [Said("final_answer")]], ids=str
)
def test_what_was_kept_is_recalled(entries: list[Entry]) -> None:
    state = keep(entries)
    assert state is not None
    assert recall(state, "messages[0]") == entries


@pytest.mark.parametrize("entries", [[], [Said(), Called()]], ids=str)
def test_what_nobody_needs_is_not_kept(entries: list[Entry]) -> None:
    assert keep(entries) is None


def test_state_of_another_dialect_is_none() -> None:
    assert recall(None, "x") == recall(State("another", b"["), "x") == []


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[{}]",
        b"\xff",
        b"[" * 9999,
        b'[{"type":"message","role":"system"}]',
        b'[{"type":"reasoning","id":"rs_1"}]',
        b'[{"type":"reasoning","id":"rs_1","encrypted_content":"A","content":[]}]',
        b'[{"type":"item_reference","id":"rs_1"}]',
        b"[" + b",".join([b'{"type":"function_call"}'] * (MAX_ENTRIES + 1)) + b"]",
        b"[]" + b" " * MAX_OCTETS,
    ],
    ids=lambda value: value[:60].decode("latin-1"),
)
def test_what_was_not_made_here_is_refused(value: bytes) -> None:
    with pytest.raises(ChatError) as caught:
        recall(State(NAME, value), "messages[3]")
    assert (caught.value.status, caught.value.param) == (400, "messages[3].extra_content")


@pytest.mark.parametrize(
    "entries",
    [[THOUGHT] * (MAX_ENTRIES + 1), [Reasoning("rs_1", "A" * MAX_OCTETS)]],
    ids=["entries", "octets"],
)
def test_no_more_is_kept_than_is_recalled(entries: list[Entry]) -> None:
    with pytest.raises(UpstreamError):
        keep(entries)


def test_as_much_is_kept_as_is_recalled() -> None:
    """Exactly so many octets, and exactly so many entries."""
    around = octets_of(Reasoning("rs_1", "")) + len("[]")
    largest = [Reasoning("rs_1", "A" * (MAX_OCTETS - around))]
    for entries in (largest, [Reasoning("r", "A")] * MAX_ENTRIES):
        state = keep(entries)
        assert state is not None
        assert recall(state, "messages[0]") == entries
    assert len(getattr(keep(largest), "value", b"")) == MAX_OCTETS
