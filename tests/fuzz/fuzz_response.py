"""Responses of upstreams: ours reads no response otherwise than h11, and none that h11 refuses."""

from enclave_server.chat.upstream.response_head import ResponseError
from tests.enclave_server.chat.upstream import test_against_h11 as oracle
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import ways

FAULTS = (
    slips("enclave_server.chat.upstream.response_head._parse", ResponseError),
    returns("enclave_server.chat.upstream.response_head._field", lambda field: (field[0], b"x")),
    returns("tests.support.response_reading.keeps_connection", lambda kept: True),
)


def seeds() -> list[bytes]:
    """Return what both accept, what both refuse, and what ours alone refuses."""
    stricter = [sample for _, sample in oracle.STRICTER.values()]
    return [*oracle.ACCEPTED.values(), *oracle.REFUSED.values(), *stricter]


def run(data: bytes) -> None:
    """Compare the readings."""
    oracle.compare(data, ways(data)[-1])
