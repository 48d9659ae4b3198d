"""Named numbers of the client: limits, deadlines, code points. None changes by the way."""

import pytest

from tests.support.numbers import Numbers, number_of

NUMBERS: Numbers = {
    "oblivious_client.answers": {
        "MAX_EVENT_OCTETS": 16_777_216,
    },
    "oblivious_client.archive": {
        "LARGEST_FILE": 67_108_864,
        "LONGEST_ANSWER_SECONDS": 900,
    },
    "oblivious_client.commands": {
        "NONCE_BYTES": 32,
    },
    "oblivious_client.endpoint": {
        "MAX_PORT": 65_535,
    },
    "oblivious_client.events": {
        "_ENDING_REACH": 16,
    },
    "oblivious_client.evidence": {
        "FETCH_SECONDS": 30.0,
        "LONGEST_PAUSE": 5,
        "REMEMBERED_KEYS": 4,
    },
    "oblivious_client.local_http": {
        "HEAD_LIMIT": 16_384,
        "BODY_LIMIT": 20_971_520,
        "READ_SIZE": 65_536,
        "IDLE_SECONDS": 75.0,
    },
    "oblivious_client.outer": {
        "MAX_INTERIM_RESPONSES": 16,
        "_KEPT_CONNECTIONS": 20,
        "_KEPT_SECONDS": 5.0,
    },
    "oblivious_client.policy": {
        "MAX_AGE_SECONDS": 3600,
    },
    "oblivious_client.provision": {
        "_OTHERS": 63,
    },
    "oblivious_client.report": {
        "FETCHED_SECONDS": 5,
        "_INDENT": 10,
        "_LEAST_ROOM": 20,
    },
    "oblivious_client.sealing": {
        "CHUNK": 16_384,
    },
    "oblivious_client.serve": {
        "MAX_CONNECTIONS": 400,
    },
    "oblivious_client.transport": {
        "TRIES": 2,
        "SILENCE_SECONDS": 60.0,
        "CLEAR_BODY_LIMIT": 65_536,
        "ANSWER_LIMIT": 268_435_456,
    },
}


@pytest.mark.parametrize("module", NUMBERS)
def test_a_number_is_what_it_was_decided_to_be(module: str) -> None:
    expected = NUMBERS[module]
    assert {name: number_of(module, name) for name in expected} == expected
