"""What the package `x402` does here: asking the facilitator, and writing the fields of answers.

The one module that imports it, and imported only where payments by x402 are configured. A
facilitator is believed in what it says of money, and in nothing else: each answer has a limit and a
deadline, and what is not understood is no answer.
"""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
from pydantic import ValidationError
from x402.http.facilitator_client import HTTPFacilitatorClientSync
from x402.http.facilitator_client_base import AuthHeaders, FacilitatorConfig
from x402.http.utils import encode_payment_required_header, encode_payment_response_header
from x402.schemas.payments import (
    PaymentPayload,
    PaymentRequired,
    PaymentRequirements,
    ResourceInfo,
)
from x402.schemas.responses import SettleResponse

from token_issuer.x402_payment import PaymentRefused, Terms

VERIFY_SECONDS = 5.0
"""For a facilitator to look at a payment."""

SETTLE_SECONDS = 18.0
"""For it to have the chain take one: with the former, less than a request may take."""

MAX_ANSWER_BYTES = 64 * 1024

UNKNOWN = ("settlement_pending", "unexpected_settle_error")
"""What a facilitator says that has sent a payment to the chain and not seen it there yet, or that
broke: neither says that nothing was paid."""

REFUSED = "payment_refused"
"""What a payer is told for a reason that is no code."""

_CODE = re.compile(r"[a-z0-9_]{1,80}")
_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}")


class FacilitatorSilent(Exception):
    """The facilitator gave no answer that says whether anything was paid."""


class Facilitator:
    """A facilitator at an address; for one process."""

    def __init__(
        self,
        url: str,
        secret: str | None = None,
        transport: Callable[[], httpx.BaseTransport] = httpx.HTTPTransport,
    ) -> None:
        """`secret` is sent as a bearer token; each question has a connection of its own."""
        self._url = url
        self._provider = _Bearer(secret) if secret else None
        self._transport = transport

    def verify(self, document: str, terms: str) -> None:
        """Raise PaymentRefused for a payment that is not good, FacilitatorSilent for no answer."""
        answer = self._ask("verify", VERIFY_SECONDS, document, terms)
        if not answer.is_valid:
            raise PaymentRefused(_code(answer.invalid_reason))

    def settle(self, document: str, terms: str) -> str:
        """Return the transaction that paid; PaymentRefused if nothing was paid.

        FacilitatorSilent if that is not known: it may have been paid, or may be later.
        """
        answer = self._ask("settle", SETTLE_SECONDS, document, terms)
        if answer.success:
            return _transaction(answer, json.loads(terms))
        if answer.transaction or answer.error_reason in UNKNOWN:
            raise FacilitatorSilent
        raise PaymentRefused(_code(answer.error_reason))

    def _ask(self, what: str, seconds: float, document: str, terms: str) -> Any:
        transport = _Bounded(self._transport(), seconds)
        with httpx.Client(transport=transport, timeout=seconds) as http:
            asked = HTTPFacilitatorClientSync(
                FacilitatorConfig(url=self._url, http_client=http, auth_provider=self._provider)
            )
            try:
                payment = PaymentPayload.model_validate_json(document)
                wanted = PaymentRequirements.model_validate_json(terms)
                return getattr(asked, what)(payment, wanted)
            # ValueError is what the package makes of statuses and bodies; its text has them.
            # RecursionError is what it lets pass of a body that is nested too deep.
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, ValidationError, RecursionError):
                raise FacilitatorSilent from None


def payment_required_field(terms: Terms, url: str, about: str, code: str | None = None) -> str:
    """Return the value of PAYMENT-REQUIRED; `code` says why a payment was refused."""
    return encode_payment_required_header(
        PaymentRequired(
            error=code,
            resource=ResourceInfo(url=url, description=about, mime_type="application/json"),
            accepts=[PaymentRequirements.model_validate(terms.members)],
        )
    )


def payment_response_field(network: str, transaction: str) -> str:
    """Return the value of PAYMENT-RESPONSE for what was paid."""
    paid = SettleResponse(success=True, network=network, transaction=transaction)
    return encode_payment_response_header(paid)


class _Bearer:
    """The facilitator's own way to know its customers."""

    def __init__(self, secret: str) -> None:
        self._fields = {"Authorization": f"Bearer {secret}"}

    def get_auth_headers(self) -> AuthHeaders:
        return AuthHeaders(verify=dict(self._fields), settle=dict(self._fields))


class _Bounded(httpx.BaseTransport):
    """Passes on whole answers of a limited size that came within a time."""

    def __init__(self, inner: httpx.BaseTransport, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    def close(self) -> None:
        self._inner.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        ends = time.monotonic() + self._seconds
        answer = self._inner.handle_request(request)
        try:
            if "Content-Encoding" in answer.headers:  # what it decodes to has no limit
                raise httpx.DecodingError("an encoded answer", request=request)
            body = bytearray()
            for piece in answer.iter_raw():
                body += piece
                if len(body) > MAX_ANSWER_BYTES or time.monotonic() > ends:
                    raise httpx.ReadError("an answer that is too long", request=request)
        finally:
            answer.close()
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=bytes(body), request=request
        )


def _transaction(answer: SettleResponse, terms: dict[str, Any]) -> str:
    """Return the transaction of an answer that says that it is of this chain and this amount."""
    amount = terms["amount"] if answer.amount is None else answer.amount
    if answer.network != terms["network"] or amount != terms["amount"]:
        raise FacilitatorSilent
    if _TRANSACTION.fullmatch(answer.transaction) is None:
        raise FacilitatorSilent
    return answer.transaction.lower()


def _code(reason: str | None) -> str:
    """Return a reason if it is a code, as a payer's program reads it; never a sentence."""
    return reason if reason and _CODE.fullmatch(reason) else REFUSED
