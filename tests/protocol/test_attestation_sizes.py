"""Sizes of what a document holds: the ends that AWS's grammar gives are taken, nothing beyond."""

from typing import Any

import cbor2
import pytest

from protocol import cose
from protocol.attestation import AttestationError, decode_attestation
from tests.support.attestation_samples import fields, key

PCR = b"\1" * 48


def decoded(**changes: Any) -> Any:
    payload = cbor2.dumps({**fields(), **changes})
    return decode_attestation(cose.sign(key("leaf"), payload).encode())


SIZES: dict[str, tuple[int, int]] = {
    "certificate": (1, 1024),
    "public_key": (0, 1024),
    "user_data": (0, 1024),
    "nonce": (0, 1024),
}


@pytest.mark.parametrize("name", SIZES)
def test_octets_have_a_least_and_a_most(name: str) -> None:
    least, most = SIZES[name]
    for size in (least, most):
        assert getattr(decoded(**{name: bytes(size)}), name) == bytes(size)
    for size in (least - 1, most + 1):
        if size >= 0:
            with pytest.raises(AttestationError, match=f"of {least} to {most} bytes"):
                decoded(**{name: bytes(size)})


def test_each_certificate_of_the_bundle_has_them_too() -> None:
    ends = (b"x", bytes(1024))
    assert decoded(cabundle=list(ends)).cabundle == ends
    for wrong in (b"", bytes(1025)):
        with pytest.raises(AttestationError, match="of 1 to 1024 bytes"):
            decoded(cabundle=[*ends, wrong])


def test_registers_are_counted_and_numbered() -> None:
    assert decoded(pcrs={0: PCR}).pcrs == {0: PCR}
    assert decoded(pcrs={31: PCR}).pcrs == {31: PCR}
    assert len(decoded(pcrs=dict.fromkeys(range(32), PCR)).pcrs) == 32
    for wrong in ({}, {32: PCR}, {-1: PCR}, dict.fromkeys(range(33), PCR)):
        with pytest.raises(AttestationError, match="32"):
            decoded(pcrs=wrong)


@pytest.mark.parametrize(("value", "good"), [(1, True), (2**63, True), (0, False), (-1, False)])
def test_time_begins_after_nought(value: int, good: bool) -> None:
    if good:
        assert decoded(timestamp=value).timestamp == value
        return
    with pytest.raises(AttestationError, match="positive"):
        decoded(timestamp=value)
