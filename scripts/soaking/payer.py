"""Somebody who buys tokens and asks, one question after the other, until a file says stop.

    python -m scripts.soaking.payer RELAY WALLET VOUCHER JOURNAL STOP

Everything is done as a user has it done; only the journal is more. Its lines tell which token went
with which question before that leaves, and which questions were answered.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from oblivious_client.client import ObliviousClient
from oblivious_client.errors import ClientError
from oblivious_client.issuance import Buyer
from oblivious_client.wallet import Held, Wallet
from protocol.token_prices import PricePoint
from scripts.soaking.asking import ECHO, TRIAL
from scripts.soaking.echoing_upstream import MARK, new_mark

PACK = 10
LOW = 3
PAUSE_SECONDS = 0.3  # after what failed


@dataclass(frozen=True, slots=True)
class Journal:
    """What a payer notes; a line is whole or absent, also if its writer is killed."""

    path: Path

    def note(self, event: str, mark: str, **more: str) -> None:
        """Append a line."""
        line = {"event": event, "mark": mark, "at": time.monotonic(), **more}
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")


class JournalledWallet(Wallet):
    """A wallet that notes which token it gives for which question."""

    def __init__(self, path: Path, journal: Journal) -> None:
        super().__init__(path)
        self.journal = journal
        self.mark = ""

    def take(self, *arguments: object, **named: object) -> Held | None:
        """Hold a token and note it."""
        held: Held | None = super().take(*arguments, **named)  # type: ignore[arg-type]
        if held is not None:
            self.journal.note("took", self.mark, token=held.token.encode().hex())
        return held


def stock(client: ObliviousClient, wallet: Wallet, buyer: Buyer) -> None:
    """Finish what was begun, then buy if there is little; raises ClientError."""
    buyer.resume()
    if sum(pile.usable for pile in wallet.piles()) >= LOW:
        return
    catalogue = client.evidence().catalogue
    if catalogue is not None:
        buyer.buy(catalogue, PricePoint(1), PACK)


def ask(client: ObliviousClient, wallet: JournalledWallet, journal: Journal) -> None:
    """Ask a question, whole or streamed, and note its end."""
    mark = wallet.mark = new_mark()
    try:
        question = f"Repeat {mark}."
        if random.random() < 0.5:  # noqa: S311 - no secret
            text = client.chat(question, model=ECHO, max_tokens=64).text
        else:
            text = "".join(client.stream(question, model=ECHO, max_tokens=64))
    except ClientError as error:
        journal.note("failed", mark, error=f"{type(error).__name__}: {error}")
        time.sleep(PAUSE_SECONDS)
        return
    journal.note("answered" if set(MARK.findall(text)) == {mark} else "wrong", mark)


def main(relay: str, wallet_path: Path, voucher: str, journal_path: Path, stop: Path) -> None:
    """Buy and ask."""
    journal = Journal(journal_path)
    wallet = JournalledWallet(wallet_path, journal)
    buyer = Buyer(wallet, voucher)
    with ObliviousClient(relay, policy=TRIAL, wallet=wallet) as client:
        while not stop.exists():
            try:
                stock(client, wallet, buyer)
            except ClientError as error:
                journal.note("not bought", "", error=f"{type(error).__name__}: {error}")
                time.sleep(PAUSE_SECONDS)
            ask(client, wallet, journal)
        while True:  # what was paid for is fetched, however long that takes
            try:
                buyer.resume()
            except ClientError:
                time.sleep(PAUSE_SECONDS)
            else:
                return


if __name__ == "__main__":
    RELAY, WALLET, VOUCHER, JOURNAL, STOP = sys.argv[1:]
    main(RELAY, Path(WALLET), Path(VOUCHER).read_text(), Path(JOURNAL), Path(STOP))
