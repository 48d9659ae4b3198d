"""What is known of a payment: whom it is for and what was signed are not printed."""

from dataclasses import replace

from token_issuer.intent import (
    CREDITED,
    HOLD_SECONDS,
    OPEN,
    REFUSED,
    UNCLEAR,
    Listed,
    new_intent,
)
from token_issuer.serving import REQUEST_SECONDS


def test_an_intent_is_held_by_who_made_it_and_tells_no_secret() -> None:
    made = [new_intent("a" * 64, b"secret--" * 4, 100, 7, "document", "terms") for _ in range(2)]
    assert made[0].holder != made[1].holder
    assert not made[0].in_doubt
    assert not made[0].was_refused
    assert replace(made[0], was_refused=True) == made[0]
    shown = repr(made[0])
    assert "a" * 64 in shown
    for hidden in ("secret", "document", "terms", made[0].holder):
        assert hidden not in shown.replace("secret_hash", "")


def test_what_is_open_or_unclear_is_not_decided() -> None:
    decided = {
        state: Listed("a", state, False, 1, 0, 0, "").is_decided
        for state in (OPEN, UNCLEAR, CREDITED, REFUSED)
    }
    assert decided == {OPEN: False, UNCLEAR: False, CREDITED: True, REFUSED: True}


def test_a_hold_outlives_the_process_that_is_stuck() -> None:
    assert HOLD_SECONDS > REQUEST_SECONDS
