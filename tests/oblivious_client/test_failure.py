"""The root of the client's errors."""

from oblivious_client import errors
from oblivious_client.exits import Exit
from oblivious_client.failure import ClientError, UsageError


def test_a_failure_has_advice_and_an_exit_code() -> None:
    bare, full = ClientError("x"), ClientError("x", advice="y", code=Exit.STALE)
    assert (str(bare), bare.advice, bare.code) == ("x", "", Exit.FAILURE)
    assert (full.advice, full.code) == ("y", Exit.STALE)


def test_wrong_usage_is_one() -> None:
    wrong = UsageError("x", advice="y")
    assert isinstance(wrong, ClientError)
    assert (str(wrong), wrong.advice, wrong.code) == ("x", "y", Exit.USAGE)


def test_the_errors_are_of_one_root() -> None:
    assert (errors.ClientError, errors.UsageError) == (ClientError, UsageError)
