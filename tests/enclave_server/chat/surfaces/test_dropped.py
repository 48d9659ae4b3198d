"""The three classes of fields: none is in two of them, and what is read is not dropped."""

from pathlib import Path

import pytest

from enclave_server.chat.profiles import PROFILES
from enclave_server.chat.sampling import NAMES
from enclave_server.chat.surfaces import dropped
from enclave_server.chat.surfaces.chat_shapes import AssistantMessage, ChatRequest, GivenCall
from enclave_server.chat.surfaces.completions import CompletionRequest


def test_what_is_read_is_not_dropped() -> None:
    read = {*ChatRequest.__struct_fields__, *CompletionRequest.__struct_fields__}
    assert dropped.OF_REQUEST.isdisjoint(read)
    assert dropped.OF_MESSAGE.isdisjoint(AssistantMessage.__struct_fields__)
    assert dropped.OF_CALL.isdisjoint(GivenCall.__struct_fields__)


def test_no_field_is_in_two_classes() -> None:
    assert dropped.OF_REQUEST.isdisjoint(NAMES)
    assert dropped.ADVICE.keys().isdisjoint(NAMES | dropped.OF_REQUEST)


def test_advice_is_a_sentence() -> None:
    assert all(advice.endswith(".") for advice in dropped.ADVICE.values())


TABLES = (Path(__file__).resolve().parents[4] / "docs/models.md").read_text()
CLASSES = {
    "request": dropped.OF_REQUEST
    | (dropped.EMPTY - {"tool_calls"})
    | dropped.OF_TOOLS
    | dropped.OF_STREAM_OPTIONS,
    "message": dropped.OF_MESSAGE,
    "part": dropped.OF_PART | dropped.OF_FILE,
    "call, and its function": dropped.OF_CALL,
    "tool, and its function": dropped.OF_TOOL,
}


@pytest.mark.parametrize("place", CLASSES)
def test_the_documents_say_what_is_dropped(place: str) -> None:
    (row,) = [line for line in TABLES.splitlines() if line.startswith(f"| {place} |")]
    said = row.replace("stream_options.", "")
    assert [name for name in sorted(CLASSES[place]) if f"`{name}`" not in said] == []


def test_the_documents_say_what_passes_and_whose_profile_is_which() -> None:
    assert [name for name in sorted(NAMES) if f"`{name}`" not in TABLES] == []
    assert [name for name in PROFILES if f"`{name}`" not in TABLES] == []
