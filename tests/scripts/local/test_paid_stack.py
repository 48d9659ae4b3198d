"""The whole path where questions cost something: real issuer, Redis, enclave server and wallet."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oblivious_client.client import ObliviousClient
from oblivious_client.errors import NoToken, TokenRefused
from oblivious_client.policy import Policy, Simulated
from oblivious_client.wallet import Wallet
from protocol.token_prices import PricePoint
from scripts.local.paid_stack import BUDGETS, MODEL, PaidStack
from scripts.local.stack import PROGRAMS, StackError
from tests.support.wallets import counts, octets_of

ALLOWED = Policy(simulated=Simulated.ALLOWED)
QUESTION = "What is the capital of France?"
UNITS = 500
C1, C4 = PricePoint(1), PricePoint(4)


@pytest.fixture(scope="module")
def stack() -> Iterator[PaidStack]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not here")
    with PaidStack() as running:
        yield running


@pytest.fixture(scope="module")
def voucher(stack: PaidStack) -> str:
    return stack.voucher(UNITS)


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3")


def run(stack: PaidStack, wallet: Wallet, voucher: str, *arguments: str) -> str:
    """Return what a command of the client's says; it must succeed."""
    own = {
        "OBLIVIOUS_WALLET": str(wallet.file.path),
        "OBLIVIOUS_ISSUER_KEY": voucher,
        "OBLIVIOUS_RELAY": stack.relay,
        "XDG_CACHE_HOME": str(wallet.file.path.parent),
    }
    done = subprocess.run(
        [str(PROGRAMS / "oblivious-client"), *arguments],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def balance(stack: PaidStack, voucher: str) -> int:
    fields = {"Authorization": f"Bearer {voucher}"}
    told = httpx.get(f"{stack.issuer}/account", headers=fields, trust_env=False).json()
    units: int = told["balance"]
    return units


def client_of(stack: PaidStack, wallet: Wallet | None, **options: Any) -> ObliviousClient:
    return ObliviousClient(stack.relay, policy=ALLOWED, wallet=wallet, **options)


def test_tokens_are_bought_and_spent(stack: PaidStack, wallet: Wallet, voucher: str) -> None:
    begun = balance(stack, voucher)
    said = run(stack, wallet, voucher, "tokens", "buy", "--allow-simulated", "--count", "10")
    assert "bought 10 tokens of c1\n" in said  # and the receipt verified
    assert balance(stack, voucher) == begun - 10
    with client_of(stack, wallet) as client:
        assert "Paris" in client.chat(QUESTION).text
        assert counts(wallet) == (9, 0, 0, 0)
        assert "Paris" in "".join(client.stream(QUESTION))
        assert counts(wallet) == (8, 0, 0, 0)
        assert client.models() == [MODEL]
    assert counts(wallet) == (8, 0, 0, 0)


def test_the_price_is_the_enclaves(stack: PaidStack, wallet: Wallet, voucher: str) -> None:
    for price in ("c1", "c4"):
        buy = ["tokens", "buy", "--allow-simulated", "--count", "10", "--price", price]
        run(stack, wallet, voucher, *buy)
    most = BUDGETS["c1"][1]
    with client_of(stack, wallet) as client:
        client.chat("Say yes.", max_tokens=most)
        client.chat("Say yes.", max_tokens=most + 1)
        client.chat("Say yes. " + " " * BUDGETS["c1"][0], max_tokens=9)
    assert [(pile.price, pile.ready) for pile in wallet.piles()] == [(C1, 9), (C4, 8)]
    with client_of(stack, wallet, max_price="c1") as client, pytest.raises(NoToken):
        client.chat("Say yes.", max_tokens=most + 1)


def test_a_copy_of_a_wallet_is_no_second_set(
    stack: PaidStack, wallet: Wallet, voucher: str, tmp_path: Path
) -> None:
    run(stack, wallet, voucher, "tokens", "buy", "--allow-simulated", "--count", "10")
    copy = Wallet(tmp_path / "copy.sqlite3")
    shutil.copy(wallet.file.path, copy.file.path)
    with client_of(stack, wallet) as client:
        for _ in range(10):
            client.chat("Say yes.", max_tokens=2)
    assert counts(wallet) == (0, 0, 0, 0)
    # What was spent within half a minute is still held: the enclave writes it down later.
    with client_of(stack, copy) as client, pytest.raises(TokenRefused, match="3 of your tokens"):
        client.chat("Say yes.", max_tokens=2)
    refusals = {each.code: each.count for each in copy.refusals()}
    assert counts(copy) == (7, 0, 0, refusals.get("token_in_use", 0))
    assert refusals.keys() <= {"token_in_use", "token_spent"}
    assert sum(refusals.values()) == 3
    assert voucher.encode() not in octets_of(wallet)


def test_a_question_in_a_wrong_form_costs_nothing(
    stack: PaidStack, wallet: Wallet, voucher: str
) -> None:
    run(stack, wallet, voucher, "tokens", "buy", "--allow-simulated", "--count", "10")
    with client_of(stack, wallet) as client:
        with pytest.raises(Exception, match="temperature"):
            client.chat("Say yes.", temperature=9)
        assert counts(wallet) == (9, 1, 0, 0)
        for _ in range(10):
            client.chat("Say yes.", max_tokens=2)
    assert counts(wallet) == (0, 0, 0, 0)


def test_a_machine_without_redis_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    stack = PaidStack()
    with pytest.raises(StackError, match="apt-get install redis-server"):
        stack.__enter__()
    assert not stack.folder.exists()


def test_a_command_of_the_issuer_that_fails_is_told(stack: PaidStack) -> None:
    with pytest.raises(StackError, match="command vouchers new --units 0 failed"):
        stack.voucher(0)


def test_a_command_of_the_issuer_that_takes_too_long_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scripts.local.paid_stack.COMMAND_SECONDS", 0.0)
    stack = PaidStack()
    try:
        with pytest.raises(StackError, match="command keys list was not done in 0 s: try again"):
            stack.issuer_command("keys", "list")
    finally:
        stack.stop()
    assert not stack.folder.exists()
