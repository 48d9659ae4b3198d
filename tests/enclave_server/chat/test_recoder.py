"""Between a reader and a writer: order, the end, and what a failure leaves."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from enclave_server.chat.conversation import END, ChoiceDelta, Delta, Event, PartState, State, Usage
from enclave_server.chat.dialects.dialect import StreamReader
from enclave_server.chat.errors import ChatError, Failure, UpstreamError
from enclave_server.chat.large import EVENT_COPIES, LARGE_BYTES, SLICE, encode_slices
from enclave_server.chat.recoder import Expected, Recoder
from enclave_server.chat.spoken import Spoken
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


class Noting:
    """A payment that notes when an answer begins and fails."""

    fields = ()
    status = "spent"

    def __init__(self) -> None:
        self.noted: list[str] = []

    def begin(self) -> None:
        self.noted.append("begin")

    def fail(self, error: BaseException) -> None:
        self.noted.append(type(error).__name__)


def paid(payment: Noting, **more: Any) -> Recoder:
    expected, holding = Expected(1, usage=False), Holding(Memory())
    return Recoder(Letters(), Plain(), expected, sign, holding, payment=payment, **more)


def test_an_answer_is_paid_for_at_its_first_word_and_at_its_end() -> None:
    payment = Noting()
    recoding = paid(payment)
    assert recoding.feed(b"~@#") == b"<~><@>"
    assert payment.noted == []
    recoding.feed(b"ab")
    assert payment.noted == ["begin"]
    recoding.feed(b".")
    recoding.finish()
    assert payment.noted == ["begin"] * 2  # an answer without a word is one as well
    recoding.close()
    assert payment.noted == ["begin"] * 3  # and so is one whose client has gone


def test_an_answer_that_fails_is_not_paid_for_by_that() -> None:
    payment = Noting()
    assert paid(payment).feed(b"!") == b"<overloaded>"
    assert payment.noted == ["UpstreamError"]


def test_what_became_of_a_token_is_told_by_the_failure() -> None:
    told: list[ChatError] = []

    class Telling(Plain):
        def fail(self, error: ChatError) -> bytes:
            told.append(error)
            return b""

    expected, holding = Expected(1, usage=False), Holding(Memory())
    Recoder(Letters(), Telling(), expected, sign, holding, payment=Noting()).feed(b"!")
    assert [error.token for error in told] == ["spent"]


def test_what_runs_beyond_its_tokens_is_cut_and_signed() -> None:
    payment = Noting()
    recoding = paid(payment, paid_tokens=1)
    assert recoding.feed(b"x" * 16) == b"x" * 16
    assert (recoding.is_ending, recoding.was_cut) == (False, False)
    assert recoding.feed(b"yz") == b"y"  # and nothing more of it is read
    assert (recoding.is_ending, recoding.was_cut, recoding.failed) == (True, True, False)
    assert recoding.finish() == b"<end><None " + b"x" * 16 + b"y>"


class Heavy(Letters):
    """Reads a letter above `largest`, if there is any, as an event that others are to read."""

    def feed(self, piece: bytes) -> Iterator[Event]:
        for letter in piece.decode():
            if letter.isupper() and self.largest:
                yield Event(large=letter.encode() * self.largest)
            else:
                yield from super().feed(letter.encode())


class Elsewhere:
    """Reads large events as the slices or the fault that it is given, and signs."""

    def __init__(self, *slices: Event, fault: ChatError | None = None) -> None:
        self._slices, self._fault = slices, fault
        self.read_octets: list[bytes] = []

    async def read(
        self, reader: StreamReader, octets: bytes
    ) -> tuple[Sequence[bytes], ChatError | None]:
        self.read_octets.append(octets)
        return [octets for each in self._slices for octets in encode_slices(each)], self._fault

    async def sign(self, choices: Sequence[Spoken]) -> Signature:
        if self._fault is not None:
            raise self._fault
        return {"of": f"{len(choices[0].text)} octets elsewhere"}


def aside(elsewhere: Elsewhere | None, memory: Memory | None = None) -> Recoder:
    expected, holding = Expected(1, usage=False), Holding(memory or Memory())
    return Recoder(Heavy(), Plain(), expected, sign, holding, outside=elsewhere)


def said(content: str) -> Event:
    return Event([ChoiceDelta(0, Delta(content=content))])


def all_of(recoding: Recoder) -> list[bytes]:
    """Return what comes in each turn until nothing does, whatever is done elsewhere."""
    turns = []
    while recoding.has_more:
        asyncio.run(recoding.go_outside())
        turns.append(recoding.go_on())
    return turns


def test_a_large_event_is_read_elsewhere_and_passed_on_slice_by_slice() -> None:
    elsewhere, memory = Elsewhere(said("one"), said("two")), Memory()
    recoding = aside(elsewhere, memory)
    assert recoding.feed(b"aBc") == b"a"
    assert (recoding.waits, recoding.has_more) == (True, True)
    assert memory.held >= EVENT_COPIES * LARGE_BYTES
    assert all_of(recoding) == [b"one", b"two", b"c"]
    assert (recoding.waits, recoding.has_more) == (False, False)
    assert elsewhere.read_octets == [b"B" * LARGE_BYTES]
    recoding.feed(b".")
    recoding.end()
    assert all_of(recoding) == [b"<end><None aonetwoc>"]
    recoding.close()
    assert memory.held == 0


def test_what_ends_in_a_large_event_goes_no_further() -> None:
    recoding = aside(Elsewhere(said("one"), END, said("two")))
    recoding.feed(b"Bc")
    assert all_of(recoding) == [b"one", b""]
    assert recoding.is_ending
    assert recoding.finish() == b"<end><None one>"


def test_a_fault_that_is_found_elsewhere_comes_after_what_was_good() -> None:
    recoding = aside(Elsewhere(said("one"), fault=UpstreamError(Failure.BUSY)))
    recoding.feed(b"B")
    assert all_of(recoding) == [b"one", b"<overloaded>"]
    assert (recoding.failed, recoding.waits, recoding.has_more) == (True, False, False)


@pytest.mark.parametrize("size", [LARGE_BYTES, LARGE_BYTES + 1])
def test_a_long_answer_is_signed_elsewhere(size: int) -> None:
    recoding = aside(Elsewhere(said("x" * size)))
    recoding.feed(b"B.")
    assert b"".join(all_of(recoding)) == b"x" * size
    recoding.end()
    said_last = b"".join(all_of(recoding))
    if size > LARGE_BYTES:
        assert said_last == b"<end><None %d octets elsewhere>" % size
    else:
        assert said_last == b"<end><None " + b"x" * size + b">"


def test_an_answer_that_cannot_be_signed_elsewhere_fails() -> None:
    elsewhere = Elsewhere(said("x" * (LARGE_BYTES + 1)))
    recoding = aside(elsewhere)
    recoding.feed(b"B.")
    all_of(recoding)
    elsewhere._fault = UpstreamError(Failure.BUSY)
    recoding.end()
    assert b"".join(all_of(recoding)) == b"<overloaded>"


def test_with_nobody_elsewhere_all_is_done_here() -> None:
    recoding = aside(None)
    assert recoding.feed(b"aBc.") == b"aBc"
    asyncio.run(recoding.go_outside())
    assert recoding.finish() == b"<end><None aBc>"


class Wordy(Letters):
    """Reads a word."""

    def feed(self, piece: bytes) -> Iterator[Event]:
        yield said(piece.decode())
        yield said("!")


@pytest.mark.parametrize(
    ("size", "first"), [(SLICE - 1, SLICE), (SLICE, SLICE), (SLICE + 1, SLICE + 1)]
)
def test_what_comes_in_one_turn_is_no_more_than_a_slice_or_one_step(size: int, first: int) -> None:
    expected, holding = Expected(1, usage=False), Holding(Memory())
    recoding = Recoder(Wordy(), Plain(), expected, sign, holding)
    turns = [recoding.feed(b"x" * size)]
    while recoding.has_more:
        turns.append(recoding.go_on())
    assert len(turns[0]) == first
    assert b"".join(turns) == b"x" * size + b"!"


class Thoughtful(Letters):
    """Reads a word as the state that follows a thought, or one that comes with a part."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def feed(self, piece: bytes) -> Iterator[Event]:
        state = State("letters", piece)
        if self._kind == "thought":
            yield Event(thought=state)
        else:
            yield Event(states=(PartState(0, State("letters", b"small")), PartState(0, state)))
        yield said("!")


