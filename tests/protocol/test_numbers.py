"""Named numbers of the protocol: limits, deadlines, code points. None changes by the way."""

import pytest

from tests.support.numbers import Numbers, number_of

NUMBERS: Numbers = {
    "protocol.attestation": {
        "PCR_BYTES": 48,
        "MAX_PCRS": 32,
        "MAX_CERTIFICATE_BYTES": 1024,
        "CLOCK_SKEW_SECONDS": 300,
    },
    "protocol.binary_http": {
        "MAX_CHUNKS": 16_384,
    },
    "protocol.binary_http_fields": {
        "MAX_FIELDS": 256,
        "MAX_SECTION_SIZE": 65_536,
    },
    "protocol.cbor": {
        "MAX_DEPTH": 4,
        "INDEFINITE": 31,
        "BREAK": 255,
    },
    "protocol.certificates": {
        "MAX_PATH_CERTIFICATES": 9,
    },
    "protocol.chunked": {
        "CHUNK_SIZE": 16_384,
        "MAX_SEALED_SIZE": 33_554_432,
        "MAX_REQUEST_CHUNKS": 65_536,
    },
    "protocol.cose": {
        "ALGORITHM": 1,
        "ES384": -35,
        "COORDINATE_BYTES": 48,
        "MAX_PAYLOAD_BYTES": 16_384,
        "MAX_MESSAGE_BYTES": 16_512,
    },
    "protocol.encapsulation": {
        "HEADER_SIZE": 7,
    },
    "protocol.event_stream": {
        "MAX_EVENT_OCTETS": 4_194_304,
    },
    "protocol.evidence": {
        "MAX_EVIDENCE_BYTES": 65_536,
    },
    "protocol.gateway": {
        "STEP_BYTES": 4096,
    },
    "protocol.hkdf": {
        "HASH_SIZE": 32,
    },
    "protocol.hpke": {
        "TAG_SIZE": 16,
        "NONCE_SIZE": 12,
    },
    "protocol.kem": {
        "_X25519_CODE": 32,
        "_X25519_SIZE": 32,
    },
    "protocol.key_config": {
        "_ALGORITHM_SIZE": 4,
        "_FIXED_SIZE": 3,
        "_UINT16": 65_535,
    },
    "protocol.padding": {
        "SMALLEST_BUCKET": 1024,
        "LARGEST_BUCKET": 65_536,
    },
    "protocol.provisioning": {
        "MAX_CONTENT_BYTES": 32_768,
        "KEY_BYTES": 32,
    },
    "protocol.shaping": {
        "MAX_EVENT_SIZE": 1_048_576,
        "_INTERIM_OVERHEAD": 13,
        "_ONE_BYTE_LENGTHS": 64,
    },
    "protocol.signature": {
        "LATEST_TIMESTAMP": 137_438_953_472,
        "RSA_BITS": 2048,
    },
    "protocol.strict_json": {
        "MAX_DIGITS": 19,
    },
    "protocol.varint": {
        "MAXIMUM": 4_611_686_018_427_387_903,
    },
}


@pytest.mark.parametrize("module", NUMBERS)
def test_a_number_is_what_it_was_decided_to_be(module: str) -> None:
    expected = NUMBERS[module]
    assert {name: number_of(module, name) for name in expected} == expected
