"""A stand-in issuer for the client's tests: RFC 9578 over the standard library, and faults.

It is not the issuer of this project: it signs what it is sent and keeps a balance in memory. It
shows what arrived, and can lose an answer once it has been paid for.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.issuer_directory import DirectoryKey, IssuerDirectory
from protocol.purchase_receipt import FIELD, Receipt
from protocol.token_batch import decode_requests, encode_responses
from protocol.token_catalogue import Catalogue, CatalogueKey
from tests.support.minting import Mint
from tests.support.private_tokens import issuer_operation

SECRET = "OBL-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIRECTORY = "/.well-known/private-token-issuer-directory"
BATCH = "application/private-token-generic-batch-response"

Faulty = Callable[[list[bytes | None]], Sequence[bytes | None]]


@dataclass(slots=True)
class Faults:
    """What goes wrong on purpose."""

    statuses: list[int] = field(default_factory=list)
    """Answers to purchases in place of tokens, before anything is paid."""
    lost: int = 0
    """How many answers are lost once they have been paid for."""
    responses: Faulty = lambda responses: responses
    directory: Callable[[IssuerDirectory], IssuerDirectory] = lambda directory: directory
    directory_body: bytes | None = None
    receipt: Callable[[bytes], bytes] = lambda receipt: receipt
    media_type: str = BATCH


class StandInIssuer:
    """Serves on a loopback port while the `with` block runs."""

    def __init__(self, mint: Mint, balance: int = 10_000, secret: str = SECRET) -> None:
        self.mint, self.balance, self.secret = mint, balance, secret
        self.faults = Faults()
        self.bodies: list[bytes] = []
        self.fields: list[dict[str, str]] = []
        self.paid: dict[bytes, int] = {}
        self.receipt_key = Ed25519PrivateKey.generate()
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def catalogue(self, models: Any) -> Catalogue:
        """Return a catalogue that names this issuer."""
        found = self.mint.catalogue(models)
        return Catalogue(found.issuer, self.url, found.origin, found.keys, found.models)

    @property
    def directory(self) -> IssuerDirectory:
        """What is served."""
        keys = tuple(DirectoryKey(each.key, each.epoch.issue_from) for each in self.mint.keys)
        public = self.receipt_key.public_key().public_bytes_raw()
        return self.faults.directory(IssuerDirectory("/token-request", keys, public))

    def sell(self, body: bytes) -> tuple[bytes, bytes] | int:
        """Return an answer and its receipt, or the price; a body is paid for once."""
        requests = decode_requests(body)
        keys = [self._key(each.truncated_key_id) for each in requests]
        price = sum(each.price.units for each in keys)
        with self._lock:
            if body not in self.paid:
                if price > self.balance:
                    return price
                self.balance -= price
                self.paid[body] = price
        signed: list[bytes | None] = [
            asked.answer(key.key, issuer_operation(self.mint.private(key)))
            for asked, key in zip(requests, keys, strict=True)
        ]
        receipt = Receipt(price, self.balance, int(time.time())).signed(body, self.receipt_key)
        answer = encode_responses(self.faults.responses(signed))
        return answer, self.faults.receipt(receipt.encode())

    def _key(self, truncated_id: int) -> CatalogueKey:
        return next(each for each in self.mint.keys if each.key.truncated_id == truncated_id)

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, issuer: StandInIssuer) -> None:
        self.issuer = issuer
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing."""

    def do_GET(self) -> None:
        """Tell the directory."""
        issuer = self.server.issuer
        if self.path != DIRECTORY:
            self._answer(404, "application/problem+json", b"{}")
            return
        body = issuer.faults.directory_body or issuer.directory.encode()
        self._answer(200, "application/private-token-issuer-directory", body)

    def do_POST(self) -> None:
        """Sell tokens."""
        issuer = self.server.issuer
        body = self.rfile.read(int(self.headers["content-length"]))
        issuer.bodies.append(body)
        issuer.fields.append({name.lower(): value for name, value in self.headers.items()})
        if issuer.faults.statuses:
            self._answer(issuer.faults.statuses.pop(0), "application/problem+json", b"{}")
        elif self.headers["authorization"] != f"Bearer {issuer.secret}":
            self._answer(401, "application/problem+json", b"{}")
        else:
            self._sell(issuer, body)

    def _sell(self, issuer: StandInIssuer, body: bytes) -> None:
        sold = issuer.sell(body)
        if isinstance(sold, int):
            problem = json.dumps({"balance": issuer.balance, "price": sold}).encode()
            self._answer(402, "application/problem+json", problem)
        elif issuer.faults.lost:
            issuer.faults.lost -= 1
            self.close_connection = True
        else:
            answer, receipt = sold
            self._answer(200, issuer.faults.media_type, answer, (FIELD, receipt.decode()))

    def _answer(self, status: int, kind: str, body: bytes, *fields: tuple[str, str]) -> None:
        self.send_response_only(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *fields):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
