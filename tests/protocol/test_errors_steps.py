"""The steps of verification have numbers that reports and programs may name."""

from protocol.errors import AttestationReason, AttestationStep


def test_a_step_keeps_its_number() -> None:
    assert {step.name: step.value for step in AttestationStep} == {
        "PLATFORM": 0,
        "COSE_SIGN1": 1,
        "CHAIN": 2,
        "MEASUREMENTS": 3,
        "FRESHNESS": 4,
        "BINDING": 5,
    }


def test_a_reason_keeps_its_word() -> None:
    assert {reason.name.lower().replace("_", "-") for reason in AttestationReason} == {
        reason.value for reason in AttestationReason
    }
