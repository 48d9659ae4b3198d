"""The wallet and somebody else's issuer: what privacypass-ts signs it takes, and the reverse."""

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from oblivious_client.defaults import PACKS
from oblivious_client.issuance import Buyer
from oblivious_client.wallet import Wallet
from protocol.token_batch import decode_requests
from protocol.token_fields import encode_authorization
from tests.interop.conftest import Drivers
from tests.interop.peers import TOKEN_PEER, DriverClient
from tests.support.minting import Mint, epochs_around
from tests.support.private_tokens import PRICES
from tests.support.stand_in_issuer import SECRET, StandInIssuer

COUNT = PACKS[0]


@pytest.fixture
def peer(drivers: Drivers) -> DriverClient:
    """The driver on privacypass-ts."""
    return drivers.client(TOKEN_PEER.name)


class PeerIssuer(StandInIssuer):
    """An issuer whose signatures and batches are the peer's."""

    def __init__(self, mint: Mint, peer: DriverClient) -> None:
        super().__init__(mint)
        self.peer = peer

    def sell(self, body: bytes) -> tuple[bytes, bytes] | int:
        key = self._key(decode_requests(body)[0].truncated_key_id)
        private = self.mint.private(key).private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        asked = {
            "do": "issue-batch",
            "token_key": key.key.spki.hex(),
            "private_key": private.hex(),
            "request": body.hex(),
        }
        answer = self.peer.ask(asked)
        assert "error" not in answer, answer
        return bytes.fromhex(answer["octets"]), b"none"


def test_a_wallet_buys_of_it_and_it_takes_what_the_wallet_spends(
    peer: DriverClient, tmp_path: Path
) -> None:
    mint = Mint(epochs_around(time.time(), 1))
    wallet = Wallet(tmp_path / "wallet.sqlite3")
    with PeerIssuer(mint, peer) as issuer:
        catalogue = issuer.catalogue({})
        bought = Buyer(wallet, SECRET).buy(catalogue, PRICES[1], COUNT)
    assert (bought.count, bought.missing) == (COUNT, 0)
    for _ in range(COUNT):
        held = wallet.take(catalogue, [PRICES[1]])
        assert held is not None
        field = encode_authorization(held.token).decode()
        spki = mint.keys[1].key.spki.hex()
        answer = peer.ask({"do": "verify", "token_key": spki, "field": field})
        assert answer.get("octets") == catalogue.challenge.digest.hex(), answer
    assert wallet.take(catalogue, [PRICES[1]]) is None
