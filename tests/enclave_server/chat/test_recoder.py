"""Between a reader and a writer: order, the end, and what a failure leaves."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from enclave_server.chat.conversation import END, ChoiceDelta, Delta, Event, PartState, State, Usage
from enclave_server.chat.errors import ChatError, Failure, UpstreamError
from enclave_server.chat.recoder import Expected, Recoder
from enclave_server.chat.surfaces.surface import Signature
from enclave_server.memory import Holding, Memory


class Letters:
    """Reads words of one letter.

    `.` is the end, `!` a fault, `#` the count, `@` a state, `~` a thought.
    """

    kept = 0
    largest = 0

    def feed(self, piece: bytes) -> Iterator[Event]:
        for letter in piece.decode():
            if letter == "!":
                raise UpstreamError(Failure.BUSY)
            if letter == "~":
                yield Event(thought=State("letters", b"~"))
            elif letter == "@":
                yield Event(states=(PartState(0, State("letters", b"@")),))
            elif letter == "#":
                yield Event(usage=Usage(1, 2, 3))
            elif letter == ".":
                yield END
            else:
                yield Event([ChoiceDelta(0, Delta(content=letter))])

    def read(self, octets: bytes) -> Iterator[Event]:
        raise NotImplementedError

    def save(self) -> bytes:
        raise NotImplementedError

    def restore(self, state: bytes) -> None:
        raise NotImplementedError


class Plain:
    """Writes words, ends and failures as they can be told apart at sight."""

    kept = 0

    def fit(self, parts: Sequence[ChoiceDelta]) -> None:
        pass

    def events(self, parts: Sequence[ChoiceDelta]) -> Iterator[bytes]:
        yield from ((part.delta.content or "<end>").encode() for part in parts)

    def end_thought(self, state: State) -> bytes:
        return b"<" + state.value + b">"

    def keep(self, states: Sequence[PartState]) -> bytes:
        return b"".join(b"<" + part.state.value + b">" for part in states)

    def conclusion(self, usage: Usage | None, signature: Signature) -> Iterator[bytes]:
        yield f"<{usage and usage.total_tokens} {signature['of']}>".encode()

    def fail(self, error: ChatError) -> bytes:
        return f"<{error.code}>".encode()


def sign(outputs: Sequence[dict[str, Any]]) -> dict[str, str | int]:
    return {"of": "+".join(output["content"] for output in outputs)}


def recoder(*, usage: bool = False, reasoning: bool = True) -> Recoder:
    expected, holding = Expected(1, usage), Holding(Memory())
    return Recoder(Letters(), Plain(), expected, sign, holding, gives_reasoning=reasoning)


def test_words_are_passed_on_and_signed_at_the_end() -> None:
    recoding = recoder()
    told = [(recoding.feed(piece), recoding.is_ending) for piece in (b"ab", b"c.")]
    assert told == [(b"ab", False), (b"c", True)]
    assert recoding.finish() == b"<end><None abc>"


def test_states_are_given_to_the_writer_where_they_came() -> None:
    assert recoder().feed(b"a@b~c") == b"a<@>b<~>c"
    assert recoder(reasoning=False).feed(b"a@b~c") == b"abc"
    plain = Recoder(Letters(), Plain(), Expected(1, usage=False), sign, Holding(Memory()))
    assert plain.feed(b"a@b~c") == b"a<@>b<~>c"


def test_what_follows_the_end_is_not_read() -> None:
    recoding = recoder()
    assert recoding.feed(b"a.b!") == b"a"
    assert not recoding.failed
    assert recoding.finish() == b"<end><None a>"


@pytest.mark.parametrize("usage", [False, True])
def test_count_is_told_if_it_is_wanted(usage: bool) -> None:
    recoding = recoder(usage=usage)
    recoding.feed(b"a#.")
    assert recoding.finish() == (b"<end><3 a>" if usage else b"<end><None a>")


def test_what_came_before_a_failure_is_passed_on() -> None:
    recoding = recoder()
    assert recoding.feed(b"ab!c") == b"ab<overloaded>"
    assert recoding.failed
    assert recoding.is_ending


def test_an_answer_that_is_cut_has_no_end() -> None:
    recoding = recoder()
    recoding.feed(b"a")
    with pytest.raises(UpstreamError):
        recoding.finish()
