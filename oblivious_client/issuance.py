"""Buying tokens: blinded for an attested key alone, and so that no purchase can be lost.

1. The key is of the catalogue that the enclave's evidence binds, and the issuer lists the same.
   An issuer that gave each buyer a key of his own would know his tokens again.
2. The secrets are on the disk before the request leaves.
3. The issuer takes the price once for the same octets, however often they come.
4. Each token is verified; all of a batch come into the wallet at once, or none does.

So a purchase that was interrupted anywhere is finished by asking again (`resume`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from oblivious_client.defaults import PACKS
from oblivious_client.errors import (
    CHECK,
    ClientError,
    EvidenceRefused,
    IssuerRefused,
    UsageError,
)
from oblivious_client.exits import Exit
from oblivious_client.issuer import Issued, Issuer
from oblivious_client.purchases import Purchase, Purchases, Source
from oblivious_client.wallet import Wallet
from protocol.errors import ProtocolError
from protocol.issuer_directory import IssuerDirectory
from protocol.private_token import Token, request_token
from protocol.purchase_receipt import Receipt
from protocol.token_batch import decode_responses
from protocol.token_catalogue import Catalogue
from protocol.token_prices import PricePoint

OpenIssuer = Callable[[str], Issuer]


@dataclass(frozen=True, slots=True)
class Bought:
    """What came of a purchase; `missing` tokens were not issued. `was_lost` if it was resumed."""

    price: PricePoint
    count: int
    missing: int
    has_receipt: bool
    was_lost: bool = False
    crowd: int | None = None
    """How many of this key the issuer says it had sold an hour ago, at least."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who buys: a wallet, the secret of an account, and how its issuer is reached."""

    wallet: Wallet
    secret: str
    open_issuer: OpenIssuer = Issuer

    @property
    def account(self) -> bytes:
        """What tells this account from others, and not its secret; as issuers write vouchers."""
        return hashlib.sha256("".join(self.secret.split()).upper().encode()).digest()[:16]

    def buy(self, catalogue: Catalogue, price: PricePoint, count: int) -> Bought:
        """Buy a pack; raises EvidenceRefused, IssuerRefused or IssuerSilent, and loses nothing."""
        if count not in PACKS:
            raise UsageError(f"tokens come in packs of {', '.join(map(str, PACKS))}")
        source = self._source(catalogue, price)
        with self._asking(catalogue.issuer_url) as issuer:
            directory = issuer.directory()
            require_listed(source, directory)
            digest = source.challenge_digest
            made = [request_token(source.key.key, digest) for _ in range(count)]
            purchase = Purchases(self.wallet).begin(
                source, catalogue.issuer_url, self.account, made
            )
            try:
                return self._finish(purchase, directory, issuer)
            except IssuerRefused as refusal:
                if refusal.is_free:  # it was new, so that nothing was paid for it before
                    Purchases(self.wallet).drop(purchase)
                raise

    def resume(self, *, only: tuple[PricePoint, int] | None = None) -> list[Bought]:
        """Finish the purchases of this account that were interrupted; raises as `buy` does.

        `only` those of one price point and size.
        """
        found = []
        for purchase in Purchases(self.wallet).open():
            if purchase.source.key.epoch.redeem_until <= self.wallet.clock():
                continue  # nobody would take its tokens; or this clock is wrong
            wanted = (purchase.source.key.price, len(purchase.pending))
            if purchase.account == self.account and only in (None, wanted):
                found.append(self._resumed(purchase))
        return found

    def _resumed(self, purchase: Purchase) -> Bought:
        with self._asking(purchase.issuer_url) as issuer:
            try:
                bought = self._finish(purchase, issuer.directory(), issuer)
            except IssuerRefused as refusal:
                if refusal.status == 402:  # what was paid for is signed whatever is left
                    Purchases(self.wallet).drop(purchase)
                raise
        return replace(bought, was_lost=True)

    @contextmanager
    def _asking(self, url: str) -> Iterator[Issuer]:
        """Open the issuer; what its errors advise is of this very wallet."""
        try:
            with self.open_issuer(url) as issuer:
                yield issuer
        except ClientError as error:
            error.advice = error.advice.replace(CHECK, self.wallet.command("check"))
            raise

    def _source(self, catalogue: Catalogue, price: PricePoint) -> Source:
        key = catalogue.issuing(price, self.wallet.clock())
        if key is not None:
            return Source.of(catalogue, key)
        if all(each.price != price for each in catalogue.keys):
            known = ", ".join(map(str, sorted({each.price for each in catalogue.keys})))
            raise UsageError(f"there are no tokens of {price}, only of {known}")
        raise IssuerRefused(
            f"no key for {price} is issuing now",
            advice="check this machine's clock; else the next epoch begins soon",
        )

    def _finish(self, purchase: Purchase, directory: IssuerDirectory, issuer: Issuer) -> Bought:
        issued = issuer.issue(directory, purchase.request, self.secret)
        tokens = finalized(purchase, issued.content)
        has_receipt = is_receipt(issued, purchase.request, directory.receipt_key)
        receipt = issued.receipt if has_receipt else None
        Purchases(self.wallet).finish(purchase, tokens, receipt)
        missing = len(purchase.pending) - len(tokens)
        crowd = issuer.crowd(purchase.source.key.key.key_id)
        price = purchase.source.key.price
        return Bought(price, len(tokens), missing, has_receipt, crowd=crowd)


def require_listed(source: Source, directory: IssuerDirectory) -> None:
    """Raise EvidenceRefused unless the issuer lists the attested key; nothing is blinded before."""
    if not directory.has(source.key.key):
        raise EvidenceRefused(
            f"{source.issuer} does not list the attested key for {source.key.price}",
            advice="nothing was paid; issuer and gateway have to agree: tell both",
            code=Exit.CATALOGUE,
        )


def finalized(purchase: Purchase, content: bytes) -> list[Token]:
    """Return the verified tokens in an issuer's answer; IssuerRefused if any is wrong."""
    try:
        responses = decode_responses(content, len(purchase.pending))
        pairs = zip(purchase.pending, responses, strict=True)
        return [each.finalize(response) for each, response in pairs if response is not None]
    except ProtocolError as error:
        raise IssuerRefused(
            f"{purchase.source.issuer} gave tokens that do not verify",
            advice=f"the purchase is kept: `{CHECK}` asks for it again",
        ) from error


def is_receipt(issued: Issued, request: bytes, receipt_key: bytes | None) -> bool:
    """Tell whether an issuer signed that it was paid for this request."""
    if issued.receipt is None or receipt_key is None:
        return False
    try:
        Receipt.decode(issued.receipt.encode("ascii", "replace")).verify(request, receipt_key)
    except ProtocolError:
        return False
    return True
