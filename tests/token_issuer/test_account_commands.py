"""`token-issuer vouchers` and `token-issuer accounts`."""

import io
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from token_issuer import account_commands, cli
from token_issuer.account_secret import secret_digest
from token_issuer.accounts import Account, Allowance
from token_issuer.administration import all_accounts, open_account
from token_issuer.schema import entries
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


def only_account(settings: Path) -> Account:
    with upgraded_ledger(read_settings(settings)) as ledger:
        (account,) = all_accounts(ledger, int(time.time()))
    return account


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


@pytest.mark.parametrize(
    "words",
    [
        "vouchers",
        "vouchers new",
        "vouchers new --units 0",
        "vouchers new --units -1",
        "vouchers new --units 5 --count 0",
        "vouchers new --units 5 --days 0",
        "vouchers new --units 5 --days 36501",
        "accounts",
        "accounts new --units -1",
        "accounts new --units 1\N{SUPERSCRIPT TWO}",
        "accounts new --units 1000000000000000",
        "accounts new --period-days 36501",
        "accounts credit 1 5",
        "accounts credit 1 0 --reference r",
        "accounts credit 0 5 --reference r",
        "accounts show",
        "accounts show 0",
    ],
)
def test_words_that_are_none(desk: Desk, words: str) -> None:
    with pytest.raises(SystemExit) as refused:
        desk(words)
    assert refused.value.code == 2


def test_an_account_of_which_nothing_is_said(desk: Desk) -> None:
    desk("accounts new")
    account = only_account(desk.settings)
    assert (account.name, account.balance, account.expires) == ("", 0, None)
    assert account.allowance == Allowance(0, 1, 86400)


def test_the_largest_number_that_is_taken(desk: Desk) -> None:
    desk("accounts new --units 999999999999999")
    assert only_account(desk.settings).balance == 999_999_999_999_999


def test_the_longest_times_fit_into_a_ledger(desk: Desk) -> None:
    now = int(time.time())
    desk("accounts new --allowance 1 --period-days 36500 --days 36500")
    account = only_account(desk.settings)
    assert account.allowance.period_seconds == 36_500 * 86_400
    assert account.expires is not None
    assert account.expires >= now + 36_500 * 86_400


def test_days_are_counted_from_now_and_end_to_the_second(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [1_765_000_000.5]
    monkeypatch.setattr(time, "time", lambda: moments[-1])
    desk("accounts new --units 5 --days 2")
    assert only_account(desk.settings).expires == 1_765_000_000 + 2 * 86400
    for after, state in ((2 * 86400 - 1, "open"), (2 * 86400, "expired")):
        moments.append(moments[0] + after)
        assert desk("accounts list")[1:] == [f"1  5  0  {state}  "]


def test_a_voucher_is_out_before_the_next_is_made(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the command in between: a secret that nobody has read is lost."""
    written, printed = io.BytesIO(), []

    def opened(*arguments: Any, **more: Any) -> tuple[int, str]:
        printed.append(written.getvalue().count(b"\n"))
        return open_account(*arguments, **more)

    monkeypatch.setattr(account_commands, "open_account", opened)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(written)))
    desk("vouchers new --units 5 --count 3")
    assert printed == [0, 1, 2]


def test_of_many_entries_the_last_hundred_are_shown(desk: Desk) -> None:
    desk("accounts new")
    rows = [
        {"account": 1, "at": number, "kind": "credit", "amount": 1, "allowed": 0}
        | {"balance": number, "reference": str(number)}
        for number in range(1, 102)
    ]
    with upgraded_ledger(read_settings(desk.settings)) as ledger, ledger.engine.begin() as begun:
        begun.execute(insert(entries), rows)
    _, first, *_, last = lines = desk("accounts show 1")
    assert len(lines) == 1 + 100
    assert first == "101  1970-01-01T00:01:41Z  credit  1  0  0  101"
    assert last.startswith("2  1970-01-01T00:00:02Z  ")
