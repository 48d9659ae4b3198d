"""`oblivious-client tokens`, whole: what is said, what is sent, and with which code it ends."""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oblivious_client import cli, token_commands
from oblivious_client.errors import UsageError
from oblivious_client.exits import Exit
from oblivious_client.purchases import Purchases
from oblivious_client.token_commands import ACTIONS, MAX_SECRET, read_secret
from oblivious_client.wallet import Outcome, Wallet
from protocol.evidence import Evidence
from protocol.token_catalogue import Catalogue
from protocol.token_prices import Tariff
from tests.support.gateway import MODEL, StandInGateway
from tests.support.minting import TARIFF, Mint, epochs_around
from tests.support.stand_in_issuer import SECRET, StandInIssuer
from tests.support.toll import Toll
from tests.support.wallets import C1, C4, counts, fill, total

MINT = Mint(epochs_around(time.time()))
MODELS = {MODEL: TARIFF, "free": Tariff({})}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def issuer() -> Iterator[StandInIssuer]:
    with StandInIssuer(MINT) as running:
        yield running


@pytest.fixture
def catalogue(issuer: StandInIssuer) -> Catalogue:
    return issuer.catalogue(MODELS)


@pytest.fixture
def gateway(catalogue: Catalogue) -> Iterator[StandInGateway]:
    with StandInGateway(toll=Toll(catalogue)) as running:
        yield running


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3")


