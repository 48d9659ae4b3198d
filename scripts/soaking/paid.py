"""Kill what pays and is paid, under load, and account for every token and unit.

    scripts/soak-paid [--kills N] [--windows N] [--seed N]

Client, wallet, issuer with its ledger, relay, host proxy, enclave server with two workers and Redis
with its append-only file are real; the security module is simulated, and a stand-in for an upstream
takes notes. Six payers buy tokens and ask. Time has windows of 30 s, at whose ends workers tell the
store what is spent: in every other one workers and the server are killed with SIGKILL, in the
others Redis, the issuer and payers. What is killed starts again. Then, when the last lease is over,
every token that was ever issued is offered once more.

The exit code is 1 unless every token is taken or refused as what happened to it demands (see
token_fates.py), and in the ledger balances and what was issued are what was paid, to the unit.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from enclave_server.payment.settling import FLUSH_SECONDS
from oblivious_client.client import ObliviousClient
from oblivious_client.errors import ClientError, TokenRefused
from oblivious_client.wallet import Held, Outcome, Wallet
from protocol.private_token import Token
from protocol.token_catalogue import Catalogue
from protocol.token_prices import PricePoint
from scripts.local.stack import StackError
from scripts.soaking.asking import ECHO, TRIAL
from scripts.soaking.echoing_upstream import new_mark
from scripts.soaking.paid_path import (
    CLIENT,
    ISSUER_PART,
    LEASE_SECONDS,
    PAYERS,
    REDIS,
    SERVER,
    UNITS,
    WORKER,
    Kill,
    PaidPath,
)
from scripts.soaking.token_fates import ALLOWED, Offer, Tally, Travels, fate, history

OF_ENCLAVE = (*[WORKER] * 9, SERVER)
OF_OTHERS = (CLIENT, REDIS, CLIENT, ISSUER_PART)
OFFERERS = 8
END_SECONDS = 120.0


class OneToken(Wallet):
    """What looks like a wallet and offers one token, once."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))
        self.tokens: list[Token] = []

    def take(self, *_: object, **__: object) -> Held | None:
        """Return the token; the next time there is none."""
        if not self.tokens:
            return None
        return Held(self.tokens.pop(), PricePoint(1), is_fresh=False, row=0, holder=b"")

    def settle(self, held: Held, outcome: Outcome) -> None:
        """Forget it."""


