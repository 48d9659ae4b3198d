"""What breaks something is made shorter as long as it breaks the same thing."""

import itertools

from scripts.fuzzing.minimise import breakage, minimise


def run(data: bytes) -> None:
    if data.startswith(b"\0"):
        raise KeyError(data)
    if b"a" in data and b"b" in data[data.index(b"a") :]:
        raise ValueError(data)


def test_what_is_broken_has_a_name() -> None:
    assert breakage(run, b"x") is None
    broken = breakage(run, b"ab")
    assert broken is not None
    assert broken.startswith("ValueError in run, ")
    assert breakage(run, b"\0") != broken


def test_only_what_is_needed_is_left() -> None:
    assert minimise(run, b"x" * 50 + b"a" + b"y" * 33 + b"b" + b"z" * 7, 60) == b"ab"


def test_another_error_is_not_the_same() -> None:
    assert minimise(run, b"a\0b", 60) == b"ab"
    assert minimise(run, b"\0ab", 60) == b"\0"


def test_what_breaks_nothing_stays() -> None:
    assert minimise(run, b"xyz", 60) == b"xyz"


def test_there_is_an_end() -> None:
    data = b"x" * 1000 + b"ab"
    clock = itertools.count().__next__
    assert len(minimise(run, data, 3, lambda: float(clock()))) > 2