@pytest.fixture
def run(wallet: Wallet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("OBLIVIOUS_WALLET", str(wallet.file.path))
    monkeypatch.setenv("OBLIVIOUS_ISSUER_KEY", SECRET)
    monkeypatch.delenv("OBLIVIOUS_RELAY", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["tokens", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def by(gateway: StandInGateway) -> list[str]:
    return ["--relay", gateway.url, "--allow-simulated", "--no-cache"]


def test_a_pack_is_bought(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, wallet: Wallet
) -> None:
    code, out, err = run("buy", *by(gateway))
    assert (code, out) == (Exit.OK, "")
    assert "buying from issuer.example, now: it sees your account" in err
    assert err.endswith("bought 50 tokens of c1\n")
    assert counts(wallet) == (50, 0, 0, 0)
    assert run("buy", "--price", "c4", "--count", "10", *by(gateway))[0] == Exit.OK
    assert issuer.balance == 10_000 - 50 - 40
    assert gateway.posts() == []


def told_crowd(issuer: StandInIssuer, count: object) -> bytes:
    keys = [{"token_key_id": each.key.key_id.hex(), "at_least": count} for each in issuer.mint.keys]
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize(("count", "is_warned"), [(0, True), (49, True), (50, False)])
def test_a_small_crowd_is_warned_of(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, count: int, is_warned: bool
) -> None:
    issuer.faults.crowd_body = told_crowd(issuer, count)
    code, _, err = run("buy", *by(gateway))
    assert code == Exit.OK
    assert ("fewer than 50 tokens of c1" in err) is is_warned


@pytest.mark.parametrize("count", [-1, True, "9", None, 1.5])
def test_a_crowd_that_is_no_number_is_no_news(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, wallet: Wallet, count: object
) -> None:
    issuer.faults.crowd_body = told_crowd(issuer, count)
    code, _, err = run("buy", *by(gateway))
    assert code == Exit.OK
    assert err.endswith("bought 50 tokens of c1\n")
    assert counts(wallet) == (50, 0, 0, 0)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys":3}', b'{"keys":[1]}', b"x" * 70_000])
def test_what_is_no_crowd_is_no_news(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, wallet: Wallet, body: bytes
) -> None:
    issuer.faults.crowd_body = body
    assert run("buy", *by(gateway))[0] == Exit.OK
    assert counts(wallet) == (50, 0, 0, 0)


def test_a_purchase_that_was_interrupted_is_finished_in_place_of_another(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, wallet: Wallet
) -> None:
    issuer.faults.lost = 1
    code, _, err = run("buy", "--count", "10", *by(gateway))
    assert code == Exit.NO_CONNECTION
    own = f"--wallet {wallet.file.path}"
    assert f"`oblivious-client tokens check {own}` finishes it" in err
    listed = run("list")[1]
    assert f"10 of c1 were asked for and did not come: `oblivious-client tokens check {own}`" in (
        listed
    )
    code, _, err = run("buy", "--count", "10", *by(gateway))
    assert code == Exit.OK
    assert "finished a purchase that was interrupted: 10 tokens of c1" in err
    assert "to buy more, ask again" in err
    assert (total(wallet), issuer.balance) == (10, 9990)
    assert run("buy", "--count", "10", *by(gateway))[0] == Exit.OK
    assert (total(wallet), issuer.balance) == (20, 9980)


def test_without_enough_on_the_voucher(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer
) -> None:
    issuer.balance = 9
    code, _, err = run("buy", "--count", "10", *by(gateway))
    assert (code, int(Exit.ISSUER_REFUSED)) == (22, 22)
    assert "error: 127.0.0.1 refused the purchase: the tokens cost 10 and 9 are left" in err


def test_with_another_issuers_keys(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, wallet: Wallet
) -> None:
    issuer.mint = Mint(epochs_around(time.time()), (C4,))
    code, _, err = run("buy", *by(gateway))
    assert (code, int(Exit.CATALOGUE)) == (23, 23)
    assert "issuer.example does not list the attested key for c1" in err
    assert issuer.bodies == []


def test_of_a_catalogue_that_was_changed_by_an_octet_nothing_is_bought(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, wallet: Wallet
) -> None:
    """Nothing is blinded for it: there is no wallet, and the issuer hears of nobody."""
    size = len(issuer.catalogue(MODELS).encode())
    for at in (0, *range(size // 7, size, size // 7), size - 1):

        def changed(evidence: Evidence, at: int = at) -> Evidence:
            octets = bytearray(evidence.token_catalogue or b"")
            octets[at] ^= 1
            return replace(evidence, token_catalogue=bytes(octets))

        gateway.faults.evidence = changed
        assert (run("buy", *by(gateway))[0], int(Exit.CATALOGUE)) == (23, 23)
    assert issuer.bodies == []
    assert not wallet.file.exists
    gateway.faults.evidence = lambda evidence: evidence
    assert run("buy", *by(gateway))[0] == Exit.OK


def test_where_nobody_pays_nothing_is_bought(run: Run) -> None:
    with StandInGateway() as gateway:
        code, _, err = run("buy", *by(gateway))
    assert code == Exit.USAGE
    assert "this gateway takes no tokens" in err


def test_without_a_voucher(
    run: Run, gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OBLIVIOUS_ISSUER_KEY")
    code, _, err = run("buy", *by(gateway))
    assert code == Exit.USAGE
    assert "there is no voucher" in err
    assert gateway.arrived == []


def test_a_question_pays_and_says_when_it_cannot(
    gateway: StandInGateway,
    wallet: Wallet,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    chat = ["chat", "--model", MODEL, *by(gateway), "--wallet", str(wallet.file.path), "Hi"]
    assert (cli.main(chat), int(Exit.NO_TOKEN)) == (20, 20)
    said = capsys.readouterr().err
    assert f"error: there is no token of c1 or dearer in {wallet.file.path}" in said
    options = f"--relay {gateway.url} --allow-simulated --wallet {wallet.file.path}"
    assert f"buy some: oblivious-client tokens buy --price c1 {options}\n" in said
    tokens = fill(wallet, 2, mint=MINT)
    assert cli.main(chat) == Exit.OK
    assert counts(wallet) == (1, 0, 0, 0)
    toll = gateway.chat.toll
    assert toll is not None
    toll.spent += tokens
    assert (cli.main(chat), int(Exit.TOKEN_REFUSED)) == (21, 21)
    assert "refused 1 of your tokens (token_spent)" in capsys.readouterr().err
    code, out, _ = run("check")
    assert code == Exit.OK
    assert "1 of c1 were refused (token_spent) that had never left this wallet" in out


def test_a_wallet_that_cannot_be_used(run: Run, wallet: Wallet, gateway: StandInGateway) -> None:
    wallet.file.path.write_text("not a wallet, and long enough to be read as the head of one" * 9)
    for arguments in (["list"], ["check"], ["buy", *by(gateway)]):
        code, _, err = run(*arguments)
        assert (code, int(Exit.WALLET)) == (24, 24)
        assert "is not a wallet" in err


def test_the_list(run: Run, wallet: Wallet) -> None:
    assert run("list") == (Exit.OK, "the wallet is empty\n", "")
    assert not wallet.file.exists
    fill(wallet, 3, mint=MINT)
    code, out, err = run("list")
    assert (code, err) == (Exit.OK, "")
    assert out.splitlines()[1].split()[:5] == ["c1", "3", "0", "0", "0"]
    code, out, _ = run("list", "--json")
    assert json.loads(out)["tokens"][0]["ready"] == 3
    wallet.file.path.chmod(0o644)
    assert "other users of this machine can open" in run("list")[2]


@pytest.mark.parametrize("lost", [0, 1])
def test_who_buys_or_checks_hears_that_others_can_open_the_wallet(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, wallet: Wallet, lost: int
) -> None:
    issuer.faults.lost = lost
    warning = f"warning: other users of this machine can open {wallet.file.path}: chmod 600 it\n"
    assert warning not in run("buy", "--count", "10", *by(gateway))[2]
    wallet.file.path.chmod(0o644)
    for command in (["buy", "--count", "10", *by(gateway)], ["check"]):
        code, _, err = run(*command)
        assert code == Exit.OK
        assert err.endswith(warning)


# Checks.


def test_a_check_without_a_wallet(run: Run, wallet: Wallet) -> None:
    assert run("check") == (Exit.OK, "", "there is no wallet yet\n")
    assert not wallet.file.exists


def test_a_check_finishes_what_was_lost(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer, wallet: Wallet
) -> None:
    issuer.faults.lost = 1
    run("buy", "--count", "10", *by(gateway))
    code, out, _ = run("check")
    assert code == Exit.OK
    assert out.splitlines() == [
        "finished a purchase that was interrupted: 10 tokens of c1",
        "10 tokens can be spent",
    ]
    assert issuer.balance == 9990


def test_a_check_tells_the_rest_when_a_purchase_cannot_be_finished(
    run: Run,
    gateway: StandInGateway,
    issuer: StandInIssuer,
    wallet: Wallet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(wallet, 1, mint=MINT)
    issuer.faults.lost = 1
    run("buy", "--count", "10", *by(gateway))
    issuer.faults.statuses = [503]
    code, out, err = run("check")
    assert code == Exit.ISSUER_REFUSED
    assert out == "1 tokens can be spent\n"
    assert "it has no room now" in err
    monkeypatch.setenv("OBLIVIOUS_ISSUER_KEY", "OBL-OTHER")
    code, out, err = run("check")
    assert code == Exit.ISSUER_REFUSED
    assert "1 purchases were begun with another voucher" in err
    monkeypatch.delenv("OBLIVIOUS_ISSUER_KEY")
    assert run("check")[0] == Exit.USAGE
    assert len(Purchases(wallet).open()) == 1


def test_a_check_tells_of_unknown_tokens(run: Run, wallet: Wallet, catalogue: Catalogue) -> None:
    fill(wallet, 1, mint=MINT)
    held = wallet.take(MINT.catalogue(MODELS), [C1])
    assert held is not None
    wallet.settle(held, Outcome.UNKNOWN)
    code, out, _ = run("check")
    assert code == Exit.OK
    assert "1 went with questions that got no answer" in out


def test_members_that_were_not_issued_and_receipts_that_do_not_verify_are_told(
    run: Run, gateway: StandInGateway, issuer: StandInIssuer
) -> None:
    issuer.faults.responses = lambda signed: [None, *signed[1:]]
    issuer.faults.receipt = lambda _: b"none"
    err = run("buy", "--count", "10", *by(gateway))[2]
    assert "bought 9 tokens of c1; the issuer gave none for 1 more (without a receipt" in err


# Handing over.


def test_tokens_are_handed_over(run: Run, wallet: Wallet, tmp_path: Path) -> None:
    fill(wallet, 3, mint=MINT)
    path = tmp_path / "tokens.json"
    code, out, err = run("export", str(path), "--price", "c1", "--count", "2")
    assert (code, out) == (Exit.OK, "")
    assert f"2 tokens are in {path} and no longer here" in err
    code, _, err = run("import", str(path), "--wallet", str(tmp_path / "other.sqlite3"))
    assert code == Exit.OK
    assert f"2 tokens are new\ndelete {path}" in err
    err = run("import", str(path), "--wallet", str(tmp_path / "other.sqlite3"))[2]
    assert "0 tokens are new, 2 were there already" in err
    code, _, err = run("export", str(tmp_path / "more"), "--price", "c1", "--count", "2")
    assert code == Exit.NO_TOKEN
    assert counts(wallet) == (1, 0, 0, 0)


# Secrets.


def test_where_a_secret_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "voucher"
    path.write_text(f"\n  {SECRET}\n")
    monkeypatch.setenv("OBLIVIOUS_ISSUER_KEY", "OBL-FROM-THE-ENVIRONMENT")
    assert read_secret(str(path)) == SECRET
    assert read_secret(None) == "OBL-FROM-THE-ENVIRONMENT"
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    assert read_secret("-") == "typed"
    monkeypatch.setattr(sys, "stdin", None)
    assert read_secret("-") is None
    monkeypatch.setenv("OBLIVIOUS_ISSUER_KEY", " ")
    assert read_secret(None) is None
    path.write_text("")
    assert read_secret(str(path)) is None


@pytest.mark.parametrize(
    "text",
    ["two words", "line\nline", "caf\xe9", "x" * MAX_SECRET + "y"],
)
def test_what_is_no_secret(text: str, tmp_path: Path) -> None:
    path = tmp_path / "voucher"
    path.write_text(text)
    with pytest.raises(UsageError, match="what is given as a voucher is none"):
        read_secret(str(path))
    with pytest.raises(UsageError, match="cannot read"):
        read_secret(str(tmp_path / "none"))


def test_the_longest_secret(tmp_path: Path) -> None:
    path = tmp_path / "voucher"
    path.write_text("x" * MAX_SECRET)
    assert read_secret(str(path)) == "x" * MAX_SECRET


def test_each_action_is_there() -> None:
    assert list(ACTIONS) == ["buy", "list", "check", "export", "import"]
    assert token_commands.tokens.__doc__
