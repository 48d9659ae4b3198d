"""Tokens, batches and fields with privacypass-ts, in both directions."""

import time
from collections.abc import Mapping
from pathlib import Path
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
from tests.interop.peers import TOKEN_PEER, DriverClient
from tests.support.issuer_process import IssuerFiles, running_issuer
from tests.support.private_tokens import ISSUER, KEY, OTHER_KEY, SIGN
from token_issuer.administration import open_account
from token_issuer.settings import read_settings
from token_issuer.upgrade import upgraded_ledger

COUNT, BATCH = 20, 50
CHALLENGE = TokenChallenge("issuer.example", "gateway.example")
DIGEST = CHALLENGE.digest
PRIVATE = ISSUER.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()
SPKI = KEY.spki.hex()


@pytest.fixture
def peer(drivers: Drivers) -> DriverClient:
    """The driver on privacypass-ts."""
    return drivers.client(TOKEN_PEER.name)


def done(peer: DriverClient, do: str, **more: Any) -> Mapping[str, Any]:
    """Return what the driver makes of this."""
    answer = peer.ask({"do": do, "token_key": SPKI} | more)
    assert "error" not in answer, answer
    return answer


def test_it_issues_what_we_ask_for_and_takes_the_token(peer: DriverClient) -> None:
    for _ in range(COUNT):
        request, pending = request_token(KEY, DIGEST)
        asked = {"private_key": PRIVATE, "request": request.encode().hex()}
        token = pending.finalize(bytes.fromhex(done(peer, "issue", **asked)["octets"]))
        field = encode_authorization(token).decode()
        assert done(peer, "verify", field=field)["octets"] == DIGEST.hex()


def test_we_issue_what_it_asks_for_and_take_the_token(peer: DriverClient) -> None:
    for _ in range(COUNT):
        asked = done(peer, "request", challenge=CHALLENGE.encode().hex())["octets"]
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
    more = {"challenge": CHALLENGE.encode().hex(), "count": BATCH}
    requests = decode_requests(bytes.fromhex(done(peer, "request-batch", **more)["octets"]))
    assert len(requests) == BATCH
    responses: list[bytes | None] = [each.answer(KEY, SIGN) for each in requests]
    responses[7] = None
    answer = encode_responses(responses)
    fields = done(peer, "finalize-batch", response=answer.hex())["fields"]
    assert [at for at, field in enumerate(fields) if field is None] == [7]
    for field in fields:
        if field is not None:
            decode_authorization([field.encode()]).verify(KEY, DIGEST)


def test_it_buys_from_the_running_issuer(peer: DriverClient, tmp_path: Path) -> None:
    files = IssuerFiles(tmp_path, f"sqlite:///{tmp_path}/ledger.sqlite3")
    files.write()
    with upgraded_ledger(read_settings(files.settings)) as ledger:
        _, secret = open_account(ledger, int(time.time()), units=1 + BATCH)
    more = {"challenge": CHALLENGE.encode().hex(), "secret": secret}
    key = files.key(1).key
    with running_issuer(files) as issuer:
        for count in (1, BATCH):
            bought = done(peer, "buy", url=issuer.url, count=count, **more)
            assert bytes.fromhex(bought["token_key"]) == key.spki
            assert len(bought["fields"]) == count
            for field in bought["fields"]:
                decode_authorization([field.encode()]).verify(key, DIGEST)
        asked = {"do": "buy", "token_key": SPKI, "url": issuer.url, "count": 1, **more}
        assert "402" in peer.ask(asked)["error"]


def test_fields_in_both_forms(peer: DriverClient) -> None:
    ours = PrivateTokenChallenge(CHALLENGE.encode(), KEY.spki, 3600)
    both = b", ".join([ours.encode(), ours.encode()]).decode()
    members = {"challenge": CHALLENGE.encode().hex(), "token_key": SPKI, "max_age": 3600}
    assert done(peer, "challenges", field=both)["challenges"] == [members, members]
    for quoted in (True, False):
        field = done(peer, "write-challenge", quoted=quoted, **members)["field"]
        assert ('"' in field) is quoted
        assert decode_challenges(field.encode()) == [ours]


def test_it_refuses_a_token_that_is_not_signed(peer: DriverClient) -> None:
    request, pending = request_token(KEY, DIGEST)
    field = encode_authorization(pending.finalize(request.answer(KEY, SIGN))).decode()
    done(peer, "verify", field=field)
    for at in (30, 100, 480):
        other = "B" if field[at] == "A" else "A"
        asked = {"do": "verify", "token_key": SPKI, "field": field[:at] + other + field[at + 1 :]}
        assert "error" in peer.ask(asked)
