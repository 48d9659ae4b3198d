"""Tokens, batches and fields with the crate `privacypass`, in both directions.

Its driver takes four minutes to build where no other does anything, so `-m slow`.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protocol.private_token import TokenRequest, request_token
from protocol.token_batch import (
    decode_requests,
    decode_responses,
    encode_requests,
    encode_responses,
)
from protocol.token_challenge import TokenChallenge
from protocol.token_fields import (
    PrivateTokenChallenge,
    decode_authorization,
    decode_challenges,
    encode_authorization,
)
from tests.interop.conftest import Drivers
from tests.interop.peers import RUST_TOKEN_PEER, DriverClient
from tests.support.private_tokens import ISSUER, KEY, OTHER_KEY, SIGN

pytestmark = pytest.mark.slow

COUNT, BATCH = 20, 50
CHALLENGE = TokenChallenge("issuer.example", "gateway.example")
DIGEST = CHALLENGE.digest
PRIVATE = ISSUER.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()
SPKI = KEY.spki.hex()
ASKING = {"challenge": CHALLENGE.encode().hex()}


@pytest.fixture
def peer(drivers: Drivers) -> DriverClient:
    """The driver on the crate."""
    return drivers.client(RUST_TOKEN_PEER.name)


def done(peer: DriverClient, do: str, **more: Any) -> Mapping[str, Any]:
    """Return what the driver makes of this."""
    answer = peer.ask({"do": do, "token_key": SPKI} | more)
    assert "error" not in answer, answer
    return answer


def refuses(peer: DriverClient, do: str, **more: Any) -> bool:
    """Tell whether the driver refuses this."""
    return "error" in peer.ask({"do": do, "token_key": SPKI} | more)


def signed() -> str:
    """Return a field with a token that we signed for ourselves."""
    request, pending = request_token(KEY, DIGEST)
    return encode_authorization(pending.finalize(request.answer(KEY, SIGN))).decode()


def test_it_issues_what_we_ask_for_and_takes_the_token_once(peer: DriverClient) -> None:
    for _ in range(COUNT):
        request, pending = request_token(KEY, DIGEST)
        asked = {"private_key": PRIVATE, "request": request.encode().hex()}
        response = bytes.fromhex(done(peer, "issue", **asked)["octets"])
        assert response == request.answer(KEY, SIGN)
        field = encode_authorization(pending.finalize(response)).decode()
        assert done(peer, "verify", field=field)["octets"] == DIGEST.hex()
        assert refuses(peer, "verify", field=field)


def test_we_issue_what_it_asks_for_and_take_the_token(peer: DriverClient) -> None:
    for _ in range(COUNT):
        asked = done(peer, "request", **ASKING)["octets"]
        response = TokenRequest.decode(bytes.fromhex(asked)).answer(KEY, SIGN)
        (field,) = done(peer, "finalize", response=response.hex())["fields"]
        decode_authorization([field.encode()]).verify(KEY, DIGEST)


def test_it_issues_a_batch_and_refuses_one_member(peer: DriverClient) -> None:
    pairs = [request_token(KEY, DIGEST) for _ in range(BATCH)]
    requests = [request for request, _ in pairs]
    requests[7] = request_token(OTHER_KEY, DIGEST)[0]
    asked = {"private_key": PRIVATE, "request": encode_requests(requests).hex()}
    answer = bytes.fromhex(done(peer, "issue-batch", **asked)["octets"])
    responses = decode_responses(answer, BATCH)
    assert [at for at, response in enumerate(responses) if response is None] == [7]
    for (_, pending), response in zip(pairs, responses, strict=True):
        if response is not None:
            pending.finalize(response).verify(KEY, DIGEST)


def test_we_issue_a_batch_and_refuse_one_member(peer: DriverClient) -> None:
    asked = done(peer, "request-batch", count=BATCH, **ASKING)["octets"]
    requests = decode_requests(bytes.fromhex(asked))
    assert len(requests) == BATCH
    responses: list[bytes | None] = [each.answer(KEY, SIGN) for each in requests]
    responses[7] = None
    answer = encode_responses(responses)
    fields = done(peer, "finalize-batch", response=answer.hex())["fields"]
    assert [at for at, field in enumerate(fields) if field is None] == [7]
    for field in fields:
        if field is not None:
            decode_authorization([field.encode()]).verify(KEY, DIGEST)


def test_batches_that_are_cut_or_have_more_behind_are_refused_by_both(peer: DriverClient) -> None:
    whole = encode_requests([request_token(KEY, DIGEST)[0] for _ in range(2)])
    older = whole[:2] + whole[2:].replace(b"\0\2", b"\1\3\0\2", 1)
    for wrong in (whole[:-1], whole + b"\0", older):
        asked = {"private_key": PRIVATE, "request": wrong.hex()}
        assert refuses(peer, "issue-batch", **asked)


def test_fields_in_the_form_that_it_reads(peer: DriverClient) -> None:
    ours = PrivateTokenChallenge(CHALLENGE.encode(), KEY.spki, 3600)
    both = b", ".join([ours.encode(), ours.encode()]).decode()
    members = {**ASKING, "token_key": SPKI, "max_age": 3600}
    assert done(peer, "challenges", field=both)["challenges"] == [members, members]
    field = done(peer, "write-challenge", **members)["field"]
    assert decode_challenges(field.encode()) == [ours]


def test_it_reads_no_token_in_quotes(peer: DriverClient) -> None:
    name, _, token = signed().partition("=")
    assert refuses(peer, "verify", field=f'{name}="{token}"')
    assert not refuses(peer, "verify", field=f"{name}={token}")


def test_it_refuses_a_token_that_is_not_signed(peer: DriverClient) -> None:
    field = signed()
    for at in (100, 480):
        other = "B" if field[at] == "A" else "A"
        assert refuses(peer, "verify", field=field[:at] + other + field[at + 1 :])
    assert done(peer, "verify", field=field)["octets"] == DIGEST.hex()


def test_what_does_not_fit_a_request_is_not_finalized(peer: DriverClient) -> None:
    asked = done(peer, "request", **ASKING)["octets"]
    response = TokenRequest.decode(bytes.fromhex(asked)).answer(KEY, SIGN)
    for wrong in (response[:-1], response + b"\0", response[:-1] + bytes([response[-1] ^ 1])):
        assert refuses(peer, "finalize", response=wrong.hex())
