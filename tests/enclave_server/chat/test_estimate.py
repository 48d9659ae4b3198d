"""Counts of tokens, about: more for more, and of everything that is read."""

from enclave_server.chat.conversation import File, Message, Text, Tool
from enclave_server.chat.estimate import TOKENS_PER_IMAGE, count_tokens
from tests.support.conversations import HELLO, PDF, PNG, TOOLS, asked


def test_everything_that_is_read_counts() -> None:
    plain = count_tokens(asked())
    assert 1 <= plain <= 10
    assert count_tokens(asked(HELLO, HELLO)) > plain
    assert count_tokens(asked(tools=TOOLS)) > plain + 15
    assert count_tokens(asked(Message("user", [Text("Hello"), PNG]))) >= plain + TOKENS_PER_IMAGE
    assert count_tokens(asked(Message("user", [Text("Hello"), PDF]))) <= plain + 10


def test_each_kind_has_its_share() -> None:
    """Seven octets of text are two tokens; of the rest a provider counts what it says it does."""
    plain = count_tokens(asked(HELLO))
    assert count_tokens(asked(Message("user", "Hello" + 7 * "x"))) == plain + 2
    assert count_tokens(asked(HELLO, Message("assistant", 7 * "x"))) == plain + 4 + 2
    said = Message("user", [Text("Hello"), PNG, PNG, File("A" * 400)])
    assert count_tokens(asked(said)) == plain + 2 * 1600 + 400 // 40


def test_a_schema_without_end_is_read_so_far_and_no_further() -> None:
    def tokens(values: int) -> int:
        return count_tokens(asked(tools=[Tool("f", parameters={"enum": ["7octets"] * values})]))

    most = 1 << 18
    assert tokens(9) == tokens(2) + 2 * 7
    assert tokens(most - 9) < tokens(most) == tokens(most + 9)


def test_a_page_of_english_has_some_hundred_tokens() -> None:
    page = "The quick brown fox jumps over the lazy dog. " * 60
    assert 500 < count_tokens(asked(Message("user", page))) < 900
