"""`token-issuer keys`: over the months, with a clock that is moved by hand."""

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.private_tokens import START, WEEK
from token_issuer import cli, key_commands
from token_issuer.administration import open_account
from token_issuer.key_files import read_keys, read_receipt_key
from token_issuer.ledger import Purchase
from token_issuer.settings import read_settings
from token_issuer.upgrade import upgraded_ledger

EPOCH = 4 * WEEK


class Months:
    """A directory of keys through which time goes."""

    def __init__(
        self, path: Path, patch: pytest.MonkeyPatch, read: pytest.CaptureFixture[str]
    ) -> None:
        self.settings = path / "issuer.toml"
        self.settings.write_text(f'database = "sqlite:///{path}/l"\nkeys = "{path}/keys"\n')
        self.keys = path / "keys"
        self._patch, self._read = patch, read

    def at(self, now: int, words: str, code: int = 0) -> str:
        """Run a command at a time and return what it printed."""
        self._patch.setattr(time, "time", lambda: now)
        assert cli.main(["--config", str(self.settings), "keys", *words.split()]) == code
        said = self._read.readouterr()
        return said.out if code == 0 else said.err


@pytest.fixture
def months(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Months:
    return Months(tmp_path, monkeypatch, capsys)


def test_a_year_of_two_epochs_at_a_time(months: Months) -> None:
    first = months.at(START + 5000, "new --epochs 2 --prices c4,c1")
    tables = tomllib.loads(first)["tokens"]["keys"]
    assert [table["price"] for table in tables] == ["c1", "c4"] * 2
    assert [int(table["issue_from"].timestamp()) for table in tables[::2]] == [START, START + EPOCH]
    assert [int(table["redeem_until"].timestamp()) for table in tables[1::2]] == [
        START + 2 * EPOCH,
        START + 3 * EPOCH,
    ]
    assert months.at(START, "list --gateway") == first

    # Nothing is destroyed before its time, nor while somebody may still ask for what was paid.
    for now in (START, START + EPOCH, START + EPOCH + key_commands.GRACE_SECONDS - 1):
        assert months.at(now, "retire") == ""
    gone = months.at(START + EPOCH + key_commands.GRACE_SECONDS, "retire")
    assert gone.count("destroyed") == 2
    assert months.at(START + EPOCH + key_commands.GRACE_SECONDS, "retire") == ""

    # The next epochs follow the last; those whose tokens are still taken are printed with them.
    now = START + 2 * EPOCH - 1
    second = tomllib.loads(months.at(now, "new --epochs 1 --prices c1,c4"))["tokens"]["keys"]
    assert second[:4] == tables
    assert int(second[4]["issue_from"].timestamp()) == START + 2 * EPOCH
    later = tomllib.loads(months.at(now + 1, "list --gateway"))["tokens"]["keys"]
    assert later == second[2:]

    listed = months.at(START + 2 * EPOCH, "list").splitlines()[1:]
    states = [line.split("  ")[-1] for line in listed]
    assert states == ["retired", "retired", "over", "over", "signs", "signs"]
    assert months.at(START + EPOCH, "list").splitlines()[-1].endswith("waits")


def test_other_prices_beside_those_that_are_known_are_refused(months: Months) -> None:
    months.at(START, "new --epochs 1 --prices c1")
    before = len(read_keys(months.keys))
    assert "same price points" in months.at(START, "new --epochs 1 --prices c1,c4", code=1)
    assert len(read_keys(months.keys)) == before


def test_the_receipt_key_stays(months: Months) -> None:
    months.at(START, "new --epochs 1 --prices c1")
    first = read_receipt_key(months.keys).private_bytes_raw()
    months.at(START, "new --epochs 1 --prices c1")
    assert read_receipt_key(months.keys).private_bytes_raw() == first


def test_a_start_of_ones_own(months: Months) -> None:
    said = months.at(START, "new --epochs 1 --prices c1 --days 7 --start 2026-01-05")
    (table,) = tomllib.loads(said)["tokens"]["keys"]
    assert str(table["issue_from"]) == "2026-01-05 00:00:00+00:00"
    assert str(table["issue_until"]) == "2026-01-12 00:00:00+00:00"


def test_who_bought_of_a_key_that_leaked(months: Months) -> None:
    months.at(START, "new --epochs 1 --prices c1")
    key_id = read_keys(months.keys)[0].entry.key.key_id.hex()
    with upgraded_ledger(read_settings(months.settings)) as ledger:
        number, _ = open_account(ledger, START, units=9)
        ledger.purchase(number, Purchase("a", 5, {key_id: 5}, 1, is_issuing=True), START)
    assert months.at(START, f"buyers {key_id.upper()}") == f"{number}  5\n"
    assert "  5  signs" in months.at(START, "list")


def test_keys_that_nobody_has_destroyed_are_told_of_whenever_new_ones_are_made(
    months: Months, monkeypatch: pytest.MonkeyPatch
) -> None:
    months.at(START, "new --epochs 2 --prices c1")
    first, second = (each.entry for each in read_keys(months.keys))
    signing: list[Any] = []

    def planned(*_: Any, **more: Any) -> list[Any]:
        signing.append(more["signing"])
        return []

    monkeypatch.setattr(key_commands, "new_keys", planned)
    later = START + 4 * EPOCH
    months.at(later, "new --epochs 1 --prices c1")
    months.at(START + EPOCH + key_commands.GRACE_SECONDS, "retire")
    months.at(later, "new --epochs 1 --prices c1")
    assert signing == [[first, second], [second]]


def test_epochs_of_which_nothing_is_said(months: Months, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three, of 28 days, from today on and in four prices; whole keys would take seconds."""
    made: list[Any] = []

    def planned(*arguments: Any, signing: Any) -> list[Any]:
        made.append(arguments)
        assert signing == []
        return []

    monkeypatch.setattr(key_commands, "new_keys", planned)
    months.keys.mkdir()
    months.at(START + 5000, "new")
    ((known, epochs, prices),) = made
    assert known == []
    assert [each.issue_from for each in epochs] == [START, START + EPOCH, START + 2 * EPOCH]
    assert {each.issue_until - each.issue_from for each in epochs} == {EPOCH}
    assert [str(price) for price in prices] == ["c1", "c4", "c16", "c64"]


def test_a_key_is_kept_for_a_day_after_its_time() -> None:
    assert key_commands.GRACE_SECONDS == 24 * 60 * 60


@pytest.mark.parametrize("words", ["", "new --prices dear", "new --start today", "buyers"])
def test_words_that_are_none(months: Months, words: str) -> None:
    with pytest.raises(SystemExit) as refused:
        months.at(START, words)
    assert refused.value.code == 2
