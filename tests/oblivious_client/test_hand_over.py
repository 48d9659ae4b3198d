"""Tokens handed over: out of one wallet and into another, and never lost in between."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oblivious_client import hand_over
from oblivious_client.errors import NoToken, UsageError
from oblivious_client.hand_over import MAX_FILE_BYTES, decode, export, import_from
from oblivious_client.purchases import Purchases, Source
from oblivious_client.wallet import LEASE_SECONDS, SPREAD_SECONDS, Outcome, Wallet
from tests.support.disk import FOLDER, synced
from tests.support.wallets import (
    C1,
    C4,
    CATALOGUE,
    MINT,
    Clock,
    counts,
    fill,
    octets_of,
    total,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wallet(tmp_path: Path, clock: Clock) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3", clock=clock)


@pytest.fixture
def other(tmp_path: Path, clock: Clock) -> Wallet:
    return Wallet(tmp_path / "other.sqlite3", clock=clock)


def test_tokens_move_from_one_wallet_to_another(
    wallet: Wallet, other: Wallet, tmp_path: Path
) -> None:
    tokens = {token.nonce: token for token in [*fill(wallet, 5), *fill(wallet, 3, C4)]}
    path = tmp_path / "tokens.json"
    assert export(wallet, path, C1, 4) == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert counts(wallet) == (4, 0, 0, 0)
    assert import_from(other, path) == (4, 0)
    assert import_from(other, path) == (0, 4)
    moved = [other.take(CATALOGUE, [C1, C4]) for _ in range(4)]
    assert other.take(CATALOGUE, [C1, C4]) is None
    found = {held.token.nonce: held.token for held in moved if held}
    assert len(found) == 4
    assert found.items() <= tokens.items()
    assert not any(nonce in octets_of(wallet) for nonce in found)
    assert all(held.price == C1 and held.is_fresh for held in moved if held)


def test_what_ends_first_goes_first_and_what_was_seen_stays(
    wallet: Wallet, tmp_path: Path, clock: Clock
) -> None:
    fill(wallet, 2, epoch=1)
    fill(wallet, 2, epoch=0)
    clock.now += SPREAD_SECONDS
    held = wallet.take(CATALOGUE, [C1])
    assert held is not None
    wallet.settle(held, Outcome.RETURNED)
    path = tmp_path / "tokens.json"
    assert export(wallet, path, C1, 2) == 2
    ends = [key["redeem_until"] for key in json.loads(path.read_text())["keys"]]
    assert ends == [MINT.epochs[0].redeem_until, MINT.epochs[1].redeem_until]
    assert counts(wallet) == (1, 1, 0, 0)
    with pytest.raises(NoToken, match="there are 1 tokens of c1 that nobody has seen, not 2"):
        export(wallet, tmp_path / "more.json", C1, 2)
    assert counts(wallet) == (1, 1, 0, 0)
    assert not (tmp_path / "more.json").exists()


def test_tokens_for_several_gateways_are_told_apart(wallet: Wallet, tmp_path: Path) -> None:
    fill(wallet, 2)
    key = MINT.keys[0]
    source = Source("issuer.example", "other.example", key)
    Purchases(wallet).add(source, [MINT.token(digest=source.challenge_digest) for _ in range(2)])
    with pytest.raises(UsageError, match=r"for gateway\.example and other\.example"):
        export(wallet, tmp_path / "a.json", C1, 1)
    assert export(wallet, tmp_path / "a.json", C1, 2, "other.example") == 2
    assert json.loads((tmp_path / "a.json").read_text())["origin"] == "other.example"
    assert [pile.origin for pile in wallet.piles()] == ["gateway.example"]


def test_a_file_that_is_there_is_not_written_over(wallet: Wallet, tmp_path: Path) -> None:
    fill(wallet, 2)
    path = tmp_path / "tokens.json"
    path.write_text("others")
    with pytest.raises(UsageError, match="File exists"):
        export(wallet, path, C1, 2)
    assert path.read_text() == "others"
    assert counts(wallet) == (2, 0, 0, 0)


def test_what_is_handed_over_is_on_the_disk_before_it_leaves_the_wallet(
    wallet: Wallet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(wallet, 2)
    sizes, counted = synced(monkeypatch), []
    take = hand_over._change

    def change(*arguments: Any) -> None:
        counted.append(list(sizes))
        take(*arguments)

    monkeypatch.setattr(hand_over, "_change", change)
    before = set(Path("/proc/self/fd").iterdir())
    export(wallet, tmp_path / "tokens.json", C1, 2)
    assert counted == [[(tmp_path / "tokens.json").stat().st_size, FOLDER]]
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_file_may_be_as_large_as_its_limit(
    wallet: Wallet, other: Wallet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(wallet, 2)
    path = tmp_path / "tokens.json"
    export(wallet, path, C1, 2)
    monkeypatch.setattr(hand_over, "MAX_FILE_BYTES", path.stat().st_size)
    assert import_from(other, path) == (2, 0)


def test_what_a_file_says_that_others_read(wallet: Wallet, tmp_path: Path) -> None:
    (token,) = fill(wallet, 1)
    path = tmp_path / "tokens.json"
    export(wallet, path, C1, 1)
    members = json.loads(path.read_text())
    assert members["version"] == 1
    assert path.read_text().startswith('{\n "version": 1,\n')
    (key,) = members["keys"]
    assert (key["price"], len(key["tokens"])) == ("c1", 1)
    assert token.nonce.hex() not in repr(decode(path.read_bytes(), "f"))


def test_what_has_ended_is_not_handed_over(wallet: Wallet, tmp_path: Path, clock: Clock) -> None:
    fill(wallet, 1)
    clock.now = MINT.epochs[0].redeem_until
    with pytest.raises(NoToken, match="there are 0 tokens"):
        export(wallet, tmp_path / "tokens.json", C1, 1)


def test_a_file_that_cannot_be_written_is_taken_away_and_nothing_is_moved(
    wallet: Wallet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(wallet, 2)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        export(wallet, tmp_path / "tokens.json", C1, 2)
    monkeypatch.undo()
    assert not (tmp_path / "tokens.json").exists()
    assert counts(wallet) == (2, 0, 0, 0)


def test_killed_in_between_it_leaves_the_tokens_in_both_places(
    wallet: Wallet, other: Wallet, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(wallet, 2)
    path = tmp_path / "tokens.json"

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(hand_over, "_change", killed)
    with pytest.raises(SystemExit):
        export(wallet, path, C1, 2)
    assert counts(wallet) == (0, 0, 2, 0)
    assert import_from(other, path) == (2, 0)
    clock.now += LEASE_SECONDS + 1
    wallet.recover()
    clock.now += 2 * LEASE_SECONDS + 1
    wallet.recover()
    assert counts(wallet) == (0, 2, 0, 0)


# Files that are none.


def change(path: Path, how: Callable[[dict[str, Any]], object]) -> bytes:
    members = json.loads(path.read_text())
    how(members)
    return json.dumps(members).encode()


def _other_token(members: dict[str, Any]) -> None:
    encoded = members["keys"][0]["tokens"][0]
    other = "B" if encoded[100] == "A" else "A"
    members["keys"][0]["tokens"][0] = encoded[:100] + other + encoded[101:]


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version": lambda members: members.update(version=2),
    "a member more": lambda members: members.update(more=1),
    "no keys": lambda members: members.update(keys={}),
    "another origin": lambda members: members.update(origin="other.example"),
    "no origin": lambda members: members.update(origin=""),
    "a number as name": lambda members: members.update(issuer=5),
    "a token that does not verify": _other_token,
    "a token that is none": lambda members: members["keys"][0].update(tokens=["AAAA"]),
    "a list that is none": lambda members: members["keys"][0].update(tokens="AAAA"),
    "a key that is none": lambda members: members["keys"][0].update(token_key="AAAA"),
    "a price that is none": lambda members: members["keys"][0].update(price="dear"),
    "a time that is none": lambda members: members["keys"][0].update(issue_from=1.5),
    "times in disorder": lambda members: members["keys"][0].update(redeem_until=0),
    "a key with more": lambda members: members["keys"][0].update(more=1),
    "a key that is no object": lambda members: members.update(keys=[1]),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_file_with_a_fault_is_refused_whole(
    fault: Callable[[dict[str, Any]], object], wallet: Wallet, other: Wallet, tmp_path: Path
) -> None:
    fill(wallet, 2)
    path = tmp_path / "tokens.json"
    export(wallet, path, C1, 2)
    assert len(decode(path.read_bytes(), "f")[0].tokens) == 2
    path.write_bytes(change(path, fault))
    with pytest.raises(UsageError, match="holds no tokens that verify") as caught:
        import_from(other, path)
    assert caught.value.advice
    assert not other.file.exists
    assert total(wallet) == 0


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff"])
def test_a_file_that_is_no_object_is_refused(data: bytes, other: Wallet, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="holds no tokens"):
        import_from(other, path)


def test_a_file_that_is_not_there_or_too_large_is_told(other: Wallet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        import_from(other, tmp_path / "none")
    path = tmp_path / "large"
    path.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(UsageError, match="larger than any"):
        import_from(other, path)
