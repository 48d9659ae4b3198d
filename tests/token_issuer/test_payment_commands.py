"""`token-issuer payments`, and the running issuer that is paid, and killed while it is."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from tests.support.issuer_process import DEADLINE, IssuerFiles, IssuerProcess, running_issuer
from tests.support.stand_in_facilitator import (
    ASSET,
    ASSET_VERSION,
    NAME,
    NETWORK,
    PAY_TO,
    Payer,
    StandInFacilitator,
    running_facilitator,
)
from token_issuer import payment_commands
from token_issuer.account_secret import new_secret, secret_digest
from token_issuer.intent import new_intent
from token_issuer.intents import Intents
from token_issuer.schema import intents
from token_issuer.settings import read_settings
from token_issuer.upgrade import upgraded_ledger

PRICE = 5_000_000
SECRET = new_secret()


@pytest.fixture
def facilitator() -> Iterator[StandInFacilitator]:
    with running_facilitator() as running:
        yield running


@pytest.fixture
def files(tmp_path: Path, facilitator: StandInFacilitator) -> IssuerFiles:
    more = (
        f'[x402]\nfacilitator = "{facilitator.url}"\nissuer_url = "https://issuer.example"\n'
        f'network = "{NETWORK}"\nasset = "{ASSET}"\nasset_name = "{NAME}"\n'
        f'asset_version = "{ASSET_VERSION}"\npay_to = "{PAY_TO}"\namount_per_unit = 50000\n'
        "packs = [100]\n"
    )
    made = IssuerFiles(tmp_path, f"sqlite:///{tmp_path}/l", more=more)
    made.write()
    return made


@pytest.fixture
def payer(facilitator: StandInFacilitator) -> Payer:
    made = Payer()
    facilitator.fund(made, 10 * PRICE)
    return made


def post(issuer: IssuerProcess, fields: dict[str, str] | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {SECRET}", **(fields or {})}
    return httpx.post(f"{issuer.url}/payments/x402/100", headers=headers, timeout=DEADLINE)


def balance(files: IssuerFiles) -> int:
    with upgraded_ledger(read_settings(files.settings)) as ledger:
        account = ledger.find(secret_digest(SECRET), int(time.time()))
    return 0 if account is None else account.balance


def let_go(files: IssuerFiles) -> None:
    """End the holds of processes that are no more, as time does."""
    opened = upgraded_ledger(read_settings(files.settings))
    with opened as ledger, ledger.engine.begin() as connection:
        connection.execute(update(intents).values(held_until=0.0))


def hold_longer(files: IssuerFiles, since: float) -> None:
    """See that the one payment was held after `since`, and have that last on a busy machine."""
    opened = upgraded_ledger(read_settings(files.settings))
    with opened as ledger, ledger.engine.begin() as connection:
        (until,) = connection.execute(select(intents.c.held_until)).scalars()
        assert until > since
        connection.execute(update(intents).values(held_until=time.time() + DEADLINE))


def test_a_running_issuer_is_paid(
    files: IssuerFiles, facilitator: StandInFacilitator, payer: Payer
) -> None:
    with running_issuer(files) as issuer:
        fields, _ = payer.pay(dict(post(issuer).headers))
        paid = post(issuer, fields)
        assert (paid.status_code, paid.json()) == (200, {"account": 1, "units": 100})
        # gunicorn's own limit stands above ours, and takes nothing either.
        for size in (7001, 9000):
            assert post(issuer, {"PAYMENT-SIGNATURE": "A" * size}).status_code == 431
    assert balance(files) == 100
    assert facilitator.received == PRICE


@pytest.mark.parametrize("settled", [False, True])
def test_a_process_that_is_killed_while_it_is_paid_is_made_up_for(
    files: IssuerFiles,
    facilitator: StandInFacilitator,
    payer: Payer,
    capsys: pytest.CaptureFixture[str],
    settled: bool,
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold(here: StandInFacilitator, members: dict[str, Any]) -> Any:
        answer = here.settle(members) if settled else None
        reached.set()
        go_on.wait(DEADLINE)
        return answer

    facilitator.script["settle"] = [hold]
    with running_issuer(files) as issuer:
        fields, _ = payer.pay(dict(post(issuer).headers))
        failed: list[Exception] = []

        def pay() -> None:
            try:
                post(issuer, fields)
            except httpx.TransportError as error:
                failed.append(error)

        begun = time.time()
        paying = threading.Thread(target=pay)
        paying.start()
        assert reached.wait(DEADLINE)
        for worker in issuer.workers():
            os.kill(worker, signal.SIGKILL)
        paying.join(DEADLINE)
        assert failed
        go_on.set()
    assert balance(files) == 0
    hold_longer(files, begun)
    assert files.run("payments", "reconcile") == 0
    assert capsys.readouterr().out == ""  # a process may be at it still
    let_go(files)
    assert files.run("payments", "reconcile") == 0
    said = capsys.readouterr().out
    reference = said.split()[0]
    if settled:
        assert "unclear" in said
        assert files.run("payments", "list") == 0
        assert f"{reference}  " in capsys.readouterr().out
        (transaction,) = facilitator.used.values()
        assert files.run("payments", "credit", reference, "--transaction", transaction) == 0
        assert capsys.readouterr().out == "credited 100 units to account 1\n"
    else:
        assert said.endswith("credited 100 units to account 1\n")
    assert files.run("payments", "reconcile") == 0
    assert capsys.readouterr().out == ""
    assert balance(files) == 100
    assert facilitator.received == PRICE


def test_what_came_of_a_payment_is_out_before_the_next_is_taken_up(
    files: IssuerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take as long as a facilitator does, and whatever ends the command may come then."""
    written, printed = io.BytesIO(), []

    class Desk:
        """Takes up two payments."""

        def reconcile(self) -> Iterator[tuple[str, str]]:
            for reference in "ab":
                printed.append(written.getvalue().count(b"\n"))
                yield reference, "credited"
            printed.append(written.getvalue().count(b"\n"))

    monkeypatch.setattr(payment_commands, "open_desk", lambda *_: Desk())
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(written)))
    assert files.run("payments", "reconcile") == 0
    assert printed == [0, 1, 2]


