"""Programs killed at random moments of buying and spending: no token is lost, none answered twice.

The ordinary run kills some; `-m slow` kills 200 at each.
"""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from oblivious_client.client import ObliviousClient
from oblivious_client.errors import NoToken, TokenRefused
from oblivious_client.issuance import Buyer
from oblivious_client.policy import Policy, Simulated
from oblivious_client.purchases import Purchases
from oblivious_client.wallet import LEASE_SECONDS, Wallet
from protocol.token_catalogue import Catalogue
from tests.support.gateway import MODEL, StandInGateway
from tests.support.minting import TARIFF, Mint, epochs_around
from tests.support.stand_in_issuer import SECRET, StandInIssuer
from tests.support.toll import Toll
from tests.support.wallets import Clock, counts, fill, is_sound, octets_of, total

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = Policy(simulated=Simulated.ALLOWED)
PROCESSES = 4
DEADLINE = 1200.0

KILLS = pytest.mark.parametrize(
    "kills", [pytest.param(3, id="some"), pytest.param(50, id="many", marks=pytest.mark.slow)]
)
"""Of each of the processes."""


@pytest.fixture(scope="module")
def mint() -> Mint:
    return Mint(epochs_around(time.time()))


def kill_many(
    what: str, wallet: Wallet, place: str, catalogue: Catalogue, kills: int, seconds: float
) -> int:
    """Have programs work and be killed, several at once; return how many did something first."""
    listed = wallet.file.path.with_suffix(".catalogue")
    listed.write_bytes(catalogue.encode())
    words = [what, str(wallet.file.path), place, str(listed), str(kills), str(seconds)]
    command = [sys.executable, "-m", "tests.support.killing", *words]
    running = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]
    ended = [(process, process.communicate(timeout=DEADLINE)) for process in running]
    assert all(process.returncode == 0 for process, _ in ended), ended
    return sum(int(out) for _, (out, _) in ended)


@KILLS
def test_what_was_paid_for_comes_in_and_is_paid_once(
    kills: int, mint: Mint, tmp_path: Path
) -> None:
    wallet = Wallet(tmp_path / "wallet.sqlite3")
    with StandInIssuer(mint, balance=1_000_000) as issuer:
        catalogue = issuer.catalogue({})
        did = kill_many("buy", wallet, issuer.url, catalogue, kills, 1.0)
        assert did == kills // 2 * PROCESSES
        assert is_sound(wallet.file.path)
        begun = len(Purchases(wallet).open())
        Buyer(wallet, SECRET).resume()
        assert Purchases(wallet).open() == []
        paid = 1_000_000 - issuer.balance
        # Nothing that was paid for is missing, and nothing came twice.
        assert total(wallet) == paid == 10 * len(issuer.paid)
        assert begun <= kills * PROCESSES
    assert counts(wallet) == (paid, 0, 0, 0)
    # What could tie a token to its purchase is gone with it.
    octets = octets_of(wallet)
    assert not any(body[-256:] in octets for body in issuer.bodies)


@KILLS
def test_what_was_bought_is_spent_once_and_none_is_lost(
    kills: int, mint: Mint, tmp_path: Path
) -> None:
    wallet = Wallet(tmp_path / "wallet.sqlite3")
    tokens = fill(wallet, 60 + 6 * kills, mint=mint)
    toll = Toll(mint.catalogue({MODEL: TARIFF}))
    with StandInGateway(toll=toll) as gateway:
        did = kill_many("spend", wallet, gateway.url, toll.catalogue, kills, 0.5)
        assert did == kills // 2 * PROCESSES
        assert is_sound(wallet.file.path)
        # What was held is not in doubt for ever: after two times its lease it can be tried.
        clock = Clock(time.time())
        for _ in range(2):
            clock.now += 2 * LEASE_SECONDS + 1
            Wallet(wallet.file.path, clock=clock).recover()
        assert counts(wallet)[2:] == (0, 0)
        drain(gateway.url, wallet)
    # Each was answered once: those of before, and the rest now.
    assert Counter(toll.spent) == Counter(tokens)
    assert total(wallet) == 0
    octets = octets_of(wallet)
    assert not any(token.nonce in octets or token.authenticator in octets for token in tokens)


def drain(gateway: str, wallet: Wallet) -> None:
    """Ask until there is no token any more."""
    with ObliviousClient(gateway, policy=ALLOWED, wallet=wallet) as client:
        while True:
            try:
                client.chat("Hello", model=MODEL)
            except TokenRefused:
                continue  # some that killed programs had spent
            except NoToken:
                return
