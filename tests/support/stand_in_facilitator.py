"""A stand-in for an x402 facilitator and the chain behind it, over real HTTP on this machine.

It judges payments as the protocol says: signatures (EIP-712, recovered by eth-account), balances,
times, and nonces that are taken once. `script` has it break in the ways in which partners do.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from x402.client import x402ClientSync
from x402.http.x402_http_client import x402HTTPClientSync
from x402.schemas.payments import PaymentPayload, PaymentRequirements

NETWORK = "eip155:84532"
CHAIN = 84532
ASSET = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
PAY_TO = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
NAME, ASSET_VERSION = "USDC", "2"

TYPES = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}
DOMAIN = {"name": NAME, "version": ASSET_VERSION, "chainId": CHAIN, "verifyingContract": ASSET}

Members = dict[str, Any]
Break = Callable[["StandInFacilitator", Members], "bytes | Members | None"]
"""Something else than a right answer: its octets, or its members, or None for hanging up."""


class PayerScheme:
    """The scheme `exact` of a payer whose wallet is a key of eth-account."""

    scheme = "exact"

    def __init__(self, wallet: LocalAccount, clock: Callable[[], float]) -> None:
        self._wallet = wallet
        self._clock = clock

    def create_payment_payload(
        self, requirements: PaymentRequirements, extensions: Members | None = None
    ) -> Members:
        """Return what the payer signs."""
        del extensions
        ends = int(self._clock()) + requirements.max_timeout_seconds
        order = {
            "from": self._wallet.address,
            "to": requirements.pay_to,
            "value": requirements.amount,
            "validAfter": "0",
            "validBefore": str(ends),
            "nonce": "0x" + secrets.token_hex(32),
        }
        return signed(self._wallet, order)


def signed(wallet: LocalAccount, order: Members) -> Members:
    """Return an order with its wallet's signature."""
    made = wallet.sign_typed_data(DOMAIN, TYPES, _message(order))
    return {"signature": "0x" + made.signature.hex().removeprefix("0x"), "authorization": order}


def _message(order: Members) -> Members:
    numbers = ("value", "validAfter", "validBefore")
    nonce = bytes.fromhex(order["nonce"].removeprefix("0x"))
    return {**order, **{name: int(order[name]) for name in numbers}, "nonce": nonce}


@dataclass(slots=True)
class Payer:
    """Somebody with a wallet, and the package's own client."""

    clock: Callable[[], float] = time.time
    wallet: LocalAccount = field(default_factory=Account.create)

    @property
    def http(self) -> x402HTTPClientSync:
        """Return the package's client, which signs with this wallet."""
        client = x402ClientSync()
        client.set_spend_controls(False)
        client.register(NETWORK, PayerScheme(self.wallet, self.clock))
        return x402HTTPClientSync(client)

    def pay(self, headers: dict[str, str]) -> tuple[dict[str, str], PaymentPayload]:
        """Return the fields that pay what an answer with 402 asks for, and what is in them."""
        fields, payload = self.http.handle_402_response(headers, b"", "http://issuer.example/")
        assert isinstance(payload, PaymentPayload)
        return fields, payload


@dataclass(slots=True)
class StandInFacilitator:
    """The facilitator, and who has how much on its chain."""

    clock: Callable[[], float] = time.time
    url: str = ""
    secret: str | None = None
    balances: dict[str, int] = field(default_factory=dict)
    used: dict[tuple[str, str], str] = field(default_factory=dict)
    """Transactions by payer and nonce."""
    asked: list[tuple[str, Members]] = field(default_factory=list)
    script: dict[str, list[Break]] = field(default_factory=dict)
    """What is done instead, at the next calls of `verify` or `settle`."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fund(self, payer: Payer, amount: int) -> None:
        """Give somebody something to pay with."""
        self.balances[payer.wallet.address.lower()] = amount

    @property
    def received(self) -> int:
        """Return what the issuer has been paid."""
        return self.balances.get(PAY_TO.lower(), 0)

    def count(self, what: str) -> int:
        """Return how often it was asked."""
        return sum(each == what for each, _ in self.asked)

    def answer(self, what: str, members: Members) -> "bytes | Members | None":
        """Return what it answers, by its script or rightly."""
        with self._lock:
            self.asked.append((what, members))
            steps = self.script.get(what, [])
            step = steps.pop(0) if steps else None
        return step(self, members) if step else self.rightly(what, members)

    def rightly(self, what: str, members: Members) -> Members:
        """Return the right answer, and do what it says."""
        return self.verify(members) if what == "verify" else self.settle(members)

    def verify(self, members: Members) -> Members:
        """Judge a payment."""
        reason = self._fault(members)
        payer = members["paymentPayload"]["payload"]["authorization"]["from"]
        more = {"invalidReason": reason} if reason else {}
        return {"isValid": reason is None, "payer": payer, **more}

    def settle(self, members: Members) -> Members:
        """Have the chain take a payment."""
        with self._lock:
            reason = self._fault(members)
            order = members["paymentPayload"]["payload"]["authorization"]
            about = {"network": NETWORK, "payer": order["from"]}
            if reason:
                return {"success": False, "errorReason": reason, "transaction": "", **about}
            payer, to, amount = order["from"].lower(), order["to"].lower(), int(order["value"])
            self.balances[payer] -= amount
            self.balances[to] = self.balances.get(to, 0) + amount
            transaction = "0x" + secrets.token_hex(32)
            self.used[payer, order["nonce"]] = transaction
            return {"success": True, "transaction": transaction, **about}

    def _fault(self, members: Members) -> str | None:
        asked, payment = members["paymentRequirements"], members["paymentPayload"]
        order = payment["payload"]["authorization"]
        signable = encode_typed_data(DOMAIN, TYPES, _message(order))
        try:
            signer = Account.recover_message(signable, signature=payment["payload"]["signature"])
        except ValueError:
            return "invalid_exact_evm_payload_signature"
        if signer.lower() != order["from"].lower() or payment["accepted"] != asked:
            return "invalid_exact_evm_payload_signature"
        if (order["to"].lower(), order["value"]) != (asked["payTo"].lower(), asked["amount"]):
            return "invalid_exact_evm_payload_recipient_mismatch"
        if int(order["validBefore"]) < self.clock() + 6:
            return "invalid_exact_evm_payload_authorization_valid_before"
        if (order["from"].lower(), order["nonce"]) in self.used:
            return "invalid_exact_evm_nonce_already_used"
        if self.balances.get(order["from"].lower(), 0) < int(order["value"]):
            return "insufficient_funds"
        return None


@contextlib.contextmanager
def running_facilitator(**more: Any) -> Iterator[StandInFacilitator]:
    """Run one until the block ends."""
    facilitator = StandInFacilitator(**more)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            wanted = f"Bearer {facilitator.secret}" if facilitator.secret else None
            if self.headers.get("Authorization") != wanted:
                self.send_error(401)
                return
            answer = facilitator.answer(self.path.strip("/"), body)
            if answer is None:
                self.close_connection = True
                return
            octets = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            if not octets.startswith(b"HTTP/"):
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(octets)}\r\n\r\n"
                octets = head.encode() + octets
            with contextlib.suppress(OSError):  # who has had enough hangs up
                self.wfile.write(octets)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    facilitator.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield facilitator
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