def present(files: IssuerFiles, reference: str) -> None:
    with upgraded_ledger(read_settings(files.settings)) as ledger:
        made = new_intent(reference, secret_digest(SECRET), 100, 1_765_000_300, "{}", "{}")
        Intents(ledger, 8).present(made, 1_765_000_000)


def test_payments_are_listed_and_refused(
    files: IssuerFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = "ab" * 32
    present(files, reference)
    assert files.run("payments", "list") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["reference", "when", "until", "state", "sent", "units", "transaction"]
    assert line.split() == [
        reference,
        "2025-12-06T05:46:40Z",
        "2025-12-06T05:51:40Z",
        "open",
        "-",
        "100",
        "-",
    ]
    assert files.run("payments", "refuse", reference) == 0
    assert files.run("payments", "list") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert files.run("payments", "list", "--all") == 0
    assert "refused" in capsys.readouterr().out
    assert files.run("payments", "refuse", reference) == 1
    assert capsys.readouterr().err == "token-issuer: There is no such payment that is undecided.\n"
    assert files.run("payments", "credit", "00" * 32, "--transaction", "0x" + "0" * 64) == 1
    assert "no such payment" in capsys.readouterr().err


def test_who_is_at_a_payment_is_left_to_it(
    files: IssuerFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    present(files, "ab" * 32)
    monkeypatch.setattr(time, "time", lambda: 1_765_000_001.0)
    assert files.run("payments", "refuse", "ab" * 32) == 1
    assert "try again in a minute" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "payments",
        "payments refuse a",
        "payments refuse " + "AB" * 32,
        "payments credit " + "ab" * 32,
        "payments credit " + "ab" * 32 + " --transaction 0x1",
    ],
)
def test_a_wrong_command_line_is_exit_code_2(files: IssuerFiles, words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        files.run(*words.split())
    assert ended.value.code == 2


def test_without_the_table_there_is_nothing_to_reconcile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = IssuerFiles(tmp_path, f"sqlite:///{tmp_path}/plain")
    plain.write()
    assert plain.run("payments", "reconcile") == 1
    assert "there is no [x402]" in capsys.readouterr().err
