"""What the issuer of tokens costs: a signature alone, and tokens bought over HTTP."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from protocol.private_token import TokenRequest, request_token
from protocol.registry import TOKEN_BATCH_REQUEST, TOKEN_REQUEST
from protocol.token_batch import encode_requests
from protocol.token_challenge import TokenChallenge
from protocol.token_key import TokenKey
from protocol.token_prices import PricePoint
from scripts.benchmark.floor import cpu_microseconds
from scripts.local import processes
from scripts.local.stack import Child
from token_issuer.administration import open_account
from token_issuer.key_files import make_receipt_key, write_key
from token_issuer.key_plan import generate, new_keys, next_epochs, next_start
from token_issuer.settings import read_settings
from token_issuer.signing import PrivateOperation
from token_issuer.upgrade import upgraded_ledger

PACK = 50
UNITS = 1_000_000
DIGEST = TokenChallenge("issuer.example", "gateway.example").digest


@dataclass(frozen=True, slots=True)
class Shop:
    """A running issuer with one process, and a voucher for it."""

    issuer: Child
    key: TokenKey
    secret: str

    def buy(self, kind: bytes, bodies: Sequence[bytes], tokens: int) -> dict[str, float]:
        """Send these requests one after the other; return what each of so many tokens cost."""
        fields = {"Authorization": f"Bearer {self.secret}", "Content-Type": kind.decode()}
        before, begun = processes.cpu_seconds(self.issuer.process.pid), time.monotonic()
        for body in bodies:
            answer = httpx.post(f"{self.issuer.url}/token-request", content=body, headers=fields)
            answer.raise_for_status()
        seconds = time.monotonic() - begun
        used = processes.cpu_seconds(self.issuer.process.pid) - before
        row = _row(1e6 * used / tokens)
        return {**row, "a second here": tokens / seconds}


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return CPU microseconds for each token, and how many that is a CPU second."""
    packs, singles = (4, 20) if quick else (40, 200)
    measured = {"sign and check a token": _row(_signing())}
    with _shop() as shop:
        bodies = [encode_requests(_requests(shop.key, PACK)) for _ in range(1 + packs)]
        shop.buy(TOKEN_BATCH_REQUEST, bodies[:1], PACK)  # all is loaded after it
        row = shop.buy(TOKEN_BATCH_REQUEST, bodies[1:], packs * PACK)
        measured[f"a token of a pack of {PACK}, over HTTP"] = row
        bodies = [request.encode() for request in _requests(shop.key, singles)]
        measured["a token alone, over HTTP"] = shop.buy(TOKEN_REQUEST, bodies, singles)
    return measured


def _row(microseconds: float) -> dict[str, float]:
    return {"CPU µs": microseconds, "a CPU second": 1e6 / microseconds}


def _signing() -> float:
    private = generate()
    key = TokenKey.from_public_key(private.public_key())
    operation = PrivateOperation(private)
    (request,) = _requests(key, 1)
    return cpu_microseconds(lambda: request.answer(key, operation))


def _requests(key: TokenKey, number: int) -> list[TokenRequest]:
    return [request_token(key, DIGEST)[0] for _ in range(number)]


@contextmanager
def _shop() -> Iterator[Shop]:
    with tempfile.TemporaryDirectory(prefix="oblivious-bench-") as name:
        folder = Path(name)
        settings = folder / "issuer.toml"
        settings.write_text(
            f'database = "sqlite:///{folder}/ledger.sqlite3"\nkeys = "{folder}/keys"\n'
            'listen = "127.0.0.1:0"\nworkers = 1\ntokens_per_minute = 10000000\n'
        )
        now = int(time.time())
        (made,) = new_keys([], list(next_epochs(1, next_start([], now))), [PricePoint(1)])
        write_key(folder / "keys", made.entry, made.private)
        make_receipt_key(folder / "keys")
        with upgraded_ledger(read_settings(settings)) as ledger:
            _, secret = open_account(ledger, now, units=UNITS)
        command = [sys.executable, "-m", "token_issuer", "--config", str(settings), "serve"]
        with processes.running("issuer", command) as issuer:
            yield Shop(issuer, made.entry.key, secret)
