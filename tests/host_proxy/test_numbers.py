"""Named numbers of the host proxy: limits, deadlines, code points. None changes by the way."""

import pytest

from tests.support.numbers import Numbers, number_of

NUMBERS: Numbers = {
    "host_proxy.addresses": {
        "UNIX_SEND_BYTES": 524_288,
        "ANY_CID": 0xFFFFFFFF,
        "UNIX_PATH_BYTES": 107,
        "BACKLOG": 4096,
    },
    "host_proxy.carrying": {
        "BUFFER_BYTES": 262_144,
        "BULK_BYTES": 65_536,
        "EBB_BYTES": 16_384,
        "VSOCK_WRITE_BYTES": 28_672,
        "LINGER_SECONDS": 2.0,
        "PARKED": -1,
        "_SPLICE": 3,
    },
    "host_proxy.cli": {
        "OWN_DESCRIPTORS": 320,
    },
    "host_proxy.dialing": {
        "ATTEMPT_DELAY_SECONDS": 0.25,
        "FIRST_PAUSE_SECONDS": 0.02,
        "LONGEST_PAUSE_SECONDS": 1.0,
        "GREETING_BYTES": 64,
    },
    "host_proxy.draining": {
        "LOOK_SECONDS": 0.05,
        "LONGEST_HOLD_SECONDS": 300.0,
    },
    "host_proxy.log": {
        "SELDOM_SECONDS": 1.0,
    },
    "host_proxy.loop": {
        "EVENTS_AT_ONCE": 256,
    },
    "host_proxy.metrics": {
        "REQUEST_BYTES": 4096,
        "REQUEST_SECONDS": 5.0,
        "SCRAPERS": 16,
        "PAUSE_SECONDS": 0.1,
    },
    "host_proxy.pipes": {
        "PIPE_BYTES": 1_048_576,
        "SPARE_PIPES": 8,
        "PIPES": 128,
    },
    "host_proxy.probe": {
        "ANSWER_BYTES": 4096,
    },
    "host_proxy.proxy": {
        "SWEEPS_PER_IDLE_TIME": 4,
        "LONGEST_SWEEP_SECONDS": 10.0,
    },
    "host_proxy.resolver": {
        "THREADS": 32,
        "WAITING": 256,
        "FRESH_SECONDS": 5.0,
        "KEPT_SECONDS": 60.0,
    },
    "host_proxy.routes": {
        "ACCEPTS_AT_ONCE": 64,
        "PAUSE_SECONDS": 0.1,
    },
    "host_proxy.shares": {
        "GUARANTEED": 2,
    },
    "host_proxy.systemd": {
        "FIRST_FD": 3,
    },
    "host_proxy.watch": {
        "UNANSWERED": 3,
    },
}


@pytest.mark.parametrize("module", NUMBERS)
def test_a_number_is_what_it_was_decided_to_be(module: str) -> None:
    expected = NUMBERS[module]
    assert {name: number_of(module, name) for name in expected} == expected
