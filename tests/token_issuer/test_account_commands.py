"""`token-issuer vouchers` and `token-issuer accounts`."""

import re
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from token_issuer import cli
from token_issuer.account_secret import secret_digest
from token_issuer.settings import read_settings
from token_issuer.upgrade import upgraded_ledger


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "issuer.toml"
    path.write_text(f'database = "sqlite:///{tmp_path}/l"\nkeys = "{tmp_path}/keys"\n')
    return path


class Desk:
    """Somebody who runs commands and reads what they print."""

    def __init__(self, settings: Path, read: pytest.CaptureFixture[str]) -> None:
        self.settings, self._read = settings, read

    def __call__(self, words: str, code: int = 0) -> list[str]:
        """Return the lines that a command printed."""
        assert cli.main(["--config", str(self.settings), *words.split()]) == code
        return self._read.readouterr().out.splitlines()


@pytest.fixture
def desk(settings: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(settings, capsys)


def test_vouchers_are_printed_one_a_line_and_can_be_spent(desk: Desk) -> None:
    secrets = desk("vouchers new --units 50 --count 3 --days 2 --name fair")
    assert len(set(secrets)) == 3
    assert all(re.fullmatch("OBL-[A-Z2-7]{26}", secret) for secret in secrets)
    now = int(time.time())
    with upgraded_ledger(read_settings(desk.settings)) as ledger:
        for secret in secrets:
            account = ledger.find(secret_digest(secret), now)
            assert account is not None
            assert (account.balance, account.name) == (50, "fair")
            assert ledger.find(secret_digest(secret), now + 3 * 86400) is None


def test_an_account_with_an_allowance(desk: Desk) -> None:
    (line,) = desk("accounts new --name club --allowance 20 --price c4 --period-days 7")
    number, secret = line.split("  ")
    with upgraded_ledger(read_settings(desk.settings)) as ledger:
        account = ledger.find(secret_digest(secret), int(time.time()))
    assert account is not None
    assert account.number == int(number)
    allowance = account.allowance
    assert (allowance.units, allowance.price, allowance.period_seconds) == (20, 4, 7 * 86400)
    assert desk("accounts list")[1:] == [f"{number}  0  20  open  club"]


def test_a_credit_counts_once(desk: Desk) -> None:
    desk("accounts new --units 5")
    assert desk("accounts credit 1 30 --reference transfer-1") == ["credited"]
    assert desk("accounts credit 1 30 --reference transfer-1") == ["credited before, and not again"]
    head, *lines = desk("accounts show 1")
    assert head.startswith("entry  when  kind")
    assert [line.split("  ")[2:] for line in lines] == [
        ["credit", "30", "0", "0", "35"],
        ["voucher", "5", "0", "0", "5"],
    ]


def test_an_account_is_disabled_and_enabled(desk: Desk) -> None:
    (secret,) = desk("vouchers new --units 5")
    for command, state in (("disable", "disabled"), ("enable", "open")):
        assert desk(f"accounts {command} 1") == []
        assert desk("accounts list")[1:] == [f"1  5  0  {state}  "]
        with upgraded_ledger(read_settings(desk.settings)) as ledger:
            found = ledger.find(secret_digest(secret), int(time.time()))
        assert (found is None) == (state == "disabled")


def test_what_is_over_is_listed_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk("vouchers new --units 5 --days 1")
    later = time.time() + 86401
    monkeypatch.setattr(time, "time", lambda: later)
    assert desk("accounts list")[1:] == ["1  5  0  expired  "]


def test_a_ledger_that_does_not_add_up_is_exit_code_1(desk: Desk) -> None:
    desk("vouchers new --units 5 --count 2")
    assert desk("accounts check") == []
    with upgraded_ledger(read_settings(desk.settings)) as ledger, ledger.engine.begin() as begun:
        begun.execute(text("UPDATE accounts SET balance = 6 WHERE id = 2"))
    assert desk("accounts check", code=1) == [
        "account 2: the balance is not the sum of its entries"
    ]
