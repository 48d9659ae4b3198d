"""How long the answer to a large request waits: as long as reading it may take, not for seconds."""

from enclave_server.gateway.routes import LARGE_BYTES, reading_seconds


def test_what_is_hardly_large_waits_for_a_moment() -> None:
    assert 0.05 < reading_seconds(LARGE_BYTES + 1) < 0.1


def test_the_largest_request_waits_for_about_a_second() -> None:
    # Twenty million octets at 15 nanoseconds each and more, which a busy machine has twice over.
    assert 2 * 0.3 < reading_seconds(20 << 20) < 1.5
