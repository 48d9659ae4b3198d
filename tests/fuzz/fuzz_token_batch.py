"""Batches of requests and of answers: what is read is written alike, and is as long as it says."""

from protocol import token_batch
from protocol.errors import ProtocolError
from protocol.private_token import TokenRequest
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import REFUSED, Refused, attempt
from tests.support.private_tokens import BATCHES, OLDER_BATCHES

MAX_BYTES = 2048

FAULTS = (
    slips("protocol.token_batch._content", ProtocolError),
    slips("protocol.token_batch._response", ProtocolError),
    returns("protocol.token_batch._content", lambda members: members[:259]),
    returns("protocol.token_batch._response", lambda found: (None, found[1])),
)


def seeds() -> list[bytes]:
    """Return the batches of three implementations; the first octet counts, or is 0 of requests."""
    cases = [*BATCHES, *OLDER_BATCHES]
    absent = [b"\3\3" + 3 * b"\0", b"\1\x40\1\0", b"\2\x41\5\0\1\0\2" + bytes(256)]
    request = TokenRequest(1, bytes(256))
    requests = [b"\0" + token_batch.encode_requests([request] * count) for count in (1, 2, 3)]
    return [
        *absent,
        *requests,
        *(b"\0" + bytes.fromhex(case["token_request"]) for case in cases),
        *(bytes([len(case["issuance"])]) + bytes.fromhex(case["token_response"]) for case in cases),
    ]


def run(data: bytes) -> None:
    """Read a batch; one octet less, or one more, is none."""
    count, rest = data[0] % 8 if data else 0, data[1:]
    if count:
        responses = attempt(token_batch.decode_responses, rest, count)
        if isinstance(responses, Refused):
            return
        assert len(responses) == count
        assert all(each is None or len(each) == 256 for each in responses)
        written = token_batch.encode_responses(responses)
        assert attempt(token_batch.decode_responses, rest, count + 1) is REFUSED
    else:
        requests = attempt(token_batch.decode_requests, rest)
        if isinstance(requests, Refused):
            return
        assert 259 * len(requests) <= len(rest) <= 259 * len(requests) + 4
        written = token_batch.encode_requests(requests)
    assert written == rest
    for wrong in (rest[:-1], rest + b"\0"):
        assert attempt(token_batch.decode_responses, wrong, count) is REFUSED
        assert attempt(token_batch.decode_requests, wrong) is REFUSED