@pytest.mark.parametrize("kind", ["thought", "part"])
@pytest.mark.parametrize(("size", "apart"), [(LARGE_BYTES, False), (LARGE_BYTES + 1, True)])
def test_a_state_that_takes_what_a_turn_should_has_one_of_its_own(
    kind: str, size: int, apart: bool
) -> None:
    expected, holding = Expected(1, usage=False), Holding(Memory())
    recoding = Recoder(Thoughtful(kind), Plain(), expected, sign, holding)
    turns = [recoding.feed(b"x" * size)]
    while recoding.has_more:
        turns.append(recoding.go_on())
    small = b"<small>" if kind == "part" else b""
    state = small + b"<" + b"x" * size + b">"
    assert [turn for turn in turns if turn] == [state, b"!"]
    assert (turns[0] == b"") is apart


def test_what_came_before_a_step_that_fills_a_turn_goes_in_a_turn_before_it() -> None:
    class Later(Letters):
        def feed(self, piece: bytes) -> Iterator[Event]:
            yield said("!")
            yield said(piece.decode())

    recoding = Recoder(Later(), Plain(), Expected(1, usage=False), sign, Holding(Memory()))
    assert recoding.feed(b"x" * SLICE) == b"!"
    assert recoding.go_on() == b"x" * SLICE
