"""The members that are ever sent: each once, and none that tells whose a request is."""

from enclave_server.chat.dialects.openai_chat.members import CHAT_MEMBERS, TEXT_MEMBERS
from enclave_server.chat.surfaces.dropped import OF_REQUEST


def test_each_member_is_named_once() -> None:
    for members in (CHAT_MEMBERS, TEXT_MEMBERS):
        assert len(set(members)) == len(members)


def test_none_of_them_identifies() -> None:
    assert OF_REQUEST.isdisjoint({*CHAT_MEMBERS, *TEXT_MEMBERS})
