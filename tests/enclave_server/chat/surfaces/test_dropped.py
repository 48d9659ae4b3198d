"""The three classes of fields: none is in two of them, and what is read is not dropped."""

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
