"""Named numbers of the enclave server: limits, deadlines, code points. None changes by the way."""

import pytest

from tests.support.numbers import Numbers, number_of

NUMBERS: Numbers = {
    "enclave_server.addresses": {
        "BACKLOG": 1024,
        "SOCKET_MODE": 432,
        "_CID_ANY": 0xFFFFFFFF,
    },
    "enclave_server.chat.asking": {
        "MAX_FAULT_BYTES": 65_536,
        "ANSWER_COPIES": 4,
        "RETRY_AFTER_SECONDS": 5,
    },
    "enclave_server.chat.bounds": {
        "KIB": 1024,
        "MIB": 1_048_576,
    },
    "enclave_server.chat.dialects.statuses": {
        "MAX_RETRY_SECONDS": 86_400,
    },
    "enclave_server.chat.embedded": {
        "CONCURRENCY": 32,
    },
    "enclave_server.chat.grammar": {
        "MAX_RANGE": 1_000_000_000_000_000,
        "RANGE_RULES": 4,
    },
    "enclave_server.chat.service": {
        "ELSEWHERE_BYTES": 65_536,
    },
    "enclave_server.chat.streaming": {
        "END_SECONDS": 0.05,
    },
    "enclave_server.chat.strict_json": {
        "MAX_DEPTH": 64,
        "MAX_VALUES": 262_144,
        "MAX_QUOTES": 1_048_580,
    },
    "enclave_server.chat.surfaces.chat_shapes": {
        "MAX_TOOLS": 128,
    },
    "enclave_server.chat.surfaces.shapes": {
        "MAX_STOPS": 16,
        "MAX_CHOICES": 128,
        "MAX_NAME": 256,
        "MAX_REASON": 200,
    },
    "enclave_server.chat.transcript": {
        "MAX_ANSWER_BYTES": 16_777_216,
        "STEP_CHARACTERS": 16_384,
        "CHARACTER_OCTETS": 4,
        "LOOSE_WORDS": 256,
        "CALL_OCTETS": 512,
        "FRAGMENT_OCTETS": 64,
    },
    "enclave_server.chat.turns": {
        "LARGE_BYTES": 4096,
    },
    "enclave_server.chat.upstream.connections": {
        "IDLE_SECONDS": 30.0,
        "RETRY_AFTER_SECONDS": 0.25,
        "STOP_SECONDS": 60.0,
    },
    "enclave_server.chat.upstream.dialing": {
        "NEXT_ADDRESS_SECONDS": 0.25,
        "FULL_QUEUE_SECONDS": 0.01,
    },
    "enclave_server.chat.upstream.endpoint": {
        "CONNECT_SECONDS": 5.0,
        "FIRST_BYTE_SECONDS": 300.0,
        "TOTAL_SECONDS": 600.0,
        "CONCURRENCY": 4096,
        "IDLE_CONNECTIONS": 64,
    },
    "enclave_server.chat.upstream.response_body": {
        "LINE_BYTES": 256,
        "MAX_TRAILER_BYTES": 16_384,
    },
    "enclave_server.chat.upstream.response_head": {
        "MAX_HEAD_BYTES": 65_536,
        "MAX_FIELDS": 256,
        "MAX_INFORMATIONAL": 8,
        "SWITCHING_PROTOCOLS": 101,
    },
    "enclave_server.chat.upstream.stream": {
        "READ_AHEAD": 16_384,
        "PIECE_BYTES": 262_144,
        "KERNEL_BYTES": 131_072,
    },
    "enclave_server.chat.upstream.tls": {
        "RECORD_BYTES": 16_384,
    },
    "enclave_server.config": {
        "ED25519_KEY_SIZE": 32,
        "MIN_TICK_MILLISECONDS": 10,
        "MIN_CHUNK_BYTES": 64,
        "MIN_ENGINE_MIB": 512,
    },
    "enclave_server.engine.__main__": {
        "PR_SET_PDEATHSIG": 1,
        "SOCKET_UMASK": 127,
        "SPARE_CONNECTIONS": 16,
        "MIB": 1_048_576,
        "M_ARENA_MAX": -8,
        "TEMPERATURE": 0.0,
    },
    "enclave_server.engine.child": {
        "START_SECONDS": 600.0,
        "STOP_SECONDS": 5.0,
        "FIRST_DELAY_SECONDS": 0.5,
        "LONGEST_DELAY_SECONDS": 30.0,
        "PATIENCE_SECONDS": 10.0,
        "PATIENCE_STARTS": 4.0,
        "CONNECTIONS": 32,
        "MIB": 1_048_576,
        "LIBRARIES_MIB": 512,
        "THREAD_MIB": 10,
    },
    "enclave_server.engine.probe": {
        "INTERVAL_SECONDS": 2.0,
        "LONGEST_LOOK_SECONDS": 1.0,
    },
    "enclave_server.gateway.admission": {
        "RETRY_AFTER_SECONDS": 60,
    },
    "enclave_server.gateway.pacing": {
        "WAITING_CHUNKS": 4,
        "WHOLE_COPIES": 2,
    },
    "enclave_server.gateway.replay": {
        "SLOTS": 32,
        "TAG_SIZE": 12,
        "TAGS_SIZE": 384,
        "BUCKET_SIZE": 512,
        "SLOTS_PER_ENTRY": 2,
        "MARK_SIZE": 512,
        "_LATEST": 0xFFFFFFFF,
    },
    "enclave_server.gateway.routes": {
        "_OK": 200,
        "LARGE_BYTES": 65_536,
        "READING_SECONDS": 0.05,
        "VALUED_OCTETS": 1_048_576,
        "READING_SECONDS_PER_VALUED_OCTET": 2.5e-07,
        "READING_SECONDS_PER_OCTET": 4e-08,
        "ATTESTATION_RETRY_SECONDS": 1,
    },
    "enclave_server.gateway.steps": {
        "TURN_SECONDS": 0.001,
    },
    "enclave_server.gateway.ticker": {
        "QUIET_SECONDS": 0.003,
        "AWAKE_SECONDS": 0.0003,
        "LEAST_SECONDS": 0.001,
        "_FIRST_GUESS": 5e-05,
        "_FORGETTING": 0.9,
    },
    "enclave_server.hardening": {
        "_PR_SET_PDEATHSIG": 1,
        "_PR_SET_DUMPABLE": 4,
        "_M_MMAP_THRESHOLD": -3,
        "_LARGE_BYTES": 1_048_576,
    },
    "enclave_server.http.answering": {
        "WRITE_BUFFER_BYTES": 32_768,
        "AT_ONCE_BYTES": 16_384,
    },
    "enclave_server.http.connection": {
        "READ_BYTES": 65_536,
    },
    "enclave_server.http.dates": {
        "_SIZE": 29,
    },
    "enclave_server.http.limits": {
        "KIB": 1024,
        "MIB": 1_048_576,
    },
    "enclave_server.http.request_head": {
        "_LENGTH_DIGITS": 20,
    },
    "enclave_server.http.server": {
        "REPORT_SECONDS": 10.0,
        "SPARE_DESCRIPTORS": 64,
    },
    "enclave_server.http.transfer_coding": {
        "LINE_BYTES": 256,
    },
    "enclave_server.keys.keeper": {
        "RENEWAL_SECONDS": 300.0,
        "KEPT_REFRESHES": 1.5,
        "RETRY_SECONDS": 5.0,
    },
    "enclave_server.keys.ring": {
        "KEY_IDS": 256,
    },
    "enclave_server.memory": {
        "MOST": 268_435_456,
        "HOLDERS": 1000,
    },
    "enclave_server.processes.pool": {
        "ACKNOWLEDGE_SECONDS": 10.0,
        "BEAT_SECONDS": 0.5,
        "SILENT_SECONDS": 10.0,
        "FIRST_BACKOFF_SECONDS": 0.1,
        "LONGEST_BACKOFF_SECONDS": 10.0,
        "HEALTHY_SECONDS": 30.0,
        "EXIT_FAILED": 70,
    },
    "enclave_server.processes.readers": {
        "AT_ONCE": 2,
        "CPU_SECONDS": 10,
        "MEMORY_BYTES": 1_073_741_824,
        "SECONDS": 60.0,
        "POLITENESS": 5,
        "_PIECE_BYTES": 262_144,
    },
    "enclave_server.processes.snapshot": {
        "MAX_SNAPSHOT_BYTES": 131_072,
    },
    "enclave_server.processes.supervisor": {
        "TICK_SECONDS": 0.25,
        "STARTING_TICK_SECONDS": 0.02,
        "CLOCK_SECONDS": 60.0,
        "KILL_SECONDS": 2.0,
        "MAX_FAILURES": 5,
    },
    "enclave_server.processes.worker": {
        "NONCE_BURST": 2.0,
        "UNCOLLECTED": 20_000,
    },
    "enclave_server.provision.desk": {
        "DECISION_SECONDS": 10.0,
    },
    "enclave_server.provision.proposal": {
        "IDENTIFIER_BYTES": 16,
        "MAX_PROPOSAL_BYTES": 32_768,
    },
    "enclave_server.security_module.clock": {
        "MAX_SKEW_SECONDS": 60.0,
    },
    "enclave_server.security_module.entropy": {
        "RNDADDENTROPY": 1_074_287_107,
        "SEED_BYTES": 512,
        "POOL_SECONDS": 30.0,
        "POLL_SECONDS": 0.05,
    },
    "enclave_server.security_module.nsm": {
        "IOCTL_RAW": 3_223_325_184,
        "MAX_ANSWER_BYTES": 12_288,
        "MAX_USER_DATA_BYTES": 512,
        "MAX_NONCE_BYTES": 512,
        "MAX_PUBLIC_KEY_BYTES": 1024,
        "MAX_RANDOM_BYTES": 256,
    },
    "enclave_server.security_module.simulated": {
        "PCR_COUNT": 16,
    },
}


@pytest.mark.parametrize("module", NUMBERS)
def test_a_number_is_what_it_was_decided_to_be(module: str) -> None:
    expected = NUMBERS[module]
    assert {name: number_of(module, name) for name in expected} == expected