@dataclass(slots=True)
class Run:
    """One run on a path."""

    path: PaidPath
    chance: random.Random
    kills: list[Kill] = field(default_factory=list)

    def load_and_kill(self, count: int, windows: int) -> None:
        """Have the payers pay, and kill parts until it is enough."""
        for number in range(PAYERS):
            self.path.start_payer(number)
        begun = (time.monotonic() // FLUSH_SECONDS + 1) * FLUSH_SECONDS
        edges = [begun + FLUSH_SECONDS * number for number in range(windows + 1)]
        _sleep_until(begun)
        for number, (start, end) in enumerate(pairwise(edges)):
            parts = OF_ENCLAVE if number % 2 == 0 else OF_OTHERS
            share = -(-(count - len(self.kills)) // (windows - number))
            for place in range(share):
                _sleep_until(start + 1 + (end - start - 2) * place / share)
                if time.monotonic() >= end - 1:
                    break  # the next window is for others
                self.kills.append(self.path.kill(parts[place % len(parts)], self.chance))
            killed = Counter(kill.part for kill in self.kills)
            _say(f"{time.monotonic() - begun:6.0f} s  killed: {dict(killed)}")
        _sleep_until(edges[-1])
        self.path.await_issuer()
        self.path.end_payers(END_SECONDS)

    def judge(self) -> Tally:
        """Offer every token again, and return what came of it."""
        travels = Travels()
        for number in range(PAYERS):
            travels.read_journal(self.path.journal_of(number).read_bytes().splitlines())
        travels.read_notes(self.path.notes.read_text().splitlines())
        tally = Tally()
        for mark, end in travels.ended.items():
            if end == "answered":
                tally.answers[travels.last_token[mark]] += 1
        fates = {token: fate(token, travels, self.kills) for token in self.tokens(travels)}
        shares = [list(fates)[place::OFFERERS] for place in range(OFFERERS)]
        with ThreadPoolExecutor(OFFERERS) as pool:
            for share, offers in zip(shares, pool.map(self.offer, shares), strict=True):
                for token, offered in zip(share, offers, strict=True):
                    tally.add(fates[token], offered)
                    if offered not in ALLOWED[fates[token]]:
                        _say(
                            f"{fates[token].value}, and {offered.value}: "
                            + history(token, travels, self.kills)
                        )
        return tally

    def tokens(self, travels: Travels) -> Sequence[str]:
        """Return every token that was issued: those that left a wallet, and those in one."""
        found = set(travels.took)
        with ObliviousClient(self.path.relay, policy=TRIAL) as client:
            catalogue = client.evidence().catalogue
        for number in range(PAYERS):
            found.update(_in_wallet(self.path.wallet_of(number), catalogue))
        return sorted(found)

    def offer(self, tokens: Sequence[str]) -> list[Offer]:
        """Ask a question for each of these tokens, which it pays for."""
        wallet = OneToken()
        with ObliviousClient(self.path.relay, policy=TRIAL, wallet=wallet) as client:
            return [_offered(client, wallet, token) for token in tokens]

    def books(self, tokens: int) -> Iterator[str]:
        """Yield what does not add up in the ledger."""
        with sqlite3.connect(self.path.folder / "ledger.sqlite3") as ledger:
            (balances,) = ledger.execute("SELECT SUM(balance) FROM accounts").fetchone()
            (issued,) = ledger.execute("SELECT SUM(tokens) FROM issued").fetchone()
            (sound,) = ledger.execute("PRAGMA integrity_check").fetchone()
        paid = PAYERS * UNITS
        _say(f"paid {paid} = balances {balances} + issued {issued}; tokens with payers: {tokens}")
        if balances + issued != paid:
            yield f"{paid} units were paid, and {balances} + {issued} are there"
        if issued != tokens:
            yield f"{issued} tokens were issued, and payers have had {tokens}"
        if sound != "ok":
            yield "the ledger's file is damaged"
        self.path.issuer_command("accounts", "check")


def _offered(client: ObliviousClient, wallet: OneToken, token: str) -> Offer:
    wallet.tokens = [Token.decode(bytes.fromhex(token))]
    try:
        client.chat(f"Repeat {new_mark()}.", model=ECHO, max_tokens=64)
    except TokenRefused as refused:
        return Offer.SPENT if "token_spent" in str(refused) else Offer.OTHER
    except ClientError as error:
        _say(f"offering again: {error}")
        return Offer.OTHER
    return Offer.TAKEN


def _in_wallet(path: Path, catalogue: Catalogue | None) -> Iterator[str]:
    if catalogue is None:
        raise StackError("the gateway has no catalogue")
    query = "SELECT nonce, key_id, authenticator FROM tokens JOIN keys ON keys.id = tokens.key"
    with sqlite3.connect(path) as wallet:
        for nonce, key_id, authenticator in wallet.execute(query):
            digest = catalogue.challenge.digest
            yield Token(nonce, digest, key_id, authenticator).encode().hex()


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """Kill, account, and show what was found; return the exit code."""
    with PaidPath() as path:
        running = Run(path, random.Random(options.seed))  # noqa: S311 - no secret
        running.load_and_kill(options.kills, options.windows)
        _say(f"waiting for the last lease: {LEASE_SECONDS} s")
        time.sleep(LEASE_SECONDS + 1)
        tally = running.judge()
        breaches = [*tally.breaches(), *running.books(sum(tally.counts.values()))]
    killed = Counter(kill.part for kill in running.kills)
    print("killed: " + ", ".join(f"{part} {count}" for part, count in killed.items()))
    print(tally.text(), flush=True)
    if len(running.kills) < options.kills:
        breaches.append(f"only {len(running.kills)} of {options.kills} kills fitted in")
    for breach in breaches:
        print(f"BREACH: {breach}")
    return 1 if breaches else 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak-paid",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100, help="how many in all (100)")
    parser.add_argument("--windows", type=int, default=8, help="of 30 s each (8)")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed")
    options = parser.parse_args()
    if options.kills < 1 or options.windows < 1:
        parser.error("--kills and --windows are above zero")
    try:
        return run(options)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
