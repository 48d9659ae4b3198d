"""Counts of tokens, about: more for more, and of everything that is read."""

from enclave_server.chat.conversation import Message, Text
from enclave_server.chat.estimate import TOKENS_PER_IMAGE, count_tokens
from tests.support.conversations import HELLO, PDF, PNG, TOOLS, asked


def test_everything_that_is_read_counts() -> None:
    plain = count_tokens(asked())
    assert 1 <= plain <= 10
    assert count_tokens(asked(HELLO, HELLO)) > plain
    assert count_tokens(asked(tools=TOOLS)) > plain + 15
    assert count_tokens(asked(Message("user", [Text("Hello"), PNG]))) >= plain + TOKENS_PER_IMAGE
    assert count_tokens(asked(Message("user", [Text("Hello"), PDF]))) <= plain + 10


def test_a_page_of_english_has_some_hundred_tokens() -> None:
    page = "The quick brown fox jumps over the lazy dog. " * 60
    assert 500 < count_tokens(asked(Message("user", page))) < 900
