"""Documents that AWS's security modules signed between 2021 and 2025, each at its own time."""

import random
from collections.abc import Iterable

import cbor2
import pytest

from protocol.attestation import (
    Attestation,
    AttestationError,
    AttestationReason,
    AttestationStep,
    verify_attestation,
)
from tests.support.attestation_samples import RealDocument, outcome, real_documents, root

DAY_SECONDS = 86400
SAMPLED_FLIPS = 150
GOOD = [document for document in real_documents() if document.valid]
DEBUG = [document for document in GOOD if document.debug_mode]
FLIPPED = [next(document for document in GOOD if document.recorded["signature_high_s"])]
FLIPPED += [next(document for document in GOOD if not document.recorded["signature_high_s"])]
FLIPPED += [next(document for document in GOOD if b"\xbf\x69module_id" in document.data)]

each = pytest.mark.parametrize("document", real_documents(), ids=lambda document: document.name)
each_good = pytest.mark.parametrize("document", GOOD, ids=lambda document: document.name)
each_flipped = pytest.mark.parametrize("document", FLIPPED, ids=lambda document: document.name)


def test_the_vectors_are_all_there() -> None:
    assert (len(real_documents()), len(GOOD), len(DEBUG)) == (59, 58, 28)
    assert sum(b"\xbf\x69module_id" in document.data for document in GOOD) == 2


@each
def test_the_recorded_result(document: RealDocument) -> None:
    if document.valid:
        verified = verify_attestation(document.data, now=document.time, allow_debug=True)
        assert_as_recorded(verified, document)
        return
    with pytest.raises(AttestationError) as caught:
        verify_attestation(document.data, now=document.time, allow_debug=True)
    assert outcome(caught.value) == (AttestationStep.COSE_SIGN1, AttestationReason.SIGNATURE)


def assert_as_recorded(verified: Attestation, document: RealDocument) -> None:
    assert verified.module_id == document.recorded["module_id"]
    assert verified.digest == document.recorded["digest"]
    assert verified.timestamp == document.recorded["timestamp_ms"]
    assert len(verified.pcrs) == document.recorded["pcr_count"]
    for index, value in document.recorded["pcrs"].items():
        assert verified.pcrs[int(index)].hex() == value
    for name in ("public_key", "user_data", "nonce"):
        recorded = document.recorded[name]
        assert getattr(verified, name) == (recorded and bytes.fromhex(recorded["hex"]))


@each_good
def test_tagged_it_is_the_same(document: RealDocument) -> None:
    tagged = verify_attestation(b"\xd2" + document.data, now=document.time, allow_debug=True)
    assert tagged == verify_attestation(document.data, now=document.time, allow_debug=True)


@each_good
def test_pinned_to_its_own_registers_it_verifies(document: RealDocument) -> None:
    pins = {int(index): value for index, value in document.recorded["pcrs"].items()}
    assert verify_attestation(document.data, now=document.time, pcrs=pins, allow_debug=True)


@each
@pytest.mark.parametrize("days", [1, -1, 3650])
def test_on_another_day_it_does_not_verify(document: RealDocument, days: int) -> None:
    with pytest.raises(AttestationError) as caught:
        verify_attestation(document.data, now=document.time + days * DAY_SECONDS, allow_debug=True)
    if document.valid:
        assert outcome(caught.value) == (AttestationStep.CHAIN, AttestationReason.EXPIRED)


@each_good
def test_under_another_root_it_does_not_verify(document: RealDocument) -> None:
    with pytest.raises(AttestationError) as caught:
        verify_attestation(document.data, now=document.time, root=root(), allow_debug=True)
    assert outcome(caught.value) == (AttestationStep.CHAIN, AttestationReason.CHAIN)


@pytest.mark.parametrize("document", DEBUG, ids=lambda document: document.name)
def test_debug_mode_is_refused(document: RealDocument) -> None:
    with pytest.raises(AttestationError) as caught:
        verify_attestation(document.data, now=document.time)
    assert outcome(caught.value) == (AttestationStep.MEASUREMENTS, AttestationReason.DEBUG_MODE)


def test_production_mode_is_accepted() -> None:
    production = [document for document in GOOD if not document.debug_mode]
    assert len(production) == 30
    for document in production:
        assert verify_attestation(document.data, now=document.time)


@each_flipped
def test_sampled_bit_changes_are_refused(document: RealDocument) -> None:
    size = len(document.data)
    edges = [*range(12 * 8), *range((size - 99) * 8, (size - 90) * 8)]
    sample = random.Random(document.name).sample(range(size * 8), SAMPLED_FLIPS)
    assert_flips_are_refused(document, {*edges, *sample})


@pytest.mark.slow
@each_flipped
def test_every_bit_change_is_refused(document: RealDocument) -> None:
    assert_flips_are_refused(document, range(len(document.data) * 8))


def assert_flips_are_refused(document: RealDocument, bits: Iterable[int]) -> None:
    for bit in bits:
        altered = bytearray(document.data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AttestationError):  # the bit is in the failure's local variables
            verify_attestation(bytes(altered), now=document.time, allow_debug=True)


@each_flipped
def test_every_truncation_and_extension_is_refused(document: RealDocument) -> None:
    for altered in [document.data[:end] for end in range(0, len(document.data), 7)] + [
        document.data + b"\x00",
        document.data + document.data,
        b"\x00" + document.data,
    ]:
        with pytest.raises(AttestationError):
            verify_attestation(altered, now=document.time, allow_debug=True)


@each_flipped
def test_parts_of_two_documents_do_not_make_one(document: RealDocument) -> None:
    protected, unprotected, payload, _ = cbor2.loads(document.data)
    other = cbor2.loads(GOOD[-1].data if document is GOOD[0] else GOOD[0].data)
    for mixed in (
        [protected, unprotected, payload, other[3]],
        [protected, unprotected, other[2], cbor2.loads(document.data)[3]],
    ):
        with pytest.raises(AttestationError):
            verify_attestation(cbor2.dumps(mixed), now=document.time, allow_debug=True)
