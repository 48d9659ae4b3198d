"""Tokens, requests and challenges: what is read is written alike, and none but its own verifies.

The first octet tells what the rest is.
"""

from protocol.errors import KeyRejected, MalformedMessage, SignatureInvalid
from protocol.private_token import PendingToken, Token, TokenRequest
from protocol.token_challenge import TokenChallenge
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import Refused, attempt
from tests.support.private_tokens import FIRST, ISSUANCES, KEY, SIGN

MAX_BYTES = 1024
CASE = ISSUANCES[0]
TOKEN = Token.decode(bytes.fromhex(CASE["token"]))
REQUEST = TokenRequest.decode(bytes.fromhex(CASE["token_request"]))
# r is known of a vector, so that what is pending can be made again.
PENDING = PendingToken(
    KEY,
    TOKEN.challenge_digest,
    TOKEN.nonce,
    pow(int(CASE["blind"], 16), -1, KEY.public_key.public_numbers().n),
)

FAULTS = (
    slips("protocol.token_challenge._piece", MalformedMessage),
    slips("protocol.blind_rsa.read_residue", MalformedMessage),
    replaced("protocol.private_token.verify", lambda *arguments: None),
    replaced("protocol.private_token.REQUEST_BYTES", 258),
    returns("protocol.token_challenge._piece", lambda found: (found[0][:-1], found[1])),
)


def seeds() -> list[bytes]:
    """Return tokens, requests, responses and challenges of the specifications."""
    challenges = [each["token_challenge"] for each in FIRST["rfc9577_token_input"]["vectors"]]
    kinds = (
        [each["token"] for each in ISSUANCES[:3]],
        [each["token_request"] for each in ISSUANCES[:3]],
        [each["token_response"] for each in ISSUANCES[:3]],
        challenges,
    )
    short = [bytes([kind]) + REQUEST.encode()[:-1] for kind in range(4)]
    return [*short, *(bytes([at]) + bytes.fromhex(h) for at, of in enumerate(kinds) for h in of)]


def run(data: bytes) -> None:
    """Read one of the four and hold it against what is known of the vector."""
    _KINDS[data[0] % 4 if data else 0](data[1:])


def _token(data: bytes) -> None:
    token = attempt(Token.decode, data)
    if isinstance(token, Refused):
        return
    assert token.encode() == data
    try:
        token.verify(KEY, TOKEN.challenge_digest)
    except (KeyRejected, SignatureInvalid):
        assert token != TOKEN
    else:
        assert token == TOKEN or token.encode() in _genuine()


def _request(data: bytes) -> None:
    request = attempt(TokenRequest.decode, data)
    if isinstance(request, Refused):
        return
    assert request.encode() == data
    assert len(data) == 259
    n = KEY.public_key.public_numbers().n
    blinded = int.from_bytes(request.blinded_message, "big")
    named = request.truncated_key_id == KEY.truncated_id
    answer = attempt(request.answer, KEY, SIGN)
    assert isinstance(answer, Refused) != (named and blinded < n)
    if not isinstance(answer, Refused):
        assert pow(int.from_bytes(answer, "big"), 65537, n) == blinded


def _response(data: bytes) -> None:
    token = attempt(PENDING.finalize, data)
    assert isinstance(token, Refused) == (data.hex() != CASE["token_response"])
    assert isinstance(token, Refused) or token == TOKEN


def _challenge(data: bytes) -> None:
    challenge = attempt(TokenChallenge.decode, data)
    if isinstance(challenge, Refused):
        return
    assert challenge.encode() == data
    size = len(challenge.issuer_name) + len(challenge.origin_info)
    assert len(data) == 7 + size + len(challenge.redemption_context)


def _genuine() -> set[bytes]:
    return {bytes.fromhex(each["token"]) for each in ISSUANCES}


_KINDS = (_token, _request, _response, _challenge)
